"""`routeiq train`, `evaluate` and `artifact`: from rows to an artifact, and what is said of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from routeiq_plugin.cli import main
from routeiq_plugin.errors import InvalidRequest
from routeiq_plugin.routing import artifact, dataset, llmrouter_training
from routeiq_plugin.routing.embedding import static_embedder
from routeiq_plugin.routing.llmrouter_training import Lesson
from routeiq_plugin.routing.plot import HEIGHT, WIDTH
from routeiq_plugin.routing.strategies import registry
from tests.routing.world import CHAT, MATHS

pytestmark = pytest.mark.requirement("RTE-20")

COLOURS: Final = ((0x1F / 255, 0x77 / 255, 0xB4 / 255), (0xD6 / 255, 0x27 / 255, 0x28 / 255))
"""Of the curve, and of what it is compared with."""
PRICES: Final = {"strong": {"input": 10, "output": 10}, "weak": {"input_price": 1, "output_price": 1}}


def rows(start: int, count: int) -> list[dict[str, Any]]:
    """Prompts that only `strong` answers, and prompts that both answer."""
    maths = [{"query": MATHS.format(at=at), "scores": {"strong": 1, "weak": 0}} for at in range(start, start + count)]
    chat = [{"query": CHAT.format(at=at), "scores": {"strong": 1, "weak": 1}} for at in range(start, start + count)]
    return [*maths, *chat]


def written(path: Path, entries: list[Any]) -> Path:
    path.write_text("\n".join(json.dumps(entry) for entry in entries))
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Training rows, with a duplicate, a row of the test file and an incomplete one; test rows; prices."""
    train = rows(0, 60)
    extra = [{**train[0], "query": f"  {train[0]['query'].upper()} "}, rows(500, 1)[0]]
    extra += [{"query": "half", "scores": {"strong": 1}}]
    (tmp_path / "prices.json").write_text(json.dumps(PRICES))
    return {
        "train": str(written(tmp_path / "train.jsonl", [*train, *extra])),
        "test": str(written(tmp_path / "test.jsonl", rows(500, 30))),
        "prices": str(tmp_path / "prices.json"),
        "output": str(tmp_path / "trained"),
    }


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(arguments)
    said = capsys.readouterr()
    return status, said.out, said.err


def test_train_verify_show_and_evaluate(
    files: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    common = ("--prices", files["prices"])
    status, out, _ = run(
        capsys, "train", "--data", files["train"], "--exclude", files["test"], "--output", files["output"], *common
    )
    assert status == 0
    assert "120 prompts of 2 models; dropped 2 duplicates, 1 without every score" in out
    assert run(capsys, "artifact", "verify", files["output"])[0] == 0
    _, shown, _ = run(capsys, "artifact", "show", files["output"])
    assert json.loads(shown)["labels"] == ["strong", "weak"]
    status, out, _ = run(
        capsys,
        *("evaluate", "--artifact", files["output"], "--data", files["test"], *common),
        *("--plot", str(tmp_path / "plot.svg"), "--json", str(tmp_path / "found.json")),
    )
    assert status == 0
    found = json.loads((tmp_path / "found.json").read_text())
    points = {point["name"]: point for point in found["points"]}
    assert points["objective quality 1"]["quality_share"] == 1.0
    assert points["objective quality 1"]["cost_share"] < 0.7
    assert points["cheapest"]["quality"] == 0.5
    assert points["oracle"]["quality"] == 1.0
    assert points["random"]["quality"] == 0.75
    assert found["best_single"]["name"] == "best single (strong)"
    assert found["cost_at_95"] < 0.7
    assert 0 < found["apgr"] <= 1
    assert "objective quality 0.95" in out
    picture = (tmp_path / "plot.svg").read_text()
    assert picture.startswith("<svg")
    assert "best single (strong)" in picture


def test_a_plot_is_drawn_as_its_name_says(
    files: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    common = ("--prices", files["prices"])
    assert run(capsys, "train", "--data", files["train"], "--output", files["output"], *common)[0] == 0
    evaluate = ("evaluate", "--artifact", files["output"], "--data", files["test"], *common)
    assert run(capsys, *evaluate, "--plot", str(tmp_path / "plot.png"))[0] == 0
    drawn = (tmp_path / "plot.png").read_bytes()
    assert drawn.startswith(b"\x89PNG\r\n\x1a\n")
    assert drawn[16:24] == WIDTH.to_bytes(4, "big") + HEIGHT.to_bytes(4, "big")
    from matplotlib.image import imread

    pixels = imread(tmp_path / "plot.png")[..., :3]
    assert all((abs(pixels - np.array(colour)) < 0.01).all(axis=-1).any() for colour in COLOURS), "nothing is drawn"
    status, _, err = run(capsys, *evaluate, "--plot", str(tmp_path / "plot.gif"))
    assert status == 1
    assert "plot.gif: write a name that ends in .svg or .png" in err


def test_without_matplotlib_the_command_is_named(
    files: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    evaluate = ("evaluate", "--artifact", "nowhere", "--data", files["test"], "--plot", "plot.png")
    status, _, err = run(capsys, *evaluate)
    assert status == 1
    assert "pip install 'routeiq-plugin[plot]'" in err


def test_the_same_seed_gives_the_same_artifact(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    made = []
    for name in ("one", "two"):
        output = f"{files['output']}-{name}"
        run(capsys, "train", "--data", files["train"], "--output", output, "--prices", files["prices"], "--name", "x")
        made.append(artifact.read(Path(output)).manifest.version)
    assert made[0] == made[1]


def test_models_can_be_renamed_to_groups(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("train", "--data", files["train"], "--output", files["output"], "--prices", files["prices"])
    assert run(capsys, *arguments, "--rename", "strong=gpt-large")[0] == 0
    assert artifact.read(Path(files["output"])).manifest.labels == ("gpt-large", "weak")
    status, _, err = run(capsys, *arguments, "--rename", "nobody=x")
    assert status == 1
    assert "no model nobody" in err


@pytest.mark.parametrize("strategy", ["llmrouter-knn", "llmrouter-elo"])
def test_llmrouters_are_trained_too(files: dict[str, str], capsys: pytest.CaptureFixture[str], strategy: str) -> None:
    arguments = ("train", "--data", files["train"], "--output", files["output"], "--strategy", strategy)
    assert run(capsys, *arguments)[0] == 0
    assert run(capsys, "artifact", "verify", files["output"])[0] == 0
    status, out, _ = run(
        capsys, "evaluate", "--artifact", files["output"], "--data", files["test"], "--prices", files["prices"]
    )
    assert status == 0
    assert strategy in out


def test_elo_rates_by_who_wins(tmp_path: Path) -> None:
    scores = {"b": 1.0, "a": 0.5, "c": 0.0}
    entries = [{"query": f"prompt {at}", "scores": {**scores, "a": 2 * (at % 3 == 0) * 0.5}} for at in range(60)]
    data = dataset.read(written(tmp_path / "rows.jsonl", entries))
    draft = llmrouter_training.train("llmrouter-elo", Lesson(data, static_embedder(), "elo"))
    assert draft.labels[0] == "b"  # of the ties with `a` too, for the rows name it first
    assert draft.tensors["ratings"].argmax() == 0
    assert draft.embedder is None


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        ("llmrouter-svm", "strong is the first of the best models for every prompt: there is nothing to learn"),
        ("llmrouter-mlp", "llmrouter-mlp is trained by LLMRouter and imported with `routeiq artifact import`"),
        ("llmrouter-hybrid", "is trained by LLMRouter and imported"),
        ("round-robin", "round-robin is not trained; routeiq train makes quality, llmrouter-knn"),
        ("nobody", "nobody is not trained"),
    ],
)
def test_what_is_not_trained_here_is_told(
    files: dict[str, str], capsys: pytest.CaptureFixture[str], strategy: str, words: str
) -> None:
    arguments = ("train", "--data", files["train"], "--output", files["output"], "--strategy", strategy)
    status, _, err = run(capsys, *arguments)
    assert status == 1
    assert words in err


@pytest.mark.parametrize(
    ("param", "words"),
    [
        ("kernel=magic", "--param kernel=magic: take one of rbf, linear, poly, sigmoid"),
        ("depth=3", "--param depth: llmrouter-svm takes kernel, C, gamma, degree, coef0"),
        ("C=-1", "C"),
    ],
)
def test_a_wrong_parameter_of_the_svm_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], param: str, words: str
) -> None:
    path = written(tmp_path / "rows.jsonl", [weak_first(row) for row in rows(0, 10)])
    arguments = ("train", "--data", str(path), "--output", str(tmp_path / "x"), "--strategy", "llmrouter-svm")
    status, _, err = run(capsys, *arguments, "--param", param)
    assert status == 1
    assert words in err


def weak_first(row: dict[str, Any]) -> dict[str, Any]:
    """Name the weak model first, so that it is LLMRouter's label where both are right."""
    return {"query": row["query"], "scores": {model: row["scores"][model] for model in ("weak", "strong")}}


def test_the_svm_learns_who_is_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, output = written(tmp_path / "rows.jsonl", [weak_first(row) for row in rows(0, 60)]), tmp_path / "made"
    arguments = ("train", "--data", str(path), "--output", str(output), "--strategy", "llmrouter-svm")
    assert run(capsys, *arguments, "--param", "C=2", "--param", "kernel=linear")[0] == 0
    made = artifact.read(output)
    assert made.manifest.params["kernel"] == "linear"
    assert made.manifest.metrics["agreement"] == 1.0
    embed, predictor = static_embedder().embed, registry.PREDICTORS["llmrouter-svm"](made)
    for row in rows(500, 30):
        wanted = "weak" if row["scores"]["weak"] else "strong"
        assert made.manifest.labels[int(predictor.predict(embed(row["query"])).argmax())] == wanted


def test_rows_of_llmrouter_are_joined(tmp_path: Path) -> None:
    entries = [
        {"query": query, "model_name": model, "performance": score, "embedding_id": at}
        for at, query in enumerate(("a", "b"))
        for model, score in (("x", 0.5), ("y", 1))
    ]
    data = dataset.read(written(tmp_path / "rows.jsonl", [*entries, entries[0]]))
    assert data.models == ("x", "y")
    assert [dict(row.scores) for row in data.rows] == [{"x": 0.5, "y": 1.0}] * 2
    assert data.duplicates == 1


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("not json", "line 2: not JSON"),
        ([], "line 2: must be an object"),
        ({}, "line 2: query must be text"),
        ({"query": " "}, "line 2: query must be text"),
        ({"query": "a"}, "line 2: give scores"),
        ({"query": "a", "scores": {}}, "line 2: scores must map"),
        ({"query": "a", "scores": {"x": 2}}, "line 2: scores.x must be a number from 0 to 1"),
        ({"query": "a", "scores": {"x": True}}, "line 2: scores.x"),
        ({"query": "a", "scores": {"x": float("nan")}}, "line 2: scores.x"),
        ({"query": "a", "model_name": 5, "performance": 1}, "line 2: a model's name"),
        ({"query": "a", "model_name": "x"}, "line 2: performance"),
    ],
)
def test_a_wrong_row_is_named_by_its_line(tmp_path: Path, entry: Any, words: str) -> None:
    path = tmp_path / "rows.jsonl"
    good = json.dumps(rows(0, 1)[0])
    path.write_text(f"{good}\n{entry if isinstance(entry, str) else json.dumps(entry)}\n")
    with pytest.raises(InvalidRequest) as refused:
        dataset.read(path)
    assert words in str(refused.value)


def test_too_few_rows_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "rows.jsonl", rows(0, 3))
    status, _, err = run(capsys, "train", "--data", str(path), "--output", str(tmp_path / "x"))
    assert status == 1
    assert "6 prompts are too few" in err


@pytest.mark.parametrize("price", [{"strong": {"input": 1}}, {"strong": 5}, [], {"strong": {"input": -1, "output": 1}}])
def test_wrong_prices_are_named(files: dict[str, str], capsys: pytest.CaptureFixture[str], price: Any) -> None:
    Path(files["prices"]).write_text(json.dumps(price))
    arguments = ("train", "--data", files["train"], "--output", files["output"], "--prices", files["prices"])
    status, _, err = run(capsys, *arguments)
    assert status == 1
    assert "price" in err

"""`routeiq artifact import`: LLMRouter's files become artifacts that choose alike, and hostile ones run nothing."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from routeiq_plugin.cli import main
from routeiq_plugin.routing import artifact
from routeiq_plugin.routing.embedding import DIM
from routeiq_plugin.routing.strategies import registry

pytestmark = pytest.mark.requirement("RTE-01")

MODELS: Final = ("large", "m-b", "m-c", "middle", "small")
UNSEEN: Final = 250


def data(rows: int, seed: int) -> tuple[Any, Any]:
    """Unit vectors like the embedder's, and the model that is best for each."""
    points = np.random.default_rng(seed).standard_normal((rows, DIM)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    directions = np.random.default_rng(99).standard_normal((DIM, len(MODELS)))
    return points, np.array(MODELS)[(points @ directions).argmax(axis=1)]


def nearest(**options: Any) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(5, **options)


def vectors(**options: Any) -> Any:
    from sklearn.svm import SVC

    return SVC(**options)


KINDS: Final[dict[str, tuple[str, Callable[[], Any]]]] = {
    "knn": ("llmrouter-knn", nearest),
    "knn by distance": ("llmrouter-knn", lambda: nearest(weights="distance")),
    "knn by brute force": ("llmrouter-knn", lambda: nearest(algorithm="brute")),
    "svm rbf": ("llmrouter-svm", vectors),
    "svm linear": ("llmrouter-svm", lambda: vectors(kernel="linear")),
    "svm poly": ("llmrouter-svm", lambda: vectors(kernel="poly", degree=2, coef0=1.0)),
}


def run(capsys: pytest.CaptureFixture[str], source: Path, strategy: str, *more: str) -> tuple[int, str]:
    output = source.parent / "imported"
    status = main(("artifact", "import", str(source), "--strategy", strategy, "--output", str(output), *more))
    return status, capsys.readouterr().err


def pickled(path: Path, value: Any) -> Path:
    path.write_bytes(pickle.dumps(value))
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", [5, 2])
def test_it_chooses_like_the_original(
    kind: str, labels: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strategy, build = KINDS[kind]
    points, best = data(600, seed=1)
    known = np.isin(best, MODELS[:labels])
    model = build().fit(list(points[known]), list(best[known]))
    assert run(capsys, pickled(tmp_path / "model.pkl", model), strategy) == (0, "")
    imported = artifact.read(tmp_path / "imported")
    predictor = registry.PREDICTORS[strategy](imported)
    unseen, _ = data(UNSEEN, seed=2)
    said = [imported.manifest.labels[int(predictor.predict(point).argmax())] for point in unseen]
    assert said == [str(each) for each in model.predict(list(unseen))]


def test_hybrid_chooses_like_the_original(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    points, best = data(400, seed=1)
    model = MLPRegressor(hidden_layer_sizes=(32, 16), max_iter=20, random_state=0)
    with pytest.warns(ConvergenceWarning):
        model.fit(points, (best == "large").astype(float))
    source = pickled(tmp_path / "model.pkl", model)
    assert run(capsys, source, "llmrouter-hybrid", "--labels", "small,large", "--param", "threshold=0.3")[0] == 0
    predictor = registry.PREDICTORS["llmrouter-hybrid"](artifact.read(tmp_path / "imported"))
    unseen, _ = data(UNSEEN, seed=2)
    wanted = np.where(np.clip(model.predict(unseen), 0, 1) >= 0.3, 0, 1)
    said = [int(predictor.predict(point).argmax()) for point in unseen]
    assert np.mean(said == wanted) >= 0.995


@pytest.mark.parametrize("as_series", [True, False])
def test_elo_is_imported(as_series: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pandas

    scores = {"large": 1500.0, "small": 1400.0, "middle": 1450.0}
    source = pickled(tmp_path / "elo.pkl", pandas.Series(scores) if as_series else scores)
    assert run(capsys, source, "llmrouter-elo", "--rename", "large=gpt-large") == (0, "")
    imported = artifact.read(tmp_path / "imported")
    predictor = registry.PREDICTORS["llmrouter-elo"](imported)
    best = int(predictor.predict(np.zeros(0)).argmax())
    assert imported.manifest.labels[best] == "gpt-large"


class Touching:
    """Opened by a plain unpickler it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.path}",))


class Evaluating(Touching):
    """The same by another way."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (eval, (f"open({str(self.path)!r}, 'w')",))


@pytest.mark.parametrize("hostile", [Touching, Evaluating])
@pytest.mark.parametrize("strategy", ["llmrouter-knn", "llmrouter-elo"])
def test_a_hostile_pickle_runs_nothing(
    hostile: type[Touching], strategy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proof = tmp_path / "ran"
    status, said = run(capsys, pickled(tmp_path / "evil.pkl", {"model": hostile(proof)}), strategy)
    assert status == 1
    assert "no part of a trained router" in said
    assert not proof.exists()
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    ("value", "arguments", "words"),
    [
        (5, ("llmrouter-knn",), "AttributeError"),
        ({}, ("llmrouter-mlp",), "give --labels"),
        ({}, ("llmrouter-automix",), "cannot be imported"),
        ({"a": 1.0}, ("llmrouter-elo", "--python", "/nowhere/python"), "cannot be started"),
        ({"a": 1.0}, ("llmrouter-elo", "--rename", "a"), "NAME=VALUE"),
    ],
)
def test_what_cannot_be_imported_is_told(
    value: Any, arguments: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = run(capsys, pickled(tmp_path / "model.pkl", value), *arguments)
    assert status == 1
    assert words in said


def test_vectors_of_another_embedder_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points, best = data(100, seed=1)
    model = nearest().fit(list(points[:, :64]), list(best))
    status, said = run(capsys, pickled(tmp_path / "model.pkl", model), "llmrouter-knn")
    assert status == 1
    assert "vectors of 64 numbers" in said

"""LLMRouter's own answers and ours, from the same trained files, imported by the command line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from routeiq_plugin.routing import artifact
from routeiq_plugin.routing.embedding import static_embedder
from routeiq_plugin.routing.strategies import registry
from routeiq_plugin.routing.strategy import Candidate, Query, StrategySpec
from routeiq_plugin.routing.worker.strategy import Workers
from routeiq_plugin.settings import AliasSettings
from tests.llmrouter.conftest import Trained
from tests.support import processes

pytestmark = [pytest.mark.requirement("RTE-01"), pytest.mark.timeout(1200)]

EXACT: Final = 1.0
CLOSE: Final = 0.995
LEAST_ASKED: Final = 200


def imported(trained: Trained, strategy: str, source: str, output: Path, *options: str) -> artifact.Artifact:
    """Run `routeiq artifact import`."""
    ran(["artifact", "import", str(trained.home / source), "--strategy", strategy, "--output", str(output)], options)
    return artifact.read(output)


def ran(command: Sequence[str], options: Sequence[str]) -> None:
    """Run `routeiq`."""
    done = subprocess.run(
        [sys.executable, "-m", "routeiq_plugin.cli", *command, *options],
        env=processes.clean_environment({"LITELLM_LOCAL_MODEL_COST_MAP": "True"}),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def ours(
    name: str, asked: Sequence[str], models: Sequence[str], made: artifact.Artifact | None, workers: Workers | None
) -> list[str]:
    """Ask the strategy as the proxy does."""
    settings = AliasSettings(strategy=name, candidates=tuple(models), default=models[0])
    strategy = registry.build(StrategySpec(name, settings, made, static_embedder(), None, workers))
    candidates = [Candidate(model) for model in models]
    return [strategy.rank(Query(text), candidates).order[0] for text in asked]


def agreement(said: Sequence[str], told: Sequence[str]) -> float:
    """Return the share of equal answers."""
    return sum(one == other for one, other in zip(said, told, strict=True)) / len(said)


@pytest.mark.parametrize(
    ("strategy", "suffix", "least"),
    [
        ("llmrouter-knn", "pkl", EXACT),
        ("llmrouter-svm", "pkl", EXACT),
        ("llmrouter-elo", "pkl", EXACT),
        ("llmrouter-mlp", "yaml", CLOSE),
        ("llmrouter-mf", "yaml", CLOSE),
        ("llmrouter-hybrid", "yaml", CLOSE),
    ],
)
def test_an_imported_router_chooses_as_llmrouter_does(
    trained: Trained, tmp_path: Path, strategy: str, suffix: str, least: float
) -> None:
    made = imported(trained, strategy, f"{strategy}.{suffix}", tmp_path / "made")
    said = trained.said[strategy]
    assert len(said) >= LEAST_ASKED
    assert strategy == "llmrouter-elo" or len(set(said)) > 1, "agreement on a constant answer would prove nothing"
    told = ours(strategy, trained.asked, trained.models, made, None)
    assert agreement(said, told) >= least
    embedder = made.manifest.embedder
    if strategy != "llmrouter-elo":
        assert embedder is not None
        assert embedder.sha256 == static_embedder().identity.sha256


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        ("llmrouter-knn", ("--k", "7")),
        ("llmrouter-svm", ("--param", "kernel=rbf", "--param", "C=2", "--param", "gamma=scale")),
        ("llmrouter-elo", ()),
    ],
)
def test_what_is_trained_here_chooses_as_llmrouter_does(
    trained: Trained, tmp_path: Path, strategy: str, options: tuple[str, ...]
) -> None:
    """With the `hparam` of `ROUTERS`, from the rows that LLMRouter had."""
    made = tmp_path / "made"
    command = ["train", "--data", str(trained.home / "routing.jsonl"), "--strategy", strategy, "--output", str(made)]
    ran(command, options)
    told = ours(strategy, trained.asked, trained.models, artifact.read(made), None)
    assert agreement(trained.said[strategy], told) == EXACT


@pytest.mark.parametrize("strategy", ["llmrouter-smallest", "llmrouter-largest"])
def test_sizes_choose_as_llmrouter_does(trained: Trained, strategy: str) -> None:
    told = ours(strategy, trained.asked, trained.models, None, None)
    assert len(told) >= LEAST_ASKED
    assert agreement(trained.said[strategy], told) == EXACT


def test_the_worker_process_answers_as_llmrouter_does(trained: Trained, tmp_path: Path) -> None:
    made = imported(trained, "llmrouter-graph", "llmrouter-graph.yaml", tmp_path / "made")
    assert made.manifest.training["llmrouter-lib"]
    said = trained.said["llmrouter-graph"]
    assert len(set(said)) > 1
    workers = Workers()
    try:
        told = ours("llmrouter-graph", trained.asked, trained.models, made, workers)
    finally:
        workers.close()
    assert agreement(said, told) == EXACT


def test_labels_given_by_hand_in_the_wrong_order_are_not_mistaken(trained: Trained, tmp_path: Path) -> None:
    made = imported(trained, "llmrouter-mlp", "llmrouter-mlp.yaml", tmp_path / "made")
    by_hand = imported(
        trained,
        "llmrouter-mlp",
        "llmrouter-mlp.pkl",
        tmp_path / "other",
        "--labels",
        ",".join(made.manifest.labels),
        "--param",
        "activation=tanh",
    )
    assert by_hand.manifest.labels == made.manifest.labels
    assert by_hand.manifest.version == made.manifest.version

"""One proxy with every kind of alias for all of these tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.routing import world
from tests.routing.provider import Provider, provider
from tests.routing.world import RULES, TIRED, Routed, Versions, alias, deployments, routed, tiring

BRIEF_MS: Final = 50


@pytest.fixture(scope="package")
def upstream() -> Iterator[Provider]:
    """The provider behind every model."""
    with provider() as running:
        yield running


@pytest.fixture(scope="package")
def artifact_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained artifact of the strategy `quality`."""
    path = tmp_path_factory.mktemp("artifact")
    world.train(path)
    return path


@pytest.fixture(scope="package")
def changing_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of one alias alone, `changing`, which tests may change."""
    path = tmp_path_factory.mktemp("changing")
    world.train(path)
    return path


@pytest.fixture(scope="package")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Versions:
    """Two artifacts, and the link that all arms of the alias `swapped` follow."""
    home = tmp_path_factory.mktemp("versions")
    ids = tuple(world.train(home / name, name).id for name in ("one", "two"))
    made = Versions(home / "current", (home / "one", home / "two"), ids)
    made.turn(0)
    return made


@pytest.fixture(scope="package")
def here(
    upstream: Provider,
    artifact_path: Path,
    changing_path: Path,
    versions: Versions,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Routed]:
    """The proxy."""
    workdir = tmp_path_factory.mktemp("routed")
    pickled = workdir.parent / "evil.pkl"
    pickled.write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
    aliases: dict[str, Any] = {
        "ruled": alias("rules", rules=list(RULES)),
        "strict": alias("rules", rules=list(RULES), candidate_access="model"),
        "logged-rules": alias("rules", rules=list(RULES)),
        "logged-quality": alias("quality", artifact=str(artifact_path)),
        "loose": alias("rules", rules=list(RULES), sticky="none"),
        "turns": alias("round-robin"),
        "cheapest": alias("cost", default="large"),
        "fastest": alias("latency"),
        "smart": alias("quality", artifact=str(artifact_path)),
        "changing": alias("quality", artifact=str(changing_path)),
        "swapped": alias(
            "quality", artifact=str(versions.link), arms=[{"name": f"arm-{at}", "weight": 1} for at in range(8)]
        ),
        "weary": {**alias("rules", rules=[{"when": {"regex": "."}, "model": TIRED}]), "candidates": [TIRED, "small"]},
        "careful": alias("quality", artifact=str(artifact_path), objective={"cost_weight": 0}),
        "frugal": alias("quality", artifact=str(artifact_path), objective={"cost_weight": 100}),
        "empty": alias("quality", artifact=str(workdir / "nowhere"), default="middle"),
        "pickled": alias("quality", artifact=str(pickled), default="middle"),
        "stalled": alias("stalling", default="middle", deadline_ms=BRIEF_MS),
        "failed": alias("failing", default="middle"),
        "foreign": alias("by-name"),
        "moody": alias("moody", default="middle"),
        "ghosts": {**alias("round-robin"), "candidates": ["ghost", "small"]},
        "nobody": {"strategy": "cost", "candidates": ["ghost"], "default": "ghost"},
        "trial": alias(
            "round-robin",
            arms=[
                {"name": "a", "weight": 1, "strategy": "cost"},
                {"name": "b", "weight": 1, "strategy": "by-name"},
            ],
        ),
        "trial-of-sessions": alias(
            "cost", arms=[{"name": "a", "weight": 1}, {"name": "b", "weight": 1}], arms_by="session"
        ),
    }
    models = [*deployments(upstream.url), tiring(upstream.url)]
    operators = {"fallbacks": [{"ghosts": ["middle"]}]}
    with routed(workdir, upstream, aliases, model_list=models, router_settings=operators) as running:
        yield running

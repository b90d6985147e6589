"""Strategies by name: ours, LLMRouter's, and those that other packages bring by entry point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import entry_points
from typing import Final

from routeiq_plugin.errors import RouteIQError, SettingsError
from routeiq_plugin.routing.artifact import Artifact
from routeiq_plugin.routing.strategies import llmrouter, quality
from routeiq_plugin.routing.strategies.learned import LearnedStrategy, PredictorOf, check
from routeiq_plugin.routing.strategies.rules import Rules
from routeiq_plugin.routing.strategies.simple import BySize, Cheapest, Fastest, RoundRobin
from routeiq_plugin.routing.strategy import ENTRY_POINTS, Strategy, StrategyFactory, StrategySpec
from routeiq_plugin.routing.worker import strategy as hosted

PREDICTORS: Final[Mapping[str, PredictorOf]] = {
    quality.NAME: quality.predictor,
    "llmrouter-knn": llmrouter.neighbours,
    "llmrouter-svm": llmrouter.support_vectors,
    "llmrouter-mlp": llmrouter.layers,
    "llmrouter-mf": llmrouter.factors,
    "llmrouter-elo": llmrouter.ratings,
    "llmrouter-hybrid": llmrouter.hybrid,
}
"""Strategies that are nothing without an artifact."""

_OTHERS: Final[Mapping[str, Callable[[StrategySpec], Strategy]]] = {
    "rules": Rules,
    "round-robin": RoundRobin,
    "cost": Cheapest,
    "latency": Fastest,
    "llmrouter-smallest": partial(BySize, largest=False),
    "llmrouter-largest": partial(BySize, largest=True),
}


def known() -> tuple[str, ...]:
    """List every name that `strategy:` may have here."""
    foreign = {point.name for point in entry_points(group=ENTRY_POINTS)}
    return tuple(sorted({*PREDICTORS, *_OTHERS, *hosted.HOSTED, *foreign}))


def require_known(path: str, name: str) -> None:
    """Refuse a name that nothing answers to; raises `SettingsError` with the path and the known names."""
    if name not in known():
        raise SettingsError(f"{path} is wrong: no strategy {name!r} is installed; known are {', '.join(known())}")


def needs_artifact(name: str) -> bool:
    """Tell whether a strategy cannot do without an artifact."""
    return name in PREDICTORS or name == hosted.GRAPH


def reads_config(name: str) -> bool:
    """Tell whether a strategy's `artifact` is no artifact but LLMRouter's own config, for the worker process."""
    return name in hosted.HOSTED and name != hosted.GRAPH


def build(spec: StrategySpec) -> Strategy:
    """Build a strategy, with its self-test; raises `RouteIQError` saying what is wrong."""
    if spec.name in PREDICTORS:
        return _learned(spec)
    if spec.name in _OTHERS:
        return _OTHERS[spec.name](spec)
    if spec.name in hosted.HOSTED:
        return hosted.build(spec)
    for point in entry_points(group=ENTRY_POINTS, name=spec.name):
        return _foreign(point.load, spec)
    raise SettingsError(f"no strategy {spec.name!r} is installed")


def verify(artifact: Artifact) -> None:
    """Build and self-test what an artifact is for; raises `RouteIQError`."""
    name = artifact.manifest.strategy
    if name in PREDICTORS:
        check(artifact, PREDICTORS[name](artifact))
    elif name == hosted.GRAPH:
        hosted.verify(artifact)
    elif name not in _OTHERS:
        raise SettingsError(f"{artifact.manifest.id} is for the strategy {name}, which is not one of ours")


def _learned(spec: StrategySpec) -> Strategy:
    if spec.artifact is None:
        raise SettingsError(f"the strategy {spec.name} needs an artifact")
    predictor = PREDICTORS[spec.name](spec.artifact)
    check(spec.artifact, predictor)
    return LearnedStrategy(spec, predictor, priced=spec.name == quality.NAME)


def _foreign(load: Callable[[], StrategyFactory], spec: StrategySpec) -> Strategy:
    try:
        return load()(spec)
    except RouteIQError:
        raise
    except Exception as broken:
        raise SettingsError(f"the strategy {spec.name} cannot be built: {broken}") from broken

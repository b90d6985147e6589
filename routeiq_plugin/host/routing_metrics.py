"""Series of routing on LiteLLM's `/metrics`; every label is a word of the config, of ours, or an artifact's id."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)
"""Seconds; a decision takes from a tenth of a millisecond to its deadline."""


class RoutingMetrics:
    """Counts decisions and what became of them; does nothing where prometheus_client is not installed."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._series = _default() if registry is None else _Series(registry)

    def decided(self, alias: str, arm: str, model: str, cause: str, seconds: float) -> None:
        """Count a decision; all but `seconds` are words of fixed sets."""
        if self._series is not None:
            self._series.decisions.labels(alias, arm, model, cause).inc()
            self._series.seconds.labels(alias).observe(seconds)

    def ended(self, alias: str, arm: str, outcome: str) -> None:
        """Count a request's end: `success` or `failure`."""
        if self._series is not None:
            self._series.outcomes.labels(alias, arm, outcome).inc()


class _Series:
    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Histogram

        self.decisions = Counter(
            "routeiq_routing_decisions_total",
            "Requests for an alias, by what was chosen and why.",
            ("alias", "arm", "model", "cause"),
            registry=registry,
        )
        self.outcomes = Counter(
            "routeiq_routing_outcomes_total",
            "How requests for an alias ended, fallbacks included.",
            ("alias", "arm", "outcome"),
            registry=registry,
        )
        self.seconds = Histogram(
            "routeiq_routing_decision_seconds",
            "How long decisions took.",
            ("alias",),
            buckets=BUCKETS,
            registry=registry,
        )


@cache
def _default() -> _Series | None:
    """The process's one set: a name can be registered once."""
    try:
        from prometheus_client import REGISTRY
    except ImportError:
        return None
    return _Series(REGISTRY)

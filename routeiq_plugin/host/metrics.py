"""Our series on LiteLLM's `/metrics`: in the default registry of prometheus_client, which LiteLLM serves."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection
from functools import cache
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics import MetricWrapperBase

MetricT = TypeVar("MetricT", bound="MetricWrapperBase")

MAX_AGENTS: Final = 1_000
"""Agents with series of their own; those that come later share the label `OTHERS`."""
OTHERS: Final = "other agents"

BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds; agents take from milliseconds to minutes."""

BREAKER_VALUES: Final = {"closed": 0, "half_open": 1, "open": 2}


class AgentMetrics:
    """Counts calls of agents that exist; does nothing where prometheus_client is not installed.

    With several workers (PROMETHEUS_MULTIPROC_DIR) prometheus_client cannot remove a series, so there those of a
    deleted agent stay until the restart, and count towards `MAX_AGENTS`.
    """

    def __init__(self, exists: Callable[[str], bool], registry: CollectorRegistry | None = None) -> None:
        self._exists = exists
        self._series = _default() if registry is None else _Series(registry)
        self._names: dict[str, str] = {}
        """Agents that have series, by id, with the name they are under."""
        self._can_remove = "PROMETHEUS_MULTIPROC_DIR" not in os.environ
        self._taken = 0

    @property
    def available(self) -> bool:
        """Tell whether prometheus_client is there."""
        return self._series is not None

    def finished(self, agent_id: str, agent_name: str, method: str, outcome: str, seconds: float) -> None:
        """Count a call; `method` and `outcome` are words of fixed sets."""
        if self._series is None or not self._exists(agent_id):
            return  # deleted meanwhile: its series are gone, and stay so
        label = self._label(agent_id, agent_name)
        self._series.finished(label, method, outcome, seconds)

    def dropped(self, calls: int = 1) -> None:
        """Count calls that were not kept."""
        if self._series is not None:
            self._series.dropped.inc(calls)

    def breaker(self, agent_id: str, agent_name: str, state: str) -> None:
        """Show the state of an agent's breaker, a word of `BREAKER_VALUES`."""
        if self._series is not None and self._exists(agent_id):
            self._series.set_breaker(self._label(agent_id, agent_name), BREAKER_VALUES[state])

    def refresh(self, agent_ids: Collection[str]) -> None:
        """Drop the series of those of these agents that no longer exist."""
        for agent_id in agent_ids:
            name = self._names.get(agent_id)
            if name is not None and not self._exists(agent_id):
                del self._names[agent_id]
                self._remove(name)

    def refresh_all(self) -> None:
        """Drop the series of every agent that no longer exists."""
        self.refresh(tuple(self._names))

    def _label(self, agent_id: str, agent_name: str) -> str:
        known = self._names.get(agent_id)
        if known == agent_name:
            return known
        if known is not None:
            del self._names[agent_id]
            self._remove(known)
        if self._taken >= MAX_AGENTS:
            return OTHERS
        self._taken += 1
        self._names[agent_id] = agent_name
        return agent_name

    def _remove(self, name: str) -> None:
        if self._series is not None and self._can_remove:
            self._series.remove(name)
            self._taken -= 1
        elif self._series is not None:
            self._series.settle(name)


class _Series:
    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        self.requests = Counter(
            "routeiq_a2a_requests_total",
            "Finished calls of agents.",
            ("agent", "method", "outcome"),
            registry=registry,
        )
        self.seconds = Histogram(
            "routeiq_a2a_request_seconds",
            "How long calls of agents took, whatever their outcome.",
            ("agent", "method"),
            buckets=BUCKETS,
            registry=registry,
        )
        self.breaker = Gauge(
            "routeiq_a2a_breaker_state",
            "Circuit breaker of an agent: 0 closed, 1 half open, 2 open; of several workers the worst.",
            ("agent",),
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.dropped = Counter(
            "routeiq_records_dropped_total", "Calls that the daily activity does not know of.", registry=registry
        )

        self._known: dict[str, set[tuple[MetricWrapperBase, tuple[str, ...]]]] = defaultdict(set)

    def finished(self, agent: str, method: str, outcome: str, seconds: float) -> None:
        self._labels(self.requests, agent, method, outcome).inc()
        self._labels(self.seconds, agent, method).observe(seconds)

    def set_breaker(self, agent: str, value: int) -> None:
        self._labels(self.breaker, agent).set(value)

    def settle(self, agent: str) -> None:
        """Show no trouble of an agent whose series must stay."""
        if (self.breaker, (agent,)) in self._known.get(agent, ()):
            self.set_breaker(agent, 0)

    def remove(self, agent: str) -> None:
        for metric, labels in self._known.pop(agent, ()):
            metric.remove(*labels)

    def _labels(self, metric: MetricT, *labels: str) -> MetricT:
        self._known[labels[0]].add((metric, labels))
        return metric.labels(*labels)


@cache
def _default() -> _Series | None:
    """The process's one set: a name can be registered once."""
    try:
        from prometheus_client import REGISTRY
    except ImportError:
        return None
    return _Series(REGISTRY)

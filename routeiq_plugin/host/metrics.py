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
"""Agents, and again MCP servers, with series of their own; those that come later share the label `OTHERS`."""
OTHERS: Final = "other agents"
OTHER_SERVERS: Final = "other servers"

BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds; agents take from milliseconds to minutes."""

BREAKER_VALUES: Final = {"closed": 0, "half_open": 1, "open": 2}


class CallMetrics:
    """Counts calls of what exists; does nothing where prometheus_client is not installed.

    With several workers (PROMETHEUS_MULTIPROC_DIR) prometheus_client cannot remove a series, so there those of a
    deleted agent or server stay until the restart, and count towards `MAX_AGENTS`.
    """

    others: str

    def __init__(self, exists: Callable[[str], bool], series: _CallSeries | None) -> None:
        self._exists = exists
        self._series = series
        self._names: dict[str, str] = {}
        """What has series, by id, with the name it is under."""
        self._can_remove = "PROMETHEUS_MULTIPROC_DIR" not in os.environ
        self._taken = 0

    @property
    def available(self) -> bool:
        """Tell whether prometheus_client is there."""
        return self._series is not None

    def finished(self, object_id: str, name: str, method: str, outcome: str, seconds: float) -> None:
        """Count a call; `method` and `outcome` are words of fixed sets."""
        if self._series is None or not self._exists(object_id):
            return  # deleted meanwhile: its series are gone, and stay so
        self._series.finished(self._label(object_id, name), method, outcome, seconds)

    def refresh(self, object_ids: Collection[str]) -> None:
        """Drop the series of those of these that no longer exist."""
        for object_id in object_ids:
            name = self._names.get(object_id)
            if name is not None and not self._exists(object_id):
                del self._names[object_id]
                self._remove(name)

    def refresh_all(self) -> None:
        """Drop the series of everything that no longer exists."""
        self.refresh(tuple(self._names))

    def _label(self, object_id: str, name: str) -> str:
        known = self._names.get(object_id)
        if known == name:
            return known
        if known is not None:
            del self._names[object_id]
            self._remove(known)
        if self._taken >= MAX_AGENTS:
            return self.others
        self._taken += 1
        self._names[object_id] = name
        return name

    def _remove(self, name: str) -> None:
        if self._series is not None and self._can_remove:
            self._series.remove(name)
            self._taken -= 1
        elif self._series is not None:
            self._series.settle(name)


class AgentMetrics(CallMetrics):
    """Counts calls of agents, and shows their breakers."""

    others = OTHERS
    _series: _AgentSeries | None

    def __init__(self, exists: Callable[[str], bool], registry: CollectorRegistry | None = None) -> None:
        super().__init__(exists, _of_agents() if registry is None else _AgentSeries(registry))

    def dropped(self, calls: int = 1) -> None:
        """Count calls that were not kept."""
        if self._series is not None:
            self._series.dropped.inc(calls)

    def breaker(self, agent_id: str, agent_name: str, state: str) -> None:
        """Show the state of an agent's breaker, a word of `BREAKER_VALUES`."""
        if self._series is not None and self._exists(agent_id):
            self._series.set_breaker(self._label(agent_id, agent_name), BREAKER_VALUES[state])


class McpMetrics(CallMetrics):
    """Counts calls of MCP servers; tools have no label, for callers choose their names."""

    others = OTHER_SERVERS

    def __init__(self, exists: Callable[[str], bool], registry: CollectorRegistry | None = None) -> None:
        super().__init__(exists, _of_servers() if registry is None else _server_series(registry))


class _CallSeries:
    def __init__(self, registry: CollectorRegistry, area: str, label: str, what: str) -> None:
        from prometheus_client import Counter, Histogram

        self.requests = Counter(
            f"routeiq_{area}_requests_total",
            f"Finished calls of {what}.",
            (label, "method", "outcome"),
            registry=registry,
        )
        self.seconds = Histogram(
            f"routeiq_{area}_request_seconds",
            f"How long calls of {what} took, whatever their outcome.",
            (label, "method"),
            buckets=BUCKETS,
            registry=registry,
        )
        self._known: dict[str, set[tuple[MetricWrapperBase, tuple[str, ...]]]] = defaultdict(set)

    def finished(self, name: str, method: str, outcome: str, seconds: float) -> None:
        self._labels(self.requests, name, method, outcome).inc()
        self._labels(self.seconds, name, method).observe(seconds)

    def settle(self, name: str) -> None:
        """Show no trouble of what is gone and whose series must stay."""

    def remove(self, name: str) -> None:
        for metric, labels in self._known.pop(name, ()):
            metric.remove(*labels)

    def _labels(self, metric: MetricT, *labels: str) -> MetricT:
        self._known[labels[0]].add((metric, labels))
        return metric.labels(*labels)


class _AgentSeries(_CallSeries):
    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Gauge

        super().__init__(registry, "a2a", "agent", "agents")
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

    def set_breaker(self, agent: str, value: int) -> None:
        self._labels(self.breaker, agent).set(value)

    def settle(self, name: str) -> None:
        """Show no trouble of an agent whose series must stay."""
        if (self.breaker, (name,)) in self._known.get(name, ()):
            self.set_breaker(name, 0)


def _server_series(registry: CollectorRegistry) -> _CallSeries:
    return _CallSeries(registry, "mcp", "server", "MCP servers")


@cache
def _of_agents() -> _AgentSeries | None:
    """The process's one set: a name can be registered once."""
    try:
        from prometheus_client import REGISTRY
    except ImportError:
        return None
    return _AgentSeries(REGISTRY)


@cache
def _of_servers() -> _CallSeries | None:
    """The same for MCP servers."""
    try:
        from prometheus_client import REGISTRY
    except ImportError:
        return None
    return _server_series(REGISTRY)

"""Whether MCP servers answer at all: a real `initialize`, many at once, asked at most every half minute."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from routeiq_plugin.errors import Unavailable
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.store.mcp_health import McpCondition, McpHealthStore

SECONDS: Final = 10.0
"""How long one server may take."""
AT_ONCE: Final = 16
"""How many are asked at the same time."""
FRESH_SECONDS: Final = 30.0
"""How long an answer stands before a server is asked again."""

OnFault = Callable[[str, BaseException], None]


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of asking one server."""

    latency_ms: float | None = None
    """From the first byte sent to the answer; None where nothing answered."""
    error: str | None = None
    """Why it is not well; never holds its address."""
    wants_login: bool = False
    """It answered, and lets nobody in without a credential of the caller's own."""


class Prober(Protocol):
    """Asks one server for a sign of life."""

    async def probe(self, server: Server, *, seconds: float) -> Probe:
        """Ask, and return what came of it; never raises but for a cancellation."""
        ...


StockHealth = Callable[[str], Awaitable[tuple[str, str | None]]]
"""Lets LiteLLM ask a server by id: its status, and what was wrong."""


@dataclass(frozen=True, slots=True)
class _Known:
    version: int | None
    condition: McpCondition
    until: float


class Health:
    """Knows how the servers are; one per worker, all of which share what was found."""

    def __init__(
        self,
        prober: Prober,
        stock: StockHealth,
        store: McpHealthStore,
        *,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        on_fault: OnFault,
    ) -> None:
        """`now` is aware, UTC; `clock` counts seconds and never goes back."""
        self._prober = prober
        self._stock = stock
        self._store = store
        self._now = now
        self._clock = clock
        self._on_fault = on_fault
        self._known: dict[str, _Known] = {}
        self._stored: Mapping[str, McpCondition] = {}
        self._asking: dict[tuple[str, int | None], asyncio.Task[McpCondition]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def check(self, servers: Sequence[Server]) -> Mapping[str, McpCondition]:
        """Return how these servers are, by id, asking those of which nothing is known or not any more."""
        found = await asyncio.gather(*(self._condition(server) for server in servers))
        return {server.server_id: condition for server, condition in zip(servers, found, strict=True)}

    async def last(self) -> Mapping[str, McpCondition]:
        """Return what is known of all servers without asking any, by id; the newest that any worker found."""
        try:
            self._stored = await self._store.all()
        except Unavailable as away:
            self._on_fault("reading MCP health", away)
        own = {server_id: known.condition for server_id, known in self._known.items()}
        newest = dict(self._stored)
        for server_id, condition in own.items():
            other = newest.get(server_id)
            if other is None or other.checked_at <= condition.checked_at:
                newest[server_id] = condition
        return newest

    async def forget(self, server_id: str) -> None:
        """Ask a server anew the next time: it was changed or deleted."""
        self._known.pop(server_id, None)

    async def aclose(self) -> None:
        """Stop asking."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _condition(self, server: Server) -> McpCondition:
        known = self._known.get(server.server_id)
        if known is not None and known.version == server.version and known.until > self._clock():
            return known.condition
        key = (server.server_id, server.version)
        task = self._asking.get(key)
        if task is None:
            task = asyncio.create_task(self._ask(server), name=f"routeiq-health-{server.server_id}")
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(task)  # one caller who leaves takes the answer from nobody else

    async def _ask(self, server: Server) -> McpCondition:
        async with self._slots:
            condition = await (self._by_stock(server) if _is_litellms(server) else self._by_us(server))
        self._known[server.server_id] = _Known(server.version, condition, self._clock() + FRESH_SECONDS)
        if server.is_ours:
            try:
                await self._store.put({server.server_id: condition})
            except Unavailable as away:
                self._on_fault("storing MCP health", away)
        return condition

    async def _by_us(self, server: Server) -> McpCondition:
        if server.unreadable:
            return McpCondition("unknown", self._now(), error="its secrets were sealed with another key")
        probe = await self._prober.probe(server, seconds=SECONDS)
        status = "reachable" if probe.wants_login else "healthy" if probe.error is None else "unhealthy"
        return McpCondition(status, self._now(), probe.latency_ms, probe.error)

    async def _by_stock(self, server: Server) -> McpCondition:
        try:
            async with asyncio.timeout(SECONDS):
                status, error = await self._stock(server.server_id)
        except Exception as failure:  # noqa: BLE001  LiteLLM raises what it likes
            status, error = "unhealthy", type(failure).__name__
        return McpCondition(status, self._now(), error=error)


def _is_litellms(server: Server) -> bool:
    """Tell whether LiteLLM calls this server, not we: its own, whose secrets we do not know, and OpenAPI documents."""
    return not server.is_ours or server.is_openapi

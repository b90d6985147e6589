"""How many calls are on their way to each server: counted over the pool of sessions and the relay together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from routeiq_plugin.errors import Unavailable
from routeiq_plugin.mcp.model import Server


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's bounds."""

    timeout: float
    """Seconds; for servers that name none."""
    max_concurrent: int
    stdio: bool

    def seconds(self, server: Server) -> float:
        """How long a call of this server may take."""
        return float(server.fields.get("timeout") or self.timeout)

    def slots(self, server: Server) -> int:
        """How many calls of this server may run at once."""
        own = server.fields.get("max_concurrent_requests")
        return min(self.max_concurrent, int(own)) if own and int(own) > 0 else self.max_concurrent


class Slots:
    """Lets so many calls of one server run at once as the policy says; one per worker."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._known: dict[str, tuple[int, asyncio.Semaphore]] = {}

    @asynccontextmanager
    async def taken(self, server: Server, seconds: float) -> AsyncIterator[None]:
        """Hold one of the server's slots; raises `Unavailable` where none becomes free within `seconds`."""
        slots = self._of(server)
        try:
            async with asyncio.timeout(seconds):
                await slots.acquire()
        except TimeoutError:
            raise Unavailable(f"too many calls of MCP server '{server.name}' are under way") from None
        try:
            yield
        finally:
            slots.release()

    def forget(self, server_id: str) -> None:
        """Begin anew with a server that was written: calls in flight count no more."""
        self._known.pop(server_id, None)

    def _of(self, server: Server) -> asyncio.Semaphore:
        count = self._policy.slots(server)
        known = self._known.get(server.server_id)
        if known is None or known[0] != count:
            known = self._known[server.server_id] = (count, asyncio.Semaphore(count))
        return known[1]

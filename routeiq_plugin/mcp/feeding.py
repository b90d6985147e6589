"""Keeps LiteLLM's manager equal to our rows: each is fed when it changes, and again when LiteLLM has lost it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from weakref import WeakValueDictionary

from routeiq_plugin.errors import AddressRefused, CannotOpen, InvalidRequest, RouteIQError
from routeiq_plugin.host import mcp_servers as host_servers
from routeiq_plugin.host.mcp_manager import Manager
from routeiq_plugin.mcp import configuration
from routeiq_plugin.mcp.model import Server

SECONDS: Final = 10.0
"""How long one feed may take: LiteLLM reads the document of an OpenAPI server in it."""
AT_ONCE: Final = 8
RETRY_SECONDS: Final = 30.0
"""How soon a server is tried again that could not be fed: a name may resolve later."""

logger = logging.getLogger(__name__)

Lookup = Callable[[str], Server | None]
OnFault = Callable[[str, BaseException], None]


class AddressCheck(Protocol):
    """The outbound guard, as registration and feeding need it."""

    async def check(self, url: str, field: str = "url") -> None:
        """Raise `AddressRefused` for a URL that may not be called."""
        ...


class NotFed(RouteIQError):
    """A server is registered and LiteLLM does not have it; says which and why."""


@dataclass(frozen=True, slots=True)
class _Trouble:
    reason: str
    version: int | None
    retry_at: float


class Feeding:
    """Feeds the servers of one worker."""

    def __init__(self, manager: Manager, guard: AddressCheck, lookup: Lookup, stdio: bool, on_fault: OnFault) -> None:
        """`lookup` finds a row of ours as it is now, by id; `stdio` says whether processes may be started at all."""
        self._manager = manager
        self._guard = guard
        self._lookup = lookup
        self._stdio = stdio
        self._on_fault = on_fault
        self._feeding: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._troubled: dict[str, _Trouble] = {}

    @property
    def held_back(self) -> Mapping[str, str]:
        """Why servers are not, or not wholly, fed, by id."""
        return {server_id: trouble.reason for server_id, trouble in self._troubled.items()}

    async def feed(self, server_ids: Sequence[str]) -> None:
        """Make LiteLLM see these servers as they are now; a failure is a fault that is shown, and never raised."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(server_id: str) -> None:
            async with slots, self._feeding.setdefault(server_id, asyncio.Lock()):
                await self._feed(server_id)

        await asyncio.gather(*(one(server_id) for server_id in server_ids))

    async def drop(self, server: Server) -> None:
        """Make LiteLLM forget a server."""
        async with self._feeding.setdefault(server.server_id, asyncio.Lock()):
            self._troubled.pop(server.server_id, None)
            await self._take_out(server)

    async def restore(self, servers: Sequence[Server]) -> int:
        """Feed again what LiteLLM has lost, or could not be given; returns how many it had lost."""
        now = time.monotonic()
        lost = [each.server_id for each in servers if each.server_id not in self._troubled and not self._holds(each)]
        due = [server_id for server_id, trouble in self._troubled.items() if trouble.retry_at <= now]
        if lost or due:
            await self.feed([*lost, *due])
        return len(lost)

    async def require_allowed(self, server: Server) -> None:
        """Raise `InvalidRequest` (`AddressRefused`) for a server that may not be called as things stand."""
        if server.transport == "stdio":
            refused = configuration.STDIO_OFF if not self._stdio else host_servers.stdio_refusal()
            if refused is not None:
                raise InvalidRequest(refused)
        found = configuration.addresses(server.fields)
        await asyncio.gather(*(self._guard.check(url, field) for field, url in found))

    async def _feed(self, server_id: str) -> None:
        server = self._lookup(server_id)
        if server is None:
            self._troubled.pop(server_id, None)
            return
        known = self._troubled.get(server_id)
        if self._holds(server) and (
            known is None or (known.version == server.version and known.retry_at > time.monotonic())
        ):
            return
        try:
            async with asyncio.timeout(SECONDS):
                if server.unreadable:
                    raise CannotOpen
                await self.require_allowed(server)
                await self._manager.feed(server.fields)
        except Exception as failure:  # noqa: BLE001  LiteLLM raises what it likes; it is recorded and shown
            await self._hold_back(server, failure)
        else:
            self._troubled.pop(server_id, None)

    async def _hold_back(self, server: Server, failure: Exception) -> None:
        """Take out what must not be called; what LiteLLM took and could not finish stays as far as it came."""
        reason = f"LiteLLM could not take it: {type(failure).__name__}"
        if isinstance(failure, RouteIQError):
            reason = str(failure)
        known = self._troubled.get(server.server_id)
        self._troubled[server.server_id] = _Trouble(reason, server.version, time.monotonic() + RETRY_SECONDS)
        if isinstance(failure, InvalidRequest | CannotOpen | AddressRefused):
            await self._take_out(server)
        if known is None or known.reason != reason:
            logger.warning("routeiq: MCP server %s is not served: %s", server.server_id, reason)
            self._on_fault("feeding MCP servers", NotFed(f"{server.name}: {reason}"))

    async def _take_out(self, server: Server) -> None:
        try:
            await self._manager.drop(server.fields)
        except Exception as failure:  # noqa: BLE001  as above
            self._on_fault("feeding MCP servers", failure)

    def _holds(self, server: Server) -> bool:
        return self._manager.holds(server.server_id, server.fields["updated_at"])

"""Sessions with servers that need one, kept for clients that have none (2026-07-28)."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from routeiq_plugin.errors import BackendError, Unavailable
from routeiq_plugin.mcp.relay.carrier import SESSION
from routeiq_plugin.mcp.relay.facts import Facts
from routeiq_plugin.mcp.relay.translation import shapes
from routeiq_plugin.mcp.relay.wire import VERSION, Wire

IDLE_SECONDS: Final = 300.0
AGE_SECONDS: Final = 3600.0
MOST_SESSIONS: Final = 500
"""Of one worker; the one that is idle for the longest makes room."""

Json = dict[str, Any]


@dataclass(slots=True)
class ServerSession:
    """One session; requests of one client side by side are told apart by ids that are ours."""

    wire: Wire
    headers: Mapping[str, str]
    introduction: Json
    opened_at: float
    used_at: float
    in_flight: int = 0
    level: str | None = None
    ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))


class ServerSessions:
    """Opens and keeps them, by server, credential, client and what the client can do; one per worker."""

    def __init__(self) -> None:
        self._pool: OrderedDict[str, asyncio.Task[ServerSession]] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    async def of(self, wire: Wire, owner: str, identity: str, facts: Facts) -> ServerSession:
        """Return the session of this client, which is opened where there is none; raises `BackendError`."""
        key = _key(wire, owner, identity, facts)
        known = self._pool.get(key)
        if known is None or (known.done() and _is_over(known, time.monotonic())):
            self.forget(key)
            self._make_room()
            known = self._pool[key] = asyncio.get_running_loop().create_task(opened(wire, facts))
            known.add_done_callback(_retrieved)
        self._pool.move_to_end(key)
        session = await asyncio.shield(known)
        session.used_at = time.monotonic()
        return session

    def lost(self, session: ServerSession) -> None:
        """Hear that a server has forgotten a session."""
        for key, task in list(self._pool.items()):
            if _result(task) is session:
                del self._pool[key]

    def sweep(self, now: float) -> None:
        """Close what is idle or old at `now`, in seconds of the monotonic clock."""
        for key, task in list(self._pool.items()):
            if task.done() and _is_over(task, now):
                self.forget(key)

    def forget(self, key: str) -> None:
        """Close one session, if it is there."""
        session = _result(self._pool.pop(key, None))
        if session is not None:
            task = asyncio.get_running_loop().create_task(session.wire.end(session.headers))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Close them all."""
        for key, task in list(self._pool.items()):
            task.cancel()
            self.forget(key)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _make_room(self) -> None:
        if len(self._pool) < MOST_SESSIONS:
            return
        for key, task in self._pool.items():
            session = _result(task)
            if session is not None and not session.in_flight:
                self.forget(key)
                return
        raise Unavailable("too many sessions with MCP servers are in use")


async def opened(wire: Wire, facts: Facts) -> ServerSession:
    """Begin a session; raises `BackendError` where the server does not."""
    reply = await wire.once(shapes.initialize(facts), {})
    result = (reply.message or {}).get("result")
    if not isinstance(result, dict) or not isinstance(result.get("protocolVersion"), str):
        raise BackendError("the MCP server does not begin a session")
    given = reply.headers.get(SESSION)
    headers = {VERSION: result["protocolVersion"]} | ({SESSION: given} if given else {})
    await wire.tell({"jsonrpc": "2.0", "method": "notifications/initialized"}, headers)
    now = time.monotonic()
    return ServerSession(wire, headers, result, now, now)


def _key(wire: Wire, owner: str, identity: str, facts: Facts) -> str:
    server = wire.server
    parts = [server.server_id, str(server.version), server.url, owner, identity, facts.info, facts.capabilities]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _is_over(task: asyncio.Task[ServerSession], now: float) -> bool:
    session = _result(task)
    if session is None or now - session.opened_at > AGE_SECONDS:
        return True
    return not session.in_flight and now - session.used_at > IDLE_SECONDS


def _result(task: asyncio.Task[ServerSession] | None) -> ServerSession | None:
    if task is None or not task.done() or task.cancelled() or task.exception() is not None:
        return None
    return task.result()


def _retrieved(task: asyncio.Task[ServerSession]) -> None:
    """Nobody may be waiting any more: an exception is not for the loop's log."""
    if not task.cancelled():
        task.exception()

"""The pool of sessions with MCP servers: known by server and credential, whoever calls and however."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from routeiq_plugin.errors import BackendRefused, Unavailable
from routeiq_plugin.host.mcp_stdio import require_stdio
from routeiq_plugin.mcp.credentials import Credential
from routeiq_plugin.mcp.failures import NotCarriedOut
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.slots import Policy, Slots
from routeiq_plugin.outbound import Clients

if TYPE_CHECKING:
    from routeiq_plugin.mcp.upstream import Request, Upstream

T = TypeVar("T")

IDLE_SECONDS: Final = 300.0
"""After that long without a call a session is closed."""
AGE_SECONDS: Final = 3600.0
"""A session this old takes no new calls: what a server allowed at its start it may have revoked since."""
MAX_SESSIONS: Final = 500
"""Of one worker; the one that is idle for the longest makes room."""
SWEEP_SECONDS: Final = 30.0

_CONNECTION: Final = ("url", "transport", "command", "args", "env", "timeout")
"""What a session depends on besides the credential."""


@dataclass(frozen=True, slots=True)
class Key:
    """What a session is known by."""

    server_id: str
    version: str
    identity: str

    @classmethod
    def of(cls, server: Server, credential: Credential) -> Key:
        """Name the session that a call with this credential uses."""
        return cls(server.server_id, _version(server), credential.identity)


class Sessions:
    """Sends requests over pooled sessions; one per worker.

    A request is sent once. Only one that the server refused because it has forgotten the session, which it provably
    did not carry out, is sent again on a new session.
    """

    def __init__(self, clients: Clients, policy: Policy, changed: Callable[[str, str, str], None]) -> None:
        """`changed` hears (server id, credential identity, kind of list) when a server says that a list changed."""
        self.policy = policy
        self.slots = Slots(policy)
        self._clients = clients
        self._changed = changed
        self._pool: OrderedDict[Key, Upstream] = OrderedDict()
        self._retired: dict[asyncio.Task[None], Upstream] = {}
        self._counts: Counter[str] = Counter()
        self._closed = False

    async def call(
        self,
        server: Server,
        credential: Credential,
        request: Request[T],
        *,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> T:
        """Send a request and return its result; `timeout` in seconds, all waiting included.

        Raises:
            ServerRefused: the server answered with a JSON-RPC error.
            InputRequired: the server asks back.
            BackendError: the server, or the way to it, failed.
            Unavailable: too many calls are under way, or the gateway is stopping.
        """
        try:
            return await self._call(server, credential, request, timeout)
        except BackendRefused as refused:
            if refused.status == 401 and credential.on_refusal is not None:
                await credential.on_refusal()
            raise

    async def _call(self, server: Server, credential: Credential, request: Request[T], limit: float | None) -> T:
        seconds = self.policy.seconds(server) if limit is None else limit
        ends = time.monotonic() + seconds
        async with self.slots.taken(server, seconds):
            try:
                return await self._once(server, credential, request, ends)
            except NotCarriedOut:
                self._counts["sessions lost"] += 1
            try:
                return await self._once(server, credential, request, ends)
            except NotCarriedOut as again:
                raise again.error from None

    async def forget(self, server_id: str) -> None:
        """Take no new call on a server's sessions; calls in flight end as they would."""
        for key in [key for key in self._pool if key.server_id == server_id]:
            self._retire(key)
        self.slots.forget(server_id)

    async def run(self) -> None:
        """Close sessions that are idle or old, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep(time.monotonic())

    def sweep(self, now: float) -> None:
        """Close what is dead, idle or old at `now`, in seconds of the monotonic clock."""
        for key, upstream in list(self._pool.items()):
            idle = not upstream.in_flight and now - upstream.used_at > IDLE_SECONDS
            if idle or now - upstream.opened_at > AGE_SECONDS or not upstream.is_alive:
                self._retire(key)

    async def aclose(self) -> None:
        """Close every session within seconds; calls in flight fail."""
        self._closed = True
        upstreams = [*self._pool.values(), *self._retired.values()]
        self._pool.clear()
        for draining in self._retired:
            draining.cancel()
        await asyncio.gather(*(each.aclose() for each in upstreams), *self._retired, return_exceptions=True)

    def facts(self) -> Mapping[str, Any]:
        """What `/router/info` tells of the pool."""
        return {
            "sessions": len(self._pool),
            "requests_in_flight": sum(upstream.in_flight for upstream in self._pool.values()),
            "sessions_opened": self._counts["sessions opened"],
            "sessions_lost": self._counts["sessions lost"],
        }

    # One request

    async def _once(self, server: Server, credential: Credential, request: Request[T], ends: float) -> T:
        upstream = await self._upstream(server, credential)
        return await upstream.request(request, max(0.001, ends - time.monotonic()))

    async def _upstream(self, server: Server, credential: Credential) -> Upstream:
        module = await _loaded("upstream")
        if self._closed:
            raise Unavailable("the gateway is shutting down")
        key = Key.of(server, credential)
        known = self._pool.get(key)
        if known is not None and known.is_alive and time.monotonic() - known.opened_at <= AGE_SECONDS:
            self._pool.move_to_end(key)
            known.show(credential.headers)
            return known
        if known is not None:
            self._retire(key)
        self._make_room()
        self._counts["sessions opened"] += 1
        upstream = self._pool[key] = self._opened(module, server, credential)
        return upstream

    def _opened(self, module: ModuleType, server: Server, credential: Credential) -> Upstream:
        def changed(kind: str) -> None:
            self._changed(server.server_id, credential.identity, kind)

        kind: type[Upstream] = module.Upstream
        seconds = self.policy.seconds(server)
        if server.transport == "stdio":
            require_stdio(str(server.fields.get("command") or ""), enabled=self.policy.stdio)
            return kind.stdio(server, changed)
        if server.transport == "sse":
            return kind.sse(self._clients, server, credential.headers, seconds, changed)
        return kind.http(self._clients, server, credential.headers, seconds, changed)

    def _make_room(self) -> None:
        if len(self._pool) < MAX_SESSIONS:
            return
        for key, upstream in self._pool.items():
            if not upstream.in_flight:
                self._retire(key)
                return
        raise Unavailable("too many sessions with MCP servers are in use")

    def _retire(self, key: Key) -> None:
        upstream = self._pool.pop(key)
        upstream.retired = True
        task = asyncio.get_running_loop().create_task(_drained(upstream))
        self._retired[task] = upstream
        task.add_done_callback(self._retired.pop)


async def _drained(upstream: Upstream) -> None:
    """Close a session when its last call has ended."""
    while upstream.in_flight:  # noqa: ASYNC110  rare, and not worth an event per request
        await asyncio.sleep(0.1)
    await upstream.aclose()


def _version(server: Server) -> str:
    """Tell two states of a server apart."""
    if server.version is not None:
        return str(server.version)
    facts = {name: server.fields.get(name) for name in _CONNECTION}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


async def _loaded(name: str) -> ModuleType:
    """The SDK's client takes a moment to load where LiteLLM has not loaded it, too long for the loop."""
    full = f"routeiq_plugin.mcp.{name}"
    loaded: ModuleType | None = sys.modules.get(full)
    return loaded if loaded is not None else await asyncio.to_thread(importlib.import_module, full)

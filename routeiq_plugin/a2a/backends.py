"""Connections to agents' backends: which protocol each speaks, found out once and remembered for a while."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakValueDictionary

from routeiq_plugin.a2a import cards
from routeiq_plugin.a2a.breaker import Breaker, Trial
from routeiq_plugin.a2a.discovery import OwnCards
from routeiq_plugin.a2a.model import Agent
from routeiq_plugin.errors import BackendError
from routeiq_plugin.outbound import Watch

if TYPE_CHECKING:
    from a2a.types.a2a_pb2 import AgentCard

    from routeiq_plugin.a2a.bindings import Bindings
    from routeiq_plugin.a2a.services import TaskServices

MAX_CONNECTIONS: Final = 4096
"""Agents whose connections are kept; the one that was not used for the longest goes first."""

_BINDINGS: Final = ("JSONRPC", "HTTP+JSON")
"""How we can speak to a backend."""

_SDK: Final = (
    "routeiq_plugin.a2a.bindings",
    "a2a.client",
    "a2a.client.card_resolver",
    "a2a.compat.v0_3.jsonrpc_transport",
)


class ClientFactory(Protocol):
    """Makes guarded HTTP clients; `outbound.Clients` does."""

    def httpx_client(self, headers: Mapping[str, str] | None = None, watch: Watch | None = None) -> Any:
        """Make a client; closing it leaves the shared pool open."""
        ...


@dataclass(frozen=True, slots=True)
class BreakerWatch:
    """Asks the breaker before each request to one backend, and tells it how each went."""

    breaker: Breaker
    agent_id: str

    def begin(self) -> Trial:
        """Begin a request; raises `BackendUnavailable` when another one has taken the place of a half-open backend."""
        return self.breaker.admit(self.agent_id)


@dataclass(frozen=True, slots=True)
class Connection:
    """The server side of one agent, good until `expires` on the caller's monotonic clock."""

    bindings: Bindings
    fingerprint: str
    expires: float


class Backends:
    """Opens and keeps one connection per agent; concurrent first calls share one look at the backend."""

    def __init__(
        self,
        clients: ClientFactory,
        clock: Callable[[], float],
        breaker: Breaker,
        own_cards: OwnCards,
        tasks: TaskServices,
    ) -> None:
        self.cards: Final = own_cards
        self._clients = clients
        self._clock = clock
        self._breaker = breaker
        self._tasks = tasks
        self._connections: dict[str, Connection] = {}
        self._opening: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def connection(self, agent: Agent) -> Connection:
        """Return the agent's connection.

        Raises:
            BackendUnavailable: it keeps failing, and is left alone for now.
            BackendError: its card offers nothing that we speak.
        """
        self._breaker.check(agent.agent_id)
        fingerprint = agent.fingerprint
        known = self._fresh(agent.agent_id, fingerprint)
        if known is not None:
            return known
        lock = self._opening.setdefault(agent.agent_id, asyncio.Lock())
        async with lock:
            known = self._fresh(agent.agent_id, fingerprint)
            if known is None:
                known = await self._open(agent, fingerprint)
                self._keep(agent.agent_id, known)
        return known

    def forget(self, agent_id: str) -> None:
        """Drop what is known of an agent that was changed or deleted."""
        self._connections.pop(agent_id, None)
        self.cards.forget(agent_id)
        self._breaker.forget(agent_id)

    def _fresh(self, agent_id: str, fingerprint: str) -> Connection | None:
        known = self._connections.pop(agent_id, None)
        if known is None or known.fingerprint != fingerprint or known.expires <= self._clock():
            return None
        self._connections[agent_id] = known  # last used, last dropped
        return known

    def _keep(self, agent_id: str, connection: Connection) -> None:
        self._connections[agent_id] = connection
        while len(self._connections) > MAX_CONNECTIONS:
            del self._connections[next(iter(self._connections))]

    async def _open(self, agent: Agent, fingerprint: str) -> Connection:
        await asyncio.to_thread(lambda: [importlib.import_module(name) for name in _SDK])
        from routeiq_plugin.a2a.bindings import bound

        card, expires = await self._card(agent)
        http = self._clients.httpx_client(watch=BreakerWatch(self._breaker, agent.agent_id))
        return Connection(bound(agent, card, http, self._tasks), fingerprint, expires)

    async def _card(self, agent: Agent) -> tuple[AgentCard, float]:
        """Find out how to speak to the backend, and until when: its own card, else the registered one."""
        from a2a.types.a2a_pb2 import AgentCard

        registered = str(agent.backend_url)
        own, expires = await self.cards.of(agent)
        card = AgentCard()
        card.CopyFrom(own.card if own is not None else cards.parsed(agent.card, agent.name))
        if own is None and not cards.says_streaming(agent.card):
            card.capabilities.streaming = True  # nobody says that it does not: it may answer for itself
        if not card.supported_interfaces:
            raise BackendError(f"Agent '{agent.name}' has a card that names no interface")
        usable = [each for each in card.supported_interfaces if each.protocol_binding in _BINDINGS]
        if not usable:
            raise BackendError(f"Agent '{agent.name}' offers none of the bindings {', '.join(_BINDINGS)}")
        for interface in card.supported_interfaces:
            interface.url = cards.pinned(interface.url, registered)
        return card, expires

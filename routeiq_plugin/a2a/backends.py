"""Connections to agents' backends: which protocol each speaks, found out once and remembered for a while."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit, urlunsplit

from routeiq_plugin.a2a import cards
from routeiq_plugin.a2a.headers import outbound
from routeiq_plugin.a2a.model import Agent
from routeiq_plugin.errors import AddressRefused, BackendError

if TYPE_CHECKING:
    from a2a.server.routes.jsonrpc_dispatcher import JsonRpcDispatcher
    from a2a.types.a2a_pb2 import AgentCard

logger = logging.getLogger(__name__)

CARD_SECONDS: Final = 300.0
"""How long what a backend's own card says is believed."""
UNREACHED_SECONDS: Final = 10.0
"""How long we go by the registered card when the backend's own could not be read."""
MAX_CONNECTIONS: Final = 4096
"""Agents whose connections are kept; the one that was not used for the longest goes first."""

_WELL_KNOWN: Final = ("/.well-known/agent-card.json", "/.well-known/agent.json")
_BINDINGS: Final = ("JSONRPC", "HTTP+JSON")
_SDK: Final = (
    "routeiq_plugin.a2a.relay",
    "a2a.client",
    "a2a.client.card_resolver",
    "a2a.compat.v0_3.jsonrpc_transport",
)


NOT_CALLED: Final = "the agent's address is not one that this gateway calls; ask its administrator"
"""What a caller hears of an address that the guard refuses: which one and why is for the log alone."""


class ClientFactory(Protocol):
    """Makes guarded HTTP clients; `outbound.Clients` does."""

    def httpx_client(self, headers: Mapping[str, str] | None = None) -> Any:
        """Make a client; closing it leaves the shared pool open."""
        ...


@dataclass(frozen=True, slots=True)
class Connection:
    """The server side of one agent, good until `expires` on the caller's monotonic clock."""

    dispatcher: JsonRpcDispatcher
    fingerprint: str
    expires: float


class Backends:
    """Opens and keeps one connection per agent; concurrent first calls share one look at the backend."""

    def __init__(self, clients: ClientFactory, clock: Callable[[], float]) -> None:
        self._clients = clients
        self._clock = clock
        self._connections: dict[str, Connection] = {}
        self._opening: dict[str, asyncio.Lock] = {}

    async def connection(self, agent: Agent) -> Connection:
        """Return the agent's connection; raises `BackendError` when its card offers nothing that we speak."""
        fingerprint = _fingerprint(agent)
        known = self._fresh(agent.agent_id, fingerprint)
        if known is not None:
            return known
        async with self._opening.setdefault(agent.agent_id, asyncio.Lock()):
            known = self._fresh(agent.agent_id, fingerprint)
            if known is None:
                known = await self._open(agent, fingerprint)
                self._keep(agent.agent_id, known)
        self._opening.pop(agent.agent_id, None)
        return known

    def forget(self, agent_id: str) -> None:
        """Drop what is known of an agent that was changed or deleted."""
        self._connections.pop(agent_id, None)

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
        from a2a.client import ClientConfig
        from a2a.client import ClientFactory as SdkFactory

        from routeiq_plugin.a2a.relay import dispatcher

        card, lifetime = await self._card(agent)
        http = self._clients.httpx_client()
        streaming, unary = (
            SdkFactory(
                ClientConfig(httpx_client=http, streaming=streams, supported_protocol_bindings=list(_BINDINGS))
            ).create(card)
            for streams in (True, False)
        )
        return Connection(dispatcher(streaming, unary), fingerprint, self._clock() + lifetime)

    async def _card(self, agent: Agent) -> tuple[AgentCard, float]:
        """Find out how to speak to the backend: its own card, else the registered one."""
        registered = str(agent.backend_url)
        own = await self._own_card(agent, registered)
        card = own if own is not None else cards.parsed(agent.card, agent.name)
        if not card.supported_interfaces:
            raise BackendError(f"Agent '{agent.name}' has a card that names no interface")
        usable = [each for each in card.supported_interfaces if each.protocol_binding in _BINDINGS]
        if not usable:
            raise BackendError(f"Agent '{agent.name}' offers none of the bindings {', '.join(_BINDINGS)}")
        for interface in card.supported_interfaces:
            interface.url = pinned(interface.url, registered)
        return card, CARD_SECONDS if own is not None else UNREACHED_SECONDS

    async def _own_card(self, agent: Agent, registered: str) -> AgentCard | None:
        from a2a.client import A2ACardResolver
        from a2a.client.errors import AgentCardResolutionError

        headers = outbound(agent, {}, user_id=None, team_id=None)
        resolver = A2ACardResolver(self._clients.httpx_client(), registered)
        for path in _WELL_KNOWN:
            try:
                return await resolver.get_agent_card(relative_card_path=path, http_kwargs={"headers": headers})
            except AddressRefused as refused:
                logger.warning("routeiq: agent %s is not called: %s", agent.agent_id, refused)
                raise BackendError(NOT_CALLED) from refused
            except AgentCardResolutionError as unresolved:
                logger.info(
                    "routeiq: agent %s: no card at %s (status %s)", agent.agent_id, path, unresolved.status_code
                )
                if unresolved.status_code != 404:
                    return None
        return None


def pinned(stated: str, registered: str) -> str:
    """Keep an interface on the origin that the admin registered.

    Backends advertise what they believe their address to be, often `http://0.0.0.0:9999/`, sometimes somebody
    else's; only the path of such an interface is taken over.
    """
    here, there = urlsplit(registered), urlsplit(stated)
    if (here.scheme, here.netloc) == (there.scheme, there.netloc):
        return stated
    if there.path in ("", "/"):
        return registered
    return urlunsplit((here.scheme, here.netloc, there.path, there.query, ""))


def _fingerprint(agent: Agent) -> str:
    """Tell one configuration of an agent from the next."""
    if agent.version is not None:
        return str(agent.version)
    return json.dumps(dict(agent.card), sort_keys=True, default=str)

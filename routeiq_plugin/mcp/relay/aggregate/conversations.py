"""What one client has with each of its servers, in the versions that both speak."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from routeiq_plugin.errors import BackendError, BackendRefused, BackendTimeout
from routeiq_plugin.mcp.http.carrier import PARAMETERS, Carrier
from routeiq_plugin.mcp.http.lists import CHANGES
from routeiq_plugin.mcp.http.messages import is_answer
from routeiq_plugin.mcp.http.stateless import routing_headers
from routeiq_plugin.mcp.http.wire import SessionLost, Wire
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.plane import DataPlane
from routeiq_plugin.mcp.relay.aggregate import links
from routeiq_plugin.mcp.relay.aggregate.links import Link, Part, linked
from routeiq_plugin.mcp.relay.aggregate.namespaces import Namespaces
from routeiq_plugin.mcp.relay.aggregate.scope import in_scope
from routeiq_plugin.mcp.relay.aggregate.visits import Visit
from routeiq_plugin.mcp.relay.client_sessions import ClientSession, ClientSessions
from routeiq_plugin.mcp.relay.conversation import Conversation, Headers
from routeiq_plugin.mcp.relay.generations import Generation, Generations
from routeiq_plugin.mcp.relay.tickets import owner_of
from routeiq_plugin.mcp.relay.translation import shapes
from routeiq_plugin.mcp.relay.translation.downward import Bench, Downward, Owner
from routeiq_plugin.mcp.relay.translation.upward import Upward, discovered

Json = dict[str, Any]


class Linked:
    """A client and a server that both have sessions."""

    def __init__(
        self, wire: Wire, sessions: ClientSessions, session: ClientSession, identity: str, heard: Heard
    ) -> None:
        self._wire = wire
        self._sessions = sessions
        self._session = session
        self._identity = identity
        self._heard = heard

    async def link(self) -> Link:
        """Return the session with the server, begun where there is none; raises `BackendError`."""
        return await linked(self._sessions, self._session, self._wire, self._identity)

    async def ask(self, message: Json, mirrored: Headers) -> AsyncGenerator[Json, None]:
        """Send a request, once more where the server has forgotten the session and so has done nothing."""
        link = await self.link()
        try:
            async with aclosing(self._said(link, message, mirrored)) as said:
                async for each in said:
                    yield each
            return
        except SessionLost:
            await links.lost(self._session, self._wire.server.server_id, link)
        async with aclosing(self._said(await self.link(), message, mirrored)) as said:
            async for each in said:
                yield each

    async def _said(self, link: Link, message: Json, mirrored: Headers) -> AsyncGenerator[Json, None]:
        headers = {name: value for name, value in mirrored.items() if not name.lower().startswith(PARAMETERS)}
        is_over = False
        try:
            async with aclosing(self._wire.ask(message, {**headers, **link.headers})) as said:
                async for each in said:
                    is_over = is_answer(each)
                    yield self._heard.told(self._session, each)
        except SessionLost:
            is_over = True
            raise
        finally:
            if not is_over:
                await asyncio.shield(self._wire.cancel(message["id"], link.headers))


class Direct:
    """A client and a server that both do without sessions."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def ask(self, message: Json, mirrored: Headers) -> AsyncGenerator[Json, None]:
        """Send a request."""
        async with aclosing(self._wire.ask(message, {**mirrored, **routing_headers(message)})) as said:
            async for each in said:
                yield shapes.completed(message["method"], each) if is_answer(each) else each


@dataclass(frozen=True, slots=True)
class Heard:
    """Writes what one server says so that the client can tell servers apart."""

    server: Server
    changed: Callable[[str], None]
    """Hears which list of the server's has changed."""

    def told(self, session: ClientSession, message: Json) -> Json:
        """Rename what the server has named: its questions, its progress tokens, its resources."""
        method = message.get("method")
        params: Json = message["params"] if isinstance(message.get("params"), dict) else {}
        if method in CHANGES:
            self.changed(CHANGES[str(method)])
        if method == "notifications/resources/updated":
            return {**message, "params": {**params, "uri": self._uri(session, params.get("uri"))}}
        if method == "notifications/cancelled":
            named = links.outward(self.server.server_id, params.get("requestId"))
            return {**message, "params": {**params, "requestId": named}}
        if method is None or "id" not in message:
            return message
        asked = {**message, "id": links.outward(self.server.server_id, message["id"])}
        meta = params.get("_meta")
        if isinstance(meta, dict) and "progressToken" in meta:
            token = links.outward(self.server.server_id, meta["progressToken"])
            asked["params"] = {**params, "_meta": {**meta, "progressToken": token}}
        return asked

    def _uri(self, session: ClientSession, uri: Any) -> Any:
        return Part.of(session.state, self.server.server_id).subscribed.get(uri, uri)


class Conversations:
    """Finds out how a client can talk to a server, the client's own generation first; one per worker."""

    def __init__(
        self, plane: DataPlane, carrier: Carrier, sessions: ClientSessions, generations: Generations, bench: Bench
    ) -> None:
        self._plane = plane
        self._carrier = carrier
        self._sessions = sessions
        self._generations = generations
        self._bench = bench

    async def with_server(self, visit: Visit, server: Server) -> Conversation:
        """Return the conversation; raises `LoginRequired`, `BackendError`."""
        wire, identity = await self.wire(visit, server)
        if visit.session is None:
            if await self._is_stateless(wire, visit):
                return Direct(wire)
            return Downward(wire, self._bench, Owner(owner_of(visit.asked.caller), identity), visit.facts)
        talk = Linked(wire, self._sessions, visit.session, identity, self.heard(server, identity))
        if self._generations.speaks(server, Generation.SESSIONS) is not False:
            try:
                await talk.link()
                self._generations.learn(server, Generation.SESSIONS, speaks=True)
                return talk
            except (BackendRefused, BackendTimeout):
                raise
            except BackendError:
                if not await self._is_stateless(wire, visit):
                    raise
                self._generations.learn(server, Generation.SESSIONS, speaks=False)
        return Upward(wire, self._sessions, visit.session)

    async def renewed(self, visit: Visit) -> Visit:
        """Return a visit to the servers that the caller may use by now."""
        return replace(visit, names=Namespaces(await in_scope(self._plane.offers.gateway, visit.asked)))

    async def wire(self, visit: Visit, server: Server) -> tuple[Wire, str]:
        """Return the way to a server with the caller's credential, and whose that is."""
        credential = await self._plane.offers.credential(visit.asked, server)
        seconds = self._plane.sessions.policy.seconds(server)
        return Wire(self._carrier, server, credential, seconds), credential.identity

    def heard(self, server: Server, identity: str) -> Heard:
        """Return what writes for clients what a server says."""
        return Heard(server, lambda kind: self._plane.changed(server.server_id, identity, kind))

    async def _is_stateless(self, wire: Wire, visit: Visit) -> bool:
        known = self._generations.speaks(wire.server, Generation.STATELESS)
        if known is None:
            known = await discovered(wire, visit.facts) is not None
            self._generations.learn(wire.server, Generation.STATELESS, speaks=known)
        return known

"""Requests whose client and server share no version of the protocol."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from routeiq_plugin.errors import BackendError
from routeiq_plugin.mcp.credentials import Credential
from routeiq_plugin.mcp.http.carrier import SESSION, Carrier
from routeiq_plugin.mcp.http.facts import Facts
from routeiq_plugin.mcp.http.stateless import mirrored
from routeiq_plugin.mcp.http.wire import Wire
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.offers import Asked
from routeiq_plugin.mcp.plane import DataPlane
from routeiq_plugin.mcp.relay.client_sessions import ClientSession, ClientSessions
from routeiq_plugin.mcp.relay.generations import Generation, Generations
from routeiq_plugin.mcp.relay.governance import Ruling, instructions_of, rule_on
from routeiq_plugin.mcp.relay.messages import require_shape
from routeiq_plugin.mcp.relay.responses import Governed, answer, listening, respond
from routeiq_plugin.mcp.relay.streams import unless_cancelled
from routeiq_plugin.mcp.relay.tickets import Tickets, owner_of
from routeiq_plugin.mcp.relay.translation import shapes
from routeiq_plugin.mcp.relay.translation.downward import Bench, Downward, Owner
from routeiq_plugin.mcp.relay.translation.inbound import mismatch, rejection
from routeiq_plugin.mcp.relay.translation.server_sessions import begins_sessions
from routeiq_plugin.mcp.relay.translation.upward import Upward, discovered

_ACCEPTED: Final = 202

Json = dict[str, Any]


class TranslatingEndpoint:
    """Serves what the relay cannot pass on as it is; one per worker, loaded when first needed."""

    def __init__(
        self,
        plane: DataPlane,
        carrier: Carrier,
        tickets: Tickets,
        sessions: ClientSessions,
        *,
        bench: Bench,
        generations: Generations,
    ) -> None:
        self._plane = plane
        self._carrier = carrier
        self._tickets = tickets
        self._sessions = sessions
        self._bench = bench
        self._generations = generations

    # Clients with a session

    async def begin(self, asked: Asked, server: Server, message: Json) -> Response | None:
        """Begin a session for a client whose `initialize` the server does not take.

        None where the server is not modern either, or takes those of others. Raises `InvalidRequest`, `BackendError`.
        """
        facts, wire = Facts.of_initialize(message.get("params")), await self._wire(asked, server)
        found = await discovered(wire, facts)
        if found is None or await self._begins_sessions(wire):
            return None
        session = await self._sessions.begin(facts, owner_of(asked.caller))
        result = shapes.initialized(found, facts.version)
        if instructions := instructions_of(server):
            result["instructions"] = instructions
        ticket = self._tickets.issue(server, asked.caller, session.name, is_own=True)
        return JSONResponse({"jsonrpc": "2.0", "id": message.get("id"), "result": result}, headers={SESSION: ticket})

    async def _begins_sessions(self, wire: Wire) -> bool:
        """Tell whether the server begins sessions, by words of ours: what a client sent may be the client's fault."""
        speaks = self._generations.speaks(wire.server, Generation.SESSIONS)
        if speaks is None:
            speaks = await begins_sessions(wire)
            self._generations.learn(wire.server, Generation.SESSIONS, speaks=speaks)
        return speaks

    async def in_session(self, asked: Asked, request: Request, server: Server, message: Any, name: str) -> Response:
        """Answer one request of a session that the gateway keeps."""
        if request.method == "POST":
            require_shape(message)
        session = await self._sessions.find(name)
        upward = Upward(await self._wire(asked, server), self._sessions, session)
        if request.method == "GET":
            return listening(upward.listen(), {})
        if request.method == "DELETE":
            await upward.end()
            return Response()
        if "method" not in message or "id" not in message:
            await upward.tell(message)
            return Response(status_code=_ACCEPTED)
        ruling = await rule_on(self._plane.tools, asked, request, server, message)
        headers = {**mirrored(ruling.message, ruling.input_schema), **ruling.headers}
        stream = self._cancellable(session, message["id"], upward.ask(ruling.message, headers))
        return await respond(Governed(stream, ruling.rule, message["id"]), {})

    async def _cancellable(
        self, session: ClientSession, asked_id: Any, stream: AsyncGenerator[Json, None]
    ) -> AsyncGenerator[Json, None]:
        with self._sessions.mailbox.waiting(session.cancellation(asked_id)) as cancelled:
            async with aclosing(unless_cancelled(cancelled, stream)) as said:
                async for each in said:
                    yield each

    # Clients without one

    async def is_misunderstood(self, asked: Asked, server: Server, message: Json) -> bool:
        """Tell whether a server that refused a request of 2026-07-28 did so because it needs a session."""
        facts = Facts.of_request(message.get("params"))
        speaks = self._generations.speaks(server, Generation.STATELESS)
        if speaks is None:
            try:
                speaks = await discovered(await self._wire(asked, server), facts) is not None
                if not speaks:
                    await (await self._downward(asked, server, facts)).introduction()
            except BackendError:
                return False  # it has another reason, which is for the client to hear
            self._generations.learn(server, Generation.STATELESS, speaks=speaks)
        return not speaks

    async def without_session(self, asked: Asked, request: Request, server: Server, message: Json) -> Response:
        """Answer one request of a client of 2026-07-28 to a server that needs a session."""
        require_shape(message)
        if "id" not in message or "method" not in message:
            return Response(status_code=_ACCEPTED)
        if (rejected := rejection(message, asked.incoming)) is not None:
            return answer(rejected)
        ruling = await rule_on(self._plane.tools, asked, request, server, message)
        return await self.under(ruling, asked, server, message)

    async def under(self, ruling: Ruling, asked: Asked, server: Server, message: Json) -> Response:
        """Answer a request for which a rule has begun."""
        try:
            downward = await self._downward(asked, server, Facts.of_request(message.get("params")))
        except BaseException as error:
            await ruling.rule.aclose(error)
            raise
        exchange = Governed(_said(downward, ruling, asked, message), ruling.rule, message["id"])
        return await respond(exchange, {}, has_statuses=True)

    async def _downward(self, asked: Asked, server: Server, facts: Facts) -> Downward:
        credential = await self._plane.offers.credential(asked, server)
        owner = Owner(owner_of(asked.caller), credential.identity)
        return Downward(self._over(server, credential), self._bench, owner, facts)

    async def _wire(self, asked: Asked, server: Server) -> Wire:
        return self._over(server, await self._plane.offers.credential(asked, server))

    def _over(self, server: Server, credential: Credential) -> Wire:
        return Wire(self._carrier, server, credential, self._plane.sessions.policy.seconds(server))


async def _said(downward: Downward, ruling: Ruling, asked: Asked, message: Json) -> AsyncGenerator[Json, None]:
    refused = rejection(message, asked.incoming) or mismatch(message, ruling.tool, asked.incoming)
    if refused is not None:
        yield refused
        return
    async with aclosing(downward.ask(ruling.message, ruling.headers)) as said:
        async for each in said:
            yield each

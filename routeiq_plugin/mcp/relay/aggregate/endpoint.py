"""One HTTP request of an MCP client to the endpoint over all servers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from fastapi import HTTPException
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from routeiq_plugin.errors import InvalidRequest, RouteIQError
from routeiq_plugin.host.app import BODY, LeaveToStock
from routeiq_plugin.host.auth import Caller, authenticate, recognised
from routeiq_plugin.host.mcp_modes import requires_named_servers, searches_tools
from routeiq_plugin.mcp.data_routes import PATH
from routeiq_plugin.mcp.failures import METHOD_NOT_FOUND, ServerRefused
from routeiq_plugin.mcp.http.carrier import SESSION
from routeiq_plugin.mcp.http.facts import Facts
from routeiq_plugin.mcp.http.messages import is_answer
from routeiq_plugin.mcp.http.wire import VERSION, SessionLost
from routeiq_plugin.mcp.plane import DataPlane
from routeiq_plugin.mcp.relay.aggregate import introduction, links
from routeiq_plugin.mcp.relay.aggregate.bells import Bell
from routeiq_plugin.mcp.relay.aggregate.conversations import Conversations
from routeiq_plugin.mcp.relay.aggregate.exchanges import Exchanges, answered
from routeiq_plugin.mcp.relay.aggregate.hearing import LISTEN, Hearing
from routeiq_plugin.mcp.relay.aggregate.links import Part
from routeiq_plugin.mcp.relay.aggregate.lists import KINDS, Lists
from routeiq_plugin.mcp.relay.aggregate.namespaces import Namespaces
from routeiq_plugin.mcp.relay.aggregate.scope import in_scope, names_servers
from routeiq_plugin.mcp.relay.aggregate.targets import METHODS, Targets
from routeiq_plugin.mcp.relay.aggregate.visits import Visit
from routeiq_plugin.mcp.relay.aggregate.watching import Watching
from routeiq_plugin.mcp.relay.belonging import is_for_us, is_stateless, message_in, opens
from routeiq_plugin.mcp.relay.client_sessions import ClientSession, ClientSessions
from routeiq_plugin.mcp.relay.messages import require_message
from routeiq_plugin.mcp.relay.origins import require_origin
from routeiq_plugin.mcp.relay.responses import answer, listening, refused, respond, rpc_error
from routeiq_plugin.mcp.relay.tickets import Tickets, owner_of
from routeiq_plugin.mcp.relay.translation.inbound import rejection
from routeiq_plugin.mcp.relay.translation.shapes import agreed

PLACE: Final = "all servers"
"""Where sessions of this endpoint are good."""
_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
_ACCEPTED: Final = 202
Json = dict[str, Any]


class Endpoint:
    """Serves `/mcp`; one per worker."""

    def __init__(
        self,
        plane: DataPlane,
        tickets: Tickets,
        sessions: ClientSessions,
        conversations: Conversations,
        bell: Bell,
    ) -> None:
        self._plane = plane
        self._tickets = tickets
        self._sessions = sessions
        self._lists = Lists(plane)
        targets = Targets(plane.offers)
        self._conversations = conversations
        self._exchanges = Exchanges(plane, targets, self._conversations, sessions.mailbox)
        self._hearing = Hearing(self._conversations, sessions, targets, Watching(plane, self._lists, bell))

    async def serve(self, request: Request) -> Response:
        """Answer one request; raises `LeaveToStock` for what LiteLLM's own endpoint has to serve.

        That is: sessions that LiteLLM began and messages outside of any, keys that nobody here knows, and keys and
        settings with a mode of LiteLLM's own.
        """
        gateway = self._plane.offers.gateway
        await gateway.ready()
        message = message_in(request)
        if not is_for_us(request, message):
            raise LeaveToStock
        require_origin(request, gateway.public_url)
        caller = await self._caller(request)
        try:
            return await self._served(request, caller, message)
        except (RouteIQError, HTTPException) as error:
            return _failed(request, message, error)

    async def _caller(self, request: Request) -> Caller:
        if SESSION in request.headers:
            return await authenticate(request, path=PATH)
        caller = await recognised(request, path=PATH)
        if caller is None or searches_tools(caller):
            raise LeaveToStock
        if requires_named_servers() and not names_servers(dict(request.headers)):
            raise LeaveToStock
        return caller

    async def _served(self, request: Request, caller: Caller, message: Any) -> Response:
        asked = self._plane.offers.asked(caller, dict(request.headers))
        given = asked.incoming.get(SESSION)
        session = None
        if given is not None:
            session = await self._sessions.find(self._tickets.read_at(PLACE, caller, given).session)
        if request.method == "POST":
            message = require_message(request.scope.get(BODY, b""), asked.incoming)
        names = Namespaces(await in_scope(self._plane.offers.gateway, asked))
        if session is not None:
            _require_version(asked.incoming)
            return await self._in_session(Visit(asked, request, names, session), session, message)
        if opens(request, message):
            return await self._begun(
                Visit(asked, request, names, told=Facts.of_initialize(message.get("params"))), message
            )
        return await self._stateless(
            Visit(asked, request, names, told=Facts.of_request(message.get("params"))), message
        )

    # Sessions

    async def _begun(self, visit: Visit, message: Json) -> Response:
        said = visit.facts
        version = agreed(said.version)
        facts = Facts(version, said.info, said.capabilities)
        session = await self._sessions.begin(facts, owner_of(visit.asked.caller))
        told = introduction.initialized(version, visit.names)
        ticket = self._tickets.issue_at(PLACE, visit.asked.caller, session.name, is_own=True)
        return JSONResponse({"jsonrpc": "2.0", "id": message.get("id"), "result": told}, headers={SESSION: ticket})

    async def _in_session(self, visit: Visit, session: ClientSession, message: Any) -> Response:
        if visit.request.method == "DELETE":
            return await self._ended(visit, session)
        if visit.request.method == "GET":
            return listening(self._hearing.in_session(visit, session), {})
        if "method" in message and "id" in message:
            return await self._asked(visit, session, message)
        if "method" in message:
            await self._notified(visit, session, message)
        else:
            await self._answer(visit, session, message)
        return Response(status_code=_ACCEPTED)

    async def _asked(self, visit: Visit, session: ClientSession, message: Json) -> Response:
        method = message["method"]
        if method == "ping":
            return await self._own(visit, message, {})
        if method == "logging/setLevel":
            await session.set_level(_level(message))
            return await self._own(visit, message, {})
        return await self._requested(visit, message)

    async def _ended(self, visit: Visit, session: ClientSession) -> Response:
        """End the session, and those with servers that it had."""
        await self._sessions.end(session)
        ending = [self._end(visit, session, server_id) for server_id in session.state.servers]
        await asyncio.gather(*ending)
        return Response()

    async def _end(self, visit: Visit, session: ClientSession, server_id: str) -> None:
        link = Part.of(session.state, server_id).link
        server = self._plane.offers.gateway.directory.in_memory(server_id)
        if link is None or server is None or link.row != str(server.version):
            return
        with suppress(RouteIQError):
            wire, _ = await self._conversations.wire(visit, server)
            await wire.end(link.headers)

    async def _answer(self, visit: Visit, session: ClientSession, message: Json) -> None:
        """Bring the client's answer to the server that asked, or to the request that waits for it."""
        if not is_answer(message):
            raise InvalidRequest("a message has a method, or a result or an error")
        named = links.inward(message.get("id"))
        if named is None:
            await self._sessions.answered(session, message)
            return
        await self._tell(visit, session, named[0], {**message, "id": named[1]})

    async def _notified(self, visit: Visit, session: ClientSession, message: Json) -> None:
        method, params = message["method"], message.get("params")
        fields: Mapping[str, Any] = params if isinstance(params, dict) else {}
        if method == "notifications/cancelled":
            await self._sessions.cancel(session, message)
        elif method == "notifications/progress":
            named = links.inward(fields.get("progressToken"))
            if named is not None:
                told = {**message, "params": {**fields, "progressToken": named[1]}}
                await self._tell(visit, session, named[0], told)
        elif method == "notifications/roots/list_changed":
            await asyncio.gather(*(self._tell(visit, session, each, message) for each in session.state.servers))

    async def _tell(self, visit: Visit, session: ClientSession, server_id: str, message: Json) -> None:
        """Pass on what has no answer, on the session that the client has with a server, if it still has one."""
        link = Part.of(session.state, server_id).link
        server = next((each for each in visit.names.servers if each.server_id == server_id), None)
        if link is None or server is None:
            return
        wire, _ = await self._conversations.wire(visit, server)
        with suppress(SessionLost):
            await wire.tell(message, link.headers)

    # Without sessions

    async def _stateless(self, visit: Visit, message: Json) -> Response:
        if "method" not in message or "id" not in message:
            return Response(status_code=_ACCEPTED)  # there is no session that it could belong to
        if (rejected := rejection(message, visit.asked.incoming)) is not None:
            return answer(rejected)
        method = message["method"]
        if method == "server/discover":
            return await self._own(visit, message, introduction.discovered(visit.names))
        if method == LISTEN:
            return listening(self._hearing.subscribed(visit, message), {})
        return await self._requested(visit, message)

    # Both

    async def _requested(self, visit: Visit, message: Json) -> Response:
        method, params = message["method"], message.get("params")
        fields: Mapping[str, Any] = params if isinstance(params, dict) else {}
        if method in KINDS:
            return await self._own(visit, message, await self._lists.result(visit, method, fields))
        if method not in METHODS:
            raise ServerRefused(METHOD_NOT_FOUND, "Method not found")
        return await respond(await self._exchanges.begin(visit, message), {}, has_statuses=visit.session is None)

    async def _own(self, visit: Visit, message: Json, result: Json) -> Response:
        told = {"jsonrpc": "2.0", "id": message["id"], "result": result}
        return await respond(answered(visit, message["method"], told), {})


def _require_version(incoming: Mapping[str, str]) -> None:
    said = incoming.get(VERSION)
    if said is not None and said not in HANDSHAKE_PROTOCOL_VERSIONS:
        raise InvalidRequest(f"MCP-Protocol-Version: sessions speak {', '.join(HANDSHAKE_PROTOCOL_VERSIONS)}")


def _level(message: Json) -> str:
    params = message.get("params")
    level = params.get("level") if isinstance(params, dict) else None
    if level not in _LEVELS:
        raise InvalidRequest(f"params.level must be one of {', '.join(_LEVELS)}")
    return str(level)


def _failed(request: Request, message: Any, error: RouteIQError | HTTPException) -> Response:
    """Answer with a JSON-RPC error; without sessions its code decides on the status (2026-07-28)."""
    asked_id = message.get("id") if isinstance(message, dict) and "method" in message else None
    if asked_id is not None and SESSION not in request.headers and is_stateless(request, message):
        return answer(rpc_error(asked_id, error))
    return refused(asked_id, error)

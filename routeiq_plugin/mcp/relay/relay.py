"""One HTTP request of an MCP client, carried to the server that it is for, and the answer back."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from typing import Any, Final

from fastapi import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from routeiq_plugin.errors import (
    BackendTimeout,
    LoginRequired,
    RouteIQError,
)
from routeiq_plugin.host.app import BODY, LeaveToStock
from routeiq_plugin.host.auth import authenticate
from routeiq_plugin.host.calls import capabilities
from routeiq_plugin.mcp.access import Action
from routeiq_plugin.mcp.credentials import Credential
from routeiq_plugin.mcp.data_routes import PATH
from routeiq_plugin.mcp.http.carrier import PARAMETERS, SESSION, Carrier, is_repeatable, passed_on
from routeiq_plugin.mcp.http.events import events, message_of, with_message
from routeiq_plugin.mcp.http.messages import cancelled, is_answer
from routeiq_plugin.mcp.http.silence import UNBOUNDED, Questions, Silence, silent
from routeiq_plugin.mcp.http.wire import EVENTS, LAST_EVENT, VERSION
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.offers import Asked
from routeiq_plugin.mcp.plane import DataPlane
from routeiq_plugin.mcp.relay.answers import Relayed
from routeiq_plugin.mcp.relay.belonging import id_asked, is_for_us, is_stateless, message_in, opens, parsed, says
from routeiq_plugin.mcp.relay.generations import Generation
from routeiq_plugin.mcp.relay.governance import Cancelling, ListedTools, Rule, Ruling, Untouched, rule_on
from routeiq_plugin.mcp.relay.messages import require_message
from routeiq_plugin.mcp.relay.origins import require_origin
from routeiq_plugin.mcp.relay.reach import is_carried
from routeiq_plugin.mcp.relay.responses import refused, rpc_error
from routeiq_plugin.mcp.relay.resumption import EventNames
from routeiq_plugin.mcp.relay.tickets import Tickets
from routeiq_plugin.mcp.relay.translating import Translating
from routeiq_plugin.outbound import backend_error

logger = logging.getLogger(__name__)

_BACK: Final = ("content-type", "cache-control", "allow", "retry-after", VERSION)
_OF_THE_SESSION: Final = (SESSION, VERSION, "accept")
_OVERRIDDEN: Final = ("tool_name_to_display_name", "tool_name_to_description")
"""Names that the operator gave tools: LiteLLM's own endpoint shows them."""
_FAREWELL_SECONDS: Final = 5.0
"""Longest time to tell a server that nobody waits any more."""
_OK: Final = 200
_MISUNDERSTOOD: Final = frozenset(range(400, 500)) - {401, 403, 408, 413, 429}
"""Statuses of servers that may not know the client's version."""
_FAILED: Final = 400

Json = dict[str, Any]


class Relay:
    """Serves the MCP endpoint of each server of ours that speaks streamable HTTP; one per worker."""

    def __init__(self, plane: DataPlane, carrier: Carrier, tickets: Tickets, translating: Translating) -> None:
        self._plane = plane
        self._carrier = carrier
        self._tickets = tickets
        self._translating = translating
        self._questions = Questions()
        self._farewells: set[asyncio.Task[None]] = set()

    async def serve(self, name: str, request: Request) -> Response:
        """Answer one request; raises `LeaveToStock` for what LiteLLM's own endpoint has to serve.

        That is: servers that are not ours, or not on streamable HTTP, or whose credential LiteLLM works out; and
        sessions that LiteLLM began, or messages outside of any session, which LiteLLM gives one.
        """
        gateway = self._plane.offers.gateway
        await gateway.ready()
        server = await gateway.directory.find(name)
        if server is None or not _is_relayed(server):
            raise LeaveToStock
        message = message_in(request)
        if not is_for_us(request, message):
            raise LeaveToStock
        require_origin(request, gateway.public_url)
        caller = await authenticate(request, path=PATH)
        server = await gateway.get(caller, name, Action.USE)
        asked = self._plane.offers.asked(caller, dict(request.headers))
        try:
            if request.method == "POST":
                message = require_message(request.scope.get(BODY, b""), asked.incoming)
            return await self._answered(asked, request, server, message)
        except LoginRequired:
            raise
        except (RouteIQError, HTTPException) as error:
            return refused(id_asked(message), error)

    async def _answered(self, asked: Asked, request: Request, server: Server, message: Any) -> Response:
        """Pass the request on, or translate it where client and server are known to share no version."""
        given = asked.incoming.get(SESSION)
        ticket = None if given is None else self._tickets.read(server, asked.caller, given)
        if ticket is not None and ticket.is_own:
            endpoint = await self._translating.endpoint()
            return await endpoint.in_session(asked, request, server, message, ticket.session)
        if opens(request, message) and self._translating.speaks(server, Generation.SESSIONS) is False:
            begun = await (await self._translating.endpoint()).begin(asked, server, message)
            if begun is not None:
                return begun
        if is_stateless(request, message) and self._translating.speaks(server, Generation.STATELESS) is False:
            endpoint = await self._translating.endpoint()
            return await endpoint.without_session(asked, request, server, message)
        return await self._carried(asked, request, server, message, "" if ticket is None else ticket.session)

    async def _carried(self, asked: Asked, request: Request, server: Server, message: Any, session: str) -> Response:
        headers = passed_on(asked.incoming)
        headers |= {SESSION: session} if session else {}
        last_event = asked.incoming.get(LAST_EVENT)
        # A result that is sent again would come past the hooks that judge results.
        if last_event is not None and request.method == "GET" and not _results_are_judged():
            headers[LAST_EVENT] = EventNames(session).opened(last_event)
        credential = await self._plane.offers.credential(asked, server)
        seconds = self._patience(request, server, message)
        ruling = await self._ruled(asked, request, server, message)
        rule, body = ruling.rule, self._body(request, ruling, headers)
        if session and (asked_id := id_asked(message)) is not None:
            rule = Cancelling(rule, partial(self._cancel, server, credential, dict(headers), asked_id))
        try:
            response = await self._carrier.send(
                request.method,
                server,
                credential,
                headers,
                body,
                seconds=seconds,
                is_repeatable=request.method == "GET" or is_repeatable(message),
            )
            if opens(request, message) and response.status_code >= _FAILED:
                await response.aclose()
                begun = await (await self._translating.endpoint()).begin(asked, server, message)
                if begun is None:
                    raise LeaveToStock
                return begun
            if await self._is_misunderstood(asked, request, server, message, response):
                endpoint = await self._translating.endpoint()
                return await endpoint.under(ruling, asked, server, message)
        except BaseException as error:
            await rule.aclose(error)
            raise
        back = {each: response.headers[each] for each in _BACK if each in response.headers}
        back["x-accel-buffering"] = "no"
        if opens(request, message):
            session = response.headers.get(SESSION, "")
            back[SESSION] = self._tickets.issue(server, asked.caller, session)
        elif SESSION in asked.incoming and SESSION in response.headers:
            back[SESSION] = asked.incoming[SESSION]
        place = f"{server.server_id} {session}"
        self._questions.answered(place, message)
        exchange = _Exchange(response, rule, Silence(seconds, place, self._questions))
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == EVENTS:
            pieces = _streamed(exchange, id_asked(message), EventNames(session))
        else:
            pieces = _whole(exchange, id_asked(message))
        return Relayed(pieces, response.status_code, back, exchange.aclose)

    def _cancel(self, server: Server, credential: Credential, headers: dict[str, str], asked_id: Any) -> None:
        """Tell a server that keeps sessions what nobody waits for any more: closing its stream does not."""
        telling = asyncio.get_running_loop().create_task(self._tell(server, credential, headers, asked_id))
        self._farewells.add(telling)
        telling.add_done_callback(self._farewells.discard)

    async def _tell(self, server: Server, credential: Credential, headers: dict[str, str], asked_id: Any) -> None:
        told = cancelled(asked_id, "the server was silent for too long")
        kept = {name: value for name, value in headers.items() if name in _OF_THE_SESSION}
        try:
            response = await self._carrier.send(
                "POST", server, credential, kept, json.dumps(told).encode(), seconds=_FAREWELL_SECONDS
            )
        except RouteIQError as error:
            logger.debug("routeiq: an MCP server could not be told to stop (%s)", type(error).__name__)
            return
        await response.aclose()

    def _patience(self, request: Request, server: Server, message: Any) -> float | None:
        """Return how many seconds the server may be silent; None where clients wait for something to happen."""
        if request.method == "GET" or any(says(message, each) for each in UNBOUNDED):
            return None
        return self._plane.sessions.policy.seconds(server)

    async def _is_misunderstood(
        self, asked: Asked, request: Request, server: Server, message: Any, response: Any
    ) -> bool:
        """Tell whether the server needs a session that this client does not have; then its response is closed."""
        if not is_stateless(request, message) or id_asked(message) is None:
            return False
        if says(message, "server/discover") and response.status_code == _OK:
            is_refused = '"error"' in (await self._read(server, response)).decode("utf-8", "replace")
        else:
            is_refused = response.status_code in _MISUNDERSTOOD
        if not is_refused:
            return False
        await self._read(server, response)
        return await (await self._translating.endpoint()).is_misunderstood(asked, server, message)

    async def _read(self, server: Server, response: Any) -> bytes:
        """Read a body that says what the server does not understand, and keep it for the client."""
        seconds = self._plane.sessions.policy.seconds(server)
        try:
            async with asyncio.timeout(seconds):
                body: bytes = await response.aread()
                return body
        except TimeoutError:
            raise silent(seconds) from None
        except RouteIQError:
            raise
        except Exception as broken:
            raise backend_error(broken) from broken
        finally:
            await response.aclose()

    async def _ruled(self, asked: Asked, request: Request, server: Server, message: Any) -> Ruling:
        """Find what applies to the answer, and to the message where there is one."""
        if request.method == "GET":
            return Ruling(ListedTools(self._plane.tools, asked, server), {})
        if not isinstance(message, dict):
            return Ruling(Untouched(), {})
        return await rule_on(self._plane.tools, asked, request, server, message)

    def _body(self, request: Request, ruling: Ruling, headers: dict[str, str]) -> bytes | None:
        """Return what is sent: the client's own bytes, unless a hook changed them; `headers` follow."""
        headers |= ruling.headers
        if not ruling.is_changed:
            return request.scope.get(BODY) if request.method == "POST" else None
        if ruling.has_new_arguments:
            for name in [each for each in headers if each.startswith(PARAMETERS)]:
                del headers[name]
        if "mcp-name" in headers:
            headers["mcp-name"] = ruling.message["params"]["name"]
        return json.dumps(ruling.message).encode()


class _Exchange:
    """An answer under way, and what has to hear how it ended: unless something else is set, its client left."""

    def __init__(self, response: Any, rule: Rule, silence: Silence) -> None:
        self.response = response
        self.rule = rule
        self.silence = silence
        self.failure: BaseException | None = asyncio.CancelledError()

    def pieces(self) -> AsyncIterator[bytes]:
        """Yield what the server sends; raises `BackendTimeout` when it is silent for too long."""
        return self.silence.over(self.response.aiter_bytes())

    async def aclose(self) -> None:
        """End it at the server, and in the books."""
        self.silence.ended()
        try:
            await self.response.aclose()
        finally:
            await self.rule.aclose(self.failure)


async def _streamed(exchange: _Exchange, asked_id: Any, names: EventNames) -> AsyncGenerator[bytes, None]:
    try:
        async for piece in events(exchange.pieces()):
            event, message = names.given_out(piece), message_of(piece)
            exchange.silence.heard(message)
            if not is_answer(message) or (asked_id is not None and message.get("id") != asked_id):
                yield event
                continue
            try:
                changed = await exchange.rule.answered(message)
            except (RouteIQError, HTTPException) as judged:
                changed = rpc_error(message.get("id"), judged)
            yield event if changed is None else with_message(event, changed)
        exchange.failure = None
    except BackendTimeout as silent:
        exchange.failure = silent
        if asked_id is not None:
            yield with_message(b"", rpc_error(asked_id, silent))
    except Exception as ended:
        exchange.failure = ended
        logger.debug("routeiq: a stream of an MCP server ended early", exc_info=True)


async def _whole(exchange: _Exchange, asked_id: Any) -> AsyncGenerator[bytes, None]:
    try:
        body = b"".join([piece async for piece in exchange.pieces()])
        message = parsed(body)
        if is_answer(message):
            try:
                changed = await exchange.rule.answered(message)
            except (RouteIQError, HTTPException) as judged:
                changed = rpc_error(asked_id, judged)
            body = body if changed is None else json.dumps(changed).encode()
        yield body
        exchange.failure = None
    except BackendTimeout as silent:
        exchange.failure = silent
        yield json.dumps(rpc_error(asked_id, silent)).encode()
    except Exception as ended:
        exchange.failure = ended
        raise


def _results_are_judged() -> bool:
    found = capabilities()
    return bool(found.has_guardrail or found.has_moderation_override)


def _is_relayed(server: Server) -> bool:
    """Tell whether server and gateway can talk over streamable HTTP, and stock would show nothing different."""
    return is_carried(server) and not any(server.fields.get(each) for each in _OVERRIDDEN)

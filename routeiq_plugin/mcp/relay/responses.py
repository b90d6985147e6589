"""How messages to a client become an HTTP response: one answer as JSON, more than one as events."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final

from fastapi import HTTPException
from starlette.responses import JSONResponse, Response

from routeiq_plugin.errors import HeaderMismatch, NotFound, RouteIQError, wire
from routeiq_plugin.mcp.failures import ServerRefused
from routeiq_plugin.mcp.http.messages import is_answer
from routeiq_plugin.mcp.http.wire import EVENTS
from routeiq_plugin.mcp.relay.answers import Relayed
from routeiq_plugin.mcp.relay.governance import Rule
from routeiq_plugin.mcp.relay.streams import Cancelled

logger = logging.getLogger(__name__)

_OK: Final = 200
_STATUSES: Final = {-32700: 400, -32600: 400, -32602: 400, -32020: 400, -32021: 400, -32022: 400, -32601: 404}
"""Status of a JSON-RPC error where there are no sessions (2026-07-28)."""

Json = dict[str, Any]


class _Message(JSONResponse):
    """A message, escaped: servers may send halves of surrogate pairs, which UTF-8 has no bytes for."""

    def render(self, content: Json) -> bytes:
        """Render it."""
        return _rendered(content)


class Governed:
    """What a server says to one request, with its answer under a rule; failures become the answer."""

    def __init__(self, messages: AsyncGenerator[Json, None], rule: Rule, asked_id: Any) -> None:
        self._messages = messages
        self._rule = rule
        self._asked_id = asked_id
        self._failure: BaseException | None = asyncio.CancelledError()  # the client left, unless it is known better

    async def said(self) -> AsyncGenerator[Json, None]:
        """Yield each message; what refuses the answer, or fails, is the answer."""
        try:
            async for message in self._messages:
                if not is_answer(message):
                    yield message
                    continue
                changed = await self._rule.answered(message)
                yield message if changed is None else changed
            self._failure = None
        except Cancelled as cancelled:
            self._failure = cancelled  # and is owed no answer
        except (RouteIQError, HTTPException) as refused:
            self._failure = refused
            yield rpc_error(self._asked_id, refused)

    async def aclose(self) -> None:
        """End the request at the server and in the books; not the work of `said`, which a client may cut short."""
        try:
            await self._messages.aclose()
        finally:
            await self._rule.aclose(self._failure)


async def respond(exchange: Governed, headers: Mapping[str, str], *, has_statuses: bool = False) -> Response:
    """Answer a request: as JSON where the answer comes first, else as events, each at once.

    With `has_statuses` the HTTP status follows the error's code (2026-07-28).
    """
    said = exchange.said()
    try:
        first = await anext(said, None)
    except BaseException:
        await exchange.aclose()
        raise
    if first is not None and is_answer(first):
        await said.aclose()
        await exchange.aclose()
        return answer(first, headers) if has_statuses else _Message(first, _OK, dict(headers))
    return _stream(_events(first, said), headers, exchange.aclose)


def answer(message: Json, headers: Mapping[str, str] | None = None) -> Response:
    """Answer a request of 2026-07-28 with one message, whose error gives the status."""
    status = _STATUSES.get((message.get("error") or {}).get("code", 0), _OK)
    return _Message(message, status, dict(headers or {}))


def listening(messages: AsyncGenerator[Json, None], headers: Mapping[str, str]) -> Response:
    """Answer with what a server says by itself, as events; what ends that ends the stream."""
    return _stream(_events(None, _in_peace(messages)), headers, messages.aclose)


def _stream(
    events: AsyncGenerator[bytes, None], headers: Mapping[str, str], aclose: Callable[[], Awaitable[None]]
) -> Response:
    told = {**headers, "content-type": EVENTS, "cache-control": "no-cache, no-transform", "x-accel-buffering": "no"}
    return Relayed(events, _OK, told, aclose)


async def _in_peace(messages: AsyncGenerator[Json, None]) -> AsyncGenerator[Json, None]:
    try:
        async for message in messages:
            yield message
    except RouteIQError as ended:
        logger.debug("routeiq: a stream of an MCP server ended (%s)", ended)


async def _events(first: Json | None, rest: AsyncGenerator[Json, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(rest):
        if first is not None:
            yield _event(first)
        async for message in rest:
            yield _event(message)


def _event(message: Json) -> bytes:
    return b"event: message\ndata: " + _rendered(message) + b"\n\n"


def _rendered(message: Json) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def refused(asked_id: Any, error: RouteIQError | HTTPException) -> Response:
    """Answer with a JSON-RPC error: inside HTTP 200 for a request, unless the protocol gives the error a status."""
    has_status = isinstance(error, HeaderMismatch) or (
        isinstance(error, NotFound) and error.detail == "Session not found"
    )
    status = _OK if asked_id is not None and not has_status else _status(error)
    return JSONResponse(rpc_error(asked_id, error), status)


def _status(error: RouteIQError | HTTPException) -> int:
    return error.status_code if isinstance(error, HTTPException) else wire(error).status


def rpc_error(asked_id: Any, error: RouteIQError | HTTPException) -> Json:
    """Render an error as the answer to a request."""
    code = -32000 if isinstance(error, HTTPException) else wire(error).jsonrpc
    code = -32602 if isinstance(error, NotFound) else code
    code = error.code if isinstance(error, ServerRefused) else code
    detail = error.detail
    named: Any = detail if isinstance(detail, Mapping) else {}
    text = named.get("message") or named.get("error") or str(detail)
    told: Json = {"code": code, "message": str(text)}
    if isinstance(detail, Mapping):
        told["data"] = dict(detail)
    return {"jsonrpc": "2.0", "id": asked_id, "error": told}

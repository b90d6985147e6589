"""How messages to a client become an HTTP response: one answer as JSON, more than one as events."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

from fastapi import HTTPException
from starlette.responses import JSONResponse, Response

from routeiq_plugin.errors import HeaderMismatch, NotFound, RouteIQError, wire
from routeiq_plugin.mcp.failures import ServerRefused
from routeiq_plugin.mcp.relay.answers import Relayed
from routeiq_plugin.mcp.relay.governance import Rule
from routeiq_plugin.mcp.relay.wire import EVENTS, is_answer

logger = logging.getLogger(__name__)

_OK: Final = 200
_STATUSES: Final = {-32700: 400, -32600: 400, -32602: 400, -32020: 400, -32021: 400, -32022: 400, -32601: 404}
"""Status of a JSON-RPC error where there are no sessions (2026-07-28)."""

Json = dict[str, Any]


async def governed(messages: AsyncGenerator[Json, None], rule: Rule, asked_id: Any) -> AsyncGenerator[Json, None]:
    """Yield what a server says to one request, with its answer under a rule; failures become the answer."""
    failure: BaseException | None = None
    try:
        async with aclosing(messages):
            async for message in messages:
                if not is_answer(message):
                    yield message
                    continue
                changed = await rule.answered(message)
                yield message if changed is None else changed
    except (RouteIQError, HTTPException) as refused:
        failure = refused
        yield rpc_error(asked_id, refused)
    except BaseException as ended:
        failure = ended
        raise
    finally:
        await rule.aclose(failure)


async def respond(
    messages: AsyncGenerator[Json, None], headers: Mapping[str, str], *, has_statuses: bool = False
) -> Response:
    """Answer a request: as JSON where the answer comes first, else as events, each at once.

    With `has_statuses` the HTTP status follows the error's code (2026-07-28).
    """
    first = await anext(messages, None)
    if first is not None and is_answer(first):
        await messages.aclose()
        status = _STATUSES.get((first.get("error") or {}).get("code", 0), _OK) if has_statuses else _OK
        return JSONResponse(first, status, dict(headers))
    told = {**headers, "content-type": EVENTS, "cache-control": "no-cache, no-transform", "x-accel-buffering": "no"}
    return Relayed(_events(first, messages), _OK, told)


async def _events(first: Json | None, rest: AsyncGenerator[Json, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(rest):
        if first is None:
            return
        yield _event(first)
        async for message in rest:
            yield _event(message)


def _event(message: Json) -> bytes:
    return b"event: message\ndata: " + json.dumps(message, separators=(",", ":")).encode() + b"\n\n"


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

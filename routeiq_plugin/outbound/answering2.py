"""A transport of httpx2 that answers for a backend which failed: JSON-RPC errors in place of exceptions.

The MCP SDK carries all calls of a session in one task group, where the exception of one request ends the others too.
Imported, like `transports2`, only when a client of httpx2 is first asked for.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import httpx2

from routeiq_plugin.errors import AddressRefused, RouteIQError, Unavailable
from routeiq_plugin.outbound.draining2 import Ends
from routeiq_plugin.outbound.failures import backend_error
from routeiq_plugin.outbound.faults import Fault, Reach
from routeiq_plugin.outbound.headers import added

logger = logging.getLogger(__name__)

CODE: Final = -32099
"""JSON-RPC code of a fault (JSON-RPC 2.0 section 5.1: left to implementations)."""
SESSION: Final = "mcp-session-id"

LISTEN: Final = "subscriptions/listen"
"""The request that stays open for what a server has to tell (MCP 2026-07-28)."""

_ANSWERS: Final = (b'"result"', b'"error"')
_EVENTS: Final = "text/event-stream"
_JSON: Final = "application/json"
_UNAUTHORIZED: Final = frozenset({401, 403})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_KEEPS_METHOD: Final = frozenset({307, 308})
_SECRET: Final = secrets.token_hex(16)
"""Marks the errors that are ours: what a backend says of itself is never taken for a fault that we saw."""

_UNSENT: Final = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.UnsupportedProtocol,
    AddressRefused,
    Unavailable,
)

Broken = Callable[[Fault], None]


class AnsweringTransport(httpx2.AsyncBaseTransport):
    """Sends through another transport, which it does not close, and reads answers to JSON-RPC requests to their end.

    Where answers come on another connection (`broken` is given), a POST that failed is told to `broken` instead.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport, broken: Broken | None = None) -> None:
        self._inner = inner
        self._broken = broken
        self._ends = Ends()

    async def aclose(self) -> None:
        """Wait for the end of no stream any longer; the other transport stays open."""
        await self._ends.aclose()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send; raises for other methods than POST, what the other transport raises."""
        await request.aread()  # one that follows a redirect is not read yet
        for name, value in (added.get() or {}).items():
            request.headers[name] = value
        if request.method != "POST" or _method(request) == LISTEN:
            _be_patient(request)
        if request.method == "DELETE":
            return await self._farewell(request)
        if request.method != "POST":
            return await self._inner.handle_async_request(request)
        try:
            response = await self._inner.handle_async_request(request)
        except Exception as failure:  # noqa: BLE001  whatever it is, the other calls of this session go on
            return self._answer(request, _of_sending(failure))
        return await self._received(request, response)

    async def _farewell(self, request: httpx2.Request) -> httpx2.Response:
        """End a session; what the backend says to that changes nothing."""
        try:
            response = await self._inner.handle_async_request(request)
            await response.aclose()
        except Exception as failure:  # noqa: BLE001
            logger.debug("routeiq: a backend did not hear that its session ends (%s)", type(failure).__name__)
        return httpx2.Response(204)

    async def _received(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        call_id = _call_id(request)
        if (response.is_success and call_id is None) or (self._broken is None and _is_followed(request, response)):
            return response
        kind = response.headers.get("content-type", "").lower()
        if response.is_success and kind.startswith(_EVENTS) and self._broken is None:
            response.stream = _Events(response.stream, call_id, self._ends)
            return response
        try:
            body = await response.aread()
        except Exception as failure:  # noqa: BLE001
            return self._answer(request, Fault.of(backend_error(failure), Reach.SENT))
        finally:
            await response.aclose()
        if response.is_success and self._broken is not None:
            return httpx2.Response(202)
        message = _message(body) if kind.startswith(_JSON) else None
        is_lost = response.status_code == 404 and SESSION in request.headers
        is_answer = _is_answer(message, call_id) and not is_lost and response.status_code not in _UNAUTHORIZED
        fault = None if is_answer else _of_status(request, response.status_code)
        return self._passed_on(response, message, call_id) if fault is None else self._answer(request, fault)

    def _passed_on(self, response: httpx2.Response, message: Any, call_id: Any) -> httpx2.Response:
        """Pass an answer on; one that was refused before its id was read has none of its own."""
        content = json.dumps({**message, "id": call_id}).encode()
        return httpx2.Response(
            response.status_code, headers={"content-type": _JSON, **_session(response)}, content=content
        )

    def _answer(self, request: httpx2.Request, fault: Fault) -> httpx2.Response:
        call_id = _call_id(request)
        if self._broken is not None:
            self._broken(fault)
        if self._broken is not None or call_id is None:
            return httpx2.Response(202)
        return httpx2.Response(200, headers={"content-type": _JSON}, content=_error(call_id, fault))


class _Events(httpx2.AsyncByteStream):
    """A stream of events whose last one says how it broke, if it broke.

    The SDK closes it as soon as it has the answer, which comes before the stream's end. That end is then waited for, in
    `ends`.
    """

    def __init__(self, stream: Any, call_id: Any, ends: Ends) -> None:
        self._stream = stream
        self._chunks: AsyncIterator[bytes] = aiter(stream)
        self._call_id = call_id
        self._ends = ends
        self._is_answered = self._is_handed_over = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._chunks:
                self._is_answered = self._is_answered or any(sign in chunk for sign in _ANSWERS)
                self._is_handed_over = True
                yield chunk
                self._is_handed_over = False
        except Exception as failure:  # noqa: BLE001
            error = _error(self._call_id, Fault.of(backend_error(failure), Reach.SENT))
            # Whatever event was being sent is given a name that nobody listens to, and then ends.
            yield b"\nevent: broken\n\nevent: message\ndata: " + error + b"\n\n"

    async def aclose(self) -> None:
        if not (self._is_answered and self._is_handed_over):  # closing is how a call is cancelled
            await self._stream.aclose()
            return
        self._is_answered = False
        self._ends.wait_for(self._stream, self._chunks)


def fault_of(code: int, data: Any) -> Fault | None:
    """Read a fault back out of a JSON-RPC error; None where the error is the backend's own."""
    if code != CODE or not isinstance(data, Mapping) or data.get("secret") != _SECRET:
        return None
    return Fault.read(data)


def _error(call_id: Any, fault: Fault) -> bytes:
    data = {"secret": _SECRET, **fault.written()}
    error = {"code": CODE, "message": fault.detail, "data": data}
    return json.dumps({"jsonrpc": "2.0", "id": call_id, "error": error}).encode()


def _of_sending(failure: Exception) -> Fault:
    known = failure if isinstance(failure, RouteIQError) else backend_error(failure)
    reach = Reach.UNSENT if isinstance(failure, _UNSENT) else Reach.SENT
    return Fault.of(known, reach)


def _is_answer(message: Any, call_id: Any) -> bool:
    """Tell whether this is the JSON-RPC answer to the request, which the SDK reads whatever its HTTP status is."""
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        return False
    return message.get("id") == call_id if "result" in message else "error" in message


def _of_status(request: httpx2.Request, status: int) -> Fault:
    """Judge an answer that is not JSON-RPC."""
    if status == 404 and SESSION in request.headers:
        return Fault.of_status(status, Reach.NO_SESSION)
    if status in _REDIRECTS:
        return Fault("the backend redirects to another address, which is not followed", status=status)
    if status >= 300:
        return Fault.of_status(status)
    return Fault("the backend's answer is not JSON-RPC, or not to this request")


def _message(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _is_followed(request: httpx2.Request, response: httpx2.Response) -> bool:
    """Tell whether the SDK follows this redirect: one that keeps the method and the origin."""
    location = response.headers.get("location")
    if response.status_code not in _KEEPS_METHOD or not location:
        return False
    here, there = urlsplit(str(request.url)), urlsplit(urljoin(str(request.url), location))
    return (here.scheme, here.netloc) == (there.scheme, there.netloc)


def _call_id(request: httpx2.Request) -> Any:
    """Read the id of the JSON-RPC request that is sent; None for a notification or an answer."""
    try:
        message = json.loads(request.content)
    except (ValueError, httpx2.RequestNotRead):
        return None
    return message.get("id") if isinstance(message, dict) and "method" in message else None


def _method(request: httpx2.Request) -> Any:
    message = json.loads(request.content)
    return message.get("method") if isinstance(message, dict) else None


def _be_patient(request: httpx2.Request) -> None:
    """Events may be far apart: on the connection that a server talks on, silence is no failure."""
    request.extensions = {**request.extensions, "timeout": {**request.extensions.get("timeout", {}), "read": None}}


def _session(response: httpx2.Response) -> Mapping[str, str]:
    return {SESSION: response.headers[SESSION]} if SESSION in response.headers else {}

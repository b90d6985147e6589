"""Calls of tools on a pooled session over HTTP: one message each, past the SDK's streams, which cost as much again."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from contextvars import Context
from typing import Any, Final

from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic_core import from_json, to_json

from routeiq_plugin._version import __version__
from routeiq_plugin.errors import AddressRefused, BackendError, BackendRefused, RouteIQError
from routeiq_plugin.mcp.http.carrier import SESSION
from routeiq_plugin.mcp.http.events import Event, events
from routeiq_plugin.mcp.http.facts import STATELESS, Facts
from routeiq_plugin.mcp.http.lists import CHANGES
from routeiq_plugin.mcp.http.messages import cancelled, is_answer, is_asked, is_error, unheard
from routeiq_plugin.mcp.http.places import Place
from routeiq_plugin.mcp.http.stateless import enveloped, mirrored, routing_headers
from routeiq_plugin.mcp.http.wire import ACCEPT, EVENTS, LAST_EVENT, VERSION, is_stream

FIRST_ID: Final = 1_000_000_000
"""The SDK counts its own ids on the same session from nought."""
MOST_REPLIES: Final = 16
"""Questions of a server that wait to be answered; it is not told about more."""
REPLY_SECONDS: Final = 5.0
"""How long a server may take to hear the answer to what it asked."""
WORD: Final = "routeiq mcp word"
"""Name of the tasks that tell a server something beside its calls."""
TOLD_SECONDS: Final = 1.0
"""How long a session that closes waits for the server to hear what it was told last."""

_FACTS: Final = Facts(STATELESS, {"name": "routeiq-plugin", "version": __version__})
_INITIALIZE: Final = b'"initialize"'
_INITIALIZED: Final = b'"notifications/initialized"'
_MESSAGE: Final = "message"
_REFUSED: Final = (401, 403)
_OF_ALL: Final = (VERSION, SESSION)
"""Headers that every message of a session has."""

logger = logging.getLogger(__name__)

Json = dict[str, Any]
Headers = Mapping[str, str]


class Posts:
    """Sends calls beside the SDK, which opens the session, lists what there is, and closes it.

    `client` (of `Clients.session_client`) is the one that the SDK uses: it answers for a server that fails.
    """

    def __init__(self, client: Any, url: str, changed: Callable[[str], None]) -> None:
        """`changed` hears which of its lists the server says has changed."""
        self._client = client
        self._url = url
        self._changed = changed
        self._session: str | None = None
        self._is_introduced = asyncio.Event()
        self._ids = itertools.count(FIRST_ID)
        self._calls: set[asyncio.Task[Any]] = set()
        self._replies: deque[tuple[Json, Headers]] = deque()
        self._replying: asyncio.Task[None] | None = None
        self._cancelling: set[asyncio.Task[None]] = set()

    async def hear(self, response: Any) -> None:
        """Learn of the session from each response (`httpx2.Response`) that the SDK gets."""
        request = response.request
        if self._is_introduced.is_set() or request.method != "POST" or response.has_redirect_location:
            return
        self._url = str(request.url)  # where the SDK was led to, which is on the same host
        content = await request.aread()
        if _INITIALIZED in content:
            self._is_introduced.set()
        elif _INITIALIZE in content and response.is_success:
            self._session = response.headers.get(SESSION) or None

    async def call(self, version: str | None, params: Json, input_schema: Mapping[str, Any]) -> Json:
        """Call a tool in the agreed version and return its result.

        Raises:
            MCPError: the server, or the session's client in its name, answered with an error.
            BackendError: what it answered is not what the protocol says.
        """
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            return await self._called(version, params, input_schema)
        finally:
            self._calls.discard(task)

    async def aclose(self) -> None:
        """Give up what is under way, and wait for a moment until the server has heard of it."""
        for task in self._calls:
            task.cancel()
        if self._calls:
            await asyncio.wait(self._calls)
        telling = [*self._cancelling, *([] if self._replying is None else [self._replying])]
        if telling:
            await asyncio.wait(telling, timeout=TOLD_SECONDS)
        for task in telling:
            task.cancel()

    async def _called(self, version: str | None, params: Json, input_schema: Mapping[str, Any]) -> Json:
        message: Json = {"jsonrpc": "2.0", "id": next(self._ids), "method": "tools/call", "params": params}
        if version in MODERN_PROTOCOL_VERSIONS:
            message = enveloped(message, _FACTS)
            headers = {**routing_headers(message), **mirrored(message, input_schema)}
            return _result(await self._answer(message, headers, None))
        await self._is_introduced.wait()
        headers = {VERSION: str(version)} | ({} if self._session is None else {SESSION: self._session})
        try:
            return {**_result(await self._answer(message, headers, Place())), "resultType": "complete"}
        except asyncio.CancelledError:
            self._cancel(message["id"], headers)  # to such a server a stream that is closed says nothing
            raise

    async def _answer(self, message: Json, headers: Headers, place: Place | None) -> Json:
        """Send, and read up to the answer, wherever the server goes on with its stream."""
        async with self._sent(message, headers) as response:
            answer = await self._read(response, headers, place)
        if answer is None and place is not None:
            answer = await self._resumed(headers, place)
        if answer is None:
            raise BackendError("the backend ended the stream without a result")
        return answer

    async def _resumed(self, headers: Headers, place: Place) -> Json | None:
        while (last_event := await place.again()) is not None:
            described = {"accept": EVENTS, **headers, LAST_EVENT: last_event}
            try:
                async with self._client.stream("GET", self._url, headers=described) as response:
                    _require_credential(response)
                    if not response.is_success or not is_stream(response):
                        continue
                    place.resumed()
                    answer = await self._read(response, headers, place)
            except AddressRefused as refused:
                raise BackendError(refused.detail) from None  # the admin's input, not this caller's
            except RouteIQError:
                raise
            except Exception as failure:  # noqa: BLE001  it may be reached again; how long is the call's own time
                logger.debug("routeiq: an MCP server's stream could not be taken up again (%s)", type(failure).__name__)
                continue
            if answer is not None:
                return answer
        return None

    async def _read(self, response: Any, headers: Headers, place: Place | None) -> Json | None:
        """Read up to the answer, which is known by being one, whatever its id; None where the body ends before."""
        if not is_stream(response):
            return _message(await response.aread())
        async with aclosing(events(response.aiter_bytes(), None)) as stream:
            async for raw in stream:
                event = Event.read(raw)
                if place is not None:
                    place.passed(event)
                said = _message(event.data) if event.name in ("", _MESSAGE) and event.data else None
                if is_answer(said):
                    return said
                if is_asked(said):
                    self._hear(said, headers)
        return None

    def _hear(self, said: Any, headers: Headers) -> None:
        if said.get("id") is None:
            if said["method"] in CHANGES:
                self._changed(CHANGES[said["method"]])
        elif len(self._replies) < MOST_REPLIES:
            self._replies.append((unheard(said), {name: headers[name] for name in headers if name in _OF_ALL}))
            if self._replying is None or self._replying.done():
                # In no call's own context: what hooks add to a call is not for what is said beside it.
                self._replying = asyncio.create_task(self._reply(), name=WORD, context=Context())

    async def _reply(self) -> None:
        """Answer what the server asks, one after the other, however long the call takes."""
        while self._replies:
            message, headers = self._replies.popleft()
            try:
                async with asyncio.timeout(REPLY_SECONDS):
                    await self._told(message, headers)
            except TimeoutError:
                logger.debug("routeiq: an MCP server did not take the answer to what it asked")

    def _cancel(self, call_id: int, headers: Headers) -> None:
        task = asyncio.create_task(self._told(cancelled(call_id), headers), name=WORD)
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)

    async def _told(self, message: Json, headers: Headers) -> None:
        async with self._sent(message, headers):
            pass

    def _sent(self, message: Json, headers: Headers) -> AbstractAsyncContextManager[Any]:
        described = {"accept": ACCEPT, "content-type": "application/json", **headers}
        sent: AbstractAsyncContextManager[Any] = self._client.stream(
            "POST", self._url, content=_written(message), headers=described
        )
        return sent


def _require_credential(response: Any) -> None:
    if response.status_code in _REFUSED:
        raise BackendRefused("the backend does not accept the gateway's credential", response.status_code)


def _written(message: Json) -> bytes:
    """Render; a hook may have left what JSON does not know."""
    return to_json(message, inf_nan_mode="null")


def _message(data: bytes) -> Json | None:
    """Read as the SDK does: with half a character, or too deep, it is no message."""
    try:
        said = from_json(data)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _result(answer: Json) -> Json:
    error, result = answer.get("error"), answer.get("result")
    if error is None and isinstance(result, dict):
        return {"resultType": "complete", **result}
    if not is_error(error):
        raise BackendError("the backend's answer is not what the protocol says it must be")
    raise MCPError(error["code"], error["message"], error.get("data"))

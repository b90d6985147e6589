"""Messages to one server and from it, one by one: what is below them, HTTP and events, is the carrier's."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from routeiq_plugin.errors import BackendError, BackendRefused, BackendResponseTooLarge, BackendTimeout, RouteIQError
from routeiq_plugin.mcp.credentials import Credential
from routeiq_plugin.mcp.http.carrier import SESSION, Carrier, is_repeatable
from routeiq_plugin.mcp.http.events import Event, events
from routeiq_plugin.mcp.http.messages import Malformed, cancelled, is_answer, read
from routeiq_plugin.mcp.http.places import Place
from routeiq_plugin.mcp.http.silence import UNBOUNDED, silent
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.outbound import backend_error

logger = logging.getLogger(__name__)

ACCEPT: Final = "application/json, text/event-stream"
EVENTS: Final = "text/event-stream"
VERSION: Final = "mcp-protocol-version"
LAST_EVENT: Final = "last-event-id"

_REFUSED: Final = 400

Json = dict[str, Any]
Headers = Mapping[str, str]
T = TypeVar("T")


class SessionLost(BackendError):
    """The server does not know the session (any more), and so has done nothing."""

    def __init__(self) -> None:
        super().__init__("the MCP server has forgotten the session")


@dataclass(frozen=True, slots=True)
class Reply:
    """How a server answered one request: its status and headers, and the message where it is a single one."""

    status: int
    headers: Headers
    message: Any


class Wire:
    """One server, and what we show it of ourselves."""

    def __init__(self, carrier: Carrier, server: Server, credential: Credential, seconds: float) -> None:
        """`seconds` is the longest silence of the server in the course of a request."""
        self.server = server
        self._carrier = carrier
        self._credential = credential
        self._seconds = seconds

    async def once(self, message: Json, headers: Headers) -> Reply:
        """Send, and read what comes up to its answer; raises `SessionLost`, `BackendError`."""
        answered = asyncio.Event()
        async with self._sent(message, headers, answered) as response:
            _require_session(response, headers)
            found = None
            async with aclosing(_messages(response, _Patience(self._seconds), Place())) as messages:
                async for said in messages:
                    if is_answer(said):
                        found = said
                        answered.set()
                        break
            return Reply(response.status_code, response.headers, found)

    async def tell(self, message: Json, headers: Headers) -> None:
        """Send what has no answer; raises `SessionLost`, `BackendError`."""
        answered = asyncio.Event()
        answered.set()  # with the status
        async with self._sent(message, headers, answered) as response:
            _require_session(response, headers)

    async def ask(self, message: Json, headers: Headers) -> AsyncGenerator[Json, None]:
        """Send, and yield each message as it comes; the last is the answer.

        Raises:
            SessionLost: the server has forgotten the session that `headers` name.
            BackendError: the server, or the way to it, failed.
        """
        place, asked_id = Place(), message["id"]
        patience, answered = _Patience(None if message["method"] in UNBOUNDED else self._seconds), asyncio.Event()
        async with self._sent(message, headers, answered) as response:
            _require_session(response, headers)
            async with aclosing(_messages(response, patience, place, asked_id)) as messages:
                async for said in messages:
                    patience.heard(said)
                    if _answers(said, asked_id):
                        answered.set()
                        yield said
                        return
                    yield said
            if response.status_code >= _REFUSED:
                raise BackendError(f"the MCP server answered with HTTP status {response.status_code}")
        if SESSION in headers:
            async with aclosing(self._resumed(headers, place, patience)) as rest:
                async for said in rest:
                    yield said
                    if _answers(said, asked_id):
                        return
        raise BackendError("the MCP server ended the stream without a result")

    @asynccontextmanager
    async def listening(self, headers: Headers) -> AsyncIterator[AsyncIterator[Json] | None]:
        """Listen to what a server says by itself: nothing is missed that it says from then on.

        None where it says nothing by itself. Raises `SessionLost`, and `BackendError` where it cannot be reached.
        """
        async with self._got(headers, None) as response:
            _require_session(response, headers)
            if response.status_code >= _REFUSED or not is_stream(response):
                yield None
                return
            async with aclosing(_spoken(response)) as messages:
                yield messages

    async def cancel(self, request_id: Any, headers: Headers) -> None:
        """Tell a server with sessions that nobody waits for an answer any more: that a client is gone says nothing."""
        try:
            await self.tell(cancelled(request_id), headers)
        except RouteIQError as failure:
            logger.debug("routeiq: an MCP server could not be told to stop (%s)", failure)

    async def end(self, headers: Headers) -> None:
        """Say that a session is over; what the server makes of that changes nothing."""
        try:
            response = await self._carrier.send(
                "DELETE", self.server, self._credential, headers, None, seconds=self._seconds
            )
            await response.aclose()
        except RouteIQError as failure:
            logger.debug("routeiq: an MCP server did not hear that its session ends (%s)", failure)

    async def _resumed(self, headers: Headers, place: Place, patience: _Patience) -> AsyncGenerator[Json, None]:
        while (last_event := await patience.until(place.again())) is not None:
            try:
                async with self._got({**headers, LAST_EVENT: last_event}, patience.limit) as response:
                    if response.status_code >= _REFUSED or not is_stream(response):
                        continue
                    place.resumed()
                    async with aclosing(_messages(response, patience, place)) as messages:
                        async for said in messages:
                            patience.heard(said)
                            yield said
            except (BackendTimeout, BackendRefused, BackendResponseTooLarge, Malformed):
                raise
            except BackendError as failure:
                logger.debug("routeiq: an MCP server's stream could not be taken up again (%s)", failure)

    @asynccontextmanager
    async def _sent(self, message: Json, headers: Headers, answered: asyncio.Event) -> AsyncIterator[Any]:
        body = json.dumps(message, separators=(",", ":")).encode()
        sent = {"accept": ACCEPT, **headers}
        seconds = None if message.get("method") in UNBOUNDED else self._seconds
        response = await self._carrier.send(
            "POST",
            self.server,
            self._credential,
            sent,
            body,
            seconds=seconds,
            answered=answered,
            is_repeatable=is_repeatable(message),
        )
        try:
            yield response
        finally:
            await response.aclose()

    @asynccontextmanager
    async def _got(self, headers: Headers, seconds: float | None) -> AsyncIterator[Any]:
        sent = {"accept": EVENTS, **headers}
        response = await self._carrier.send(
            "GET", self.server, self._credential, sent, None, seconds=seconds, is_repeatable=True
        )
        try:
            yield response
        finally:
            await response.aclose()


@dataclass(slots=True)
class _Patience:
    """How long the next piece may take; without end while the client thinks about what the server asked."""

    seconds: float | None
    is_asked: bool = False

    def heard(self, message: Json) -> None:
        self.is_asked = "method" in message and "id" in message

    @property
    def limit(self) -> float | None:
        return None if self.is_asked else self.seconds

    async def until(self, something: Awaitable[T]) -> T:
        """Wait for something; raises `BackendTimeout`."""
        try:
            async with asyncio.timeout(self.limit):
                return await something
        except TimeoutError:
            raise silent(self.seconds) from None

    async def over(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the pieces as they come; raises `BackendTimeout`."""
        while (piece := await self.until(anext(pieces, None))) is not None:
            yield piece


async def _spoken(response: Any) -> AsyncGenerator[Json, None]:
    async with aclosing(_messages(response, _Patience(None), Place())) as messages:
        async for said in messages:
            yield said


def _answers(message: Json, asked_id: Any) -> bool:
    return is_answer(message) and message.get("id") == asked_id


async def _messages(
    response: Any, patience: _Patience, place: Place, asked_id: Any = None
) -> AsyncGenerator[Json, None]:
    """Yield the messages of a body, and note how far it was read.

    A body that is one answer answers what was asked, whatever id it has: servers that refuse a request early give none.
    """
    pieces = patience.over(_pieces(response))
    if not is_stream(response):
        body = b"".join([piece async for piece in pieces])
        try:
            message = read(body) if body else None
        except ValueError:
            if response.status_code >= _REFUSED:
                return  # a page for people: the status says what there is to know
            raise Malformed from None
        if message is not None and is_answer(message):
            yield message if asked_id is None else {**message, "id": asked_id}
        return
    async for raw in events(pieces):
        event = Event.read(raw)
        place.passed(event)
        with suppress(ValueError):  # what is no JSON is no message: some send such events to keep connections open
            if event.data and (message := read(event.data)) is not None:
                yield message


async def _pieces(response: Any) -> AsyncGenerator[bytes, None]:
    try:
        async for piece in response.aiter_bytes():
            yield piece
    except RouteIQError:
        raise
    except Exception as broken:
        raise backend_error(broken) from broken


def is_stream(response: Any) -> bool:
    """Tell whether a response is a stream of events."""
    kind: str = response.headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower() == EVENTS


def _require_session(response: Any, headers: Headers) -> None:
    if response.status_code == 404 and SESSION in headers:
        raise SessionLost

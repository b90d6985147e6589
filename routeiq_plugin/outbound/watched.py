"""A transport that tells somebody how each exchange with a backend went."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, Protocol

import httpx

from routeiq_plugin.errors import BackendTimeout

_EVENTS: Final = "text/event-stream"


class Exchange(Protocol):
    """Hears of one exchange: perhaps `answered`, then exactly one of the others."""

    def answered(self) -> None:
        """The backend's answer has begun, with a status below 500."""
        ...

    def succeeded(self) -> None:
        """The answer is complete, or the reader had enough of it."""
        ...

    def failed(self) -> None:
        """The backend was unreachable, broke off, was silent for too long or said 5xx."""
        ...

    def abandoned(self) -> None:
        """No verdict: the caller left early, or something of ours was in the way."""
        ...


class Watch(Protocol):
    """Is asked before each request, and may raise to keep it from being sent."""

    def begin(self) -> Exchange:
        """Begin an exchange."""
        ...


class WatchedTransport(httpx.AsyncBaseTransport):
    """Sends through another transport, which it does not close."""

    def __init__(self, inner: httpx.AsyncBaseTransport, watch: Watch) -> None:
        self._inner = inner
        self._watch = watch

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send and watch; raises what the other transport raises, and what the watch does."""
        exchange = self._watch.begin()
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException as failure:
            _tell(exchange, failure)
            raise
        if response.status_code >= 500:
            exchange.failed()
            return response
        assert isinstance(response.stream, httpx.AsyncByteStream)
        is_events = response.headers.get("content-type", "").lower().startswith(_EVENTS)
        response.stream = _WatchedStream(response.stream, exchange, is_events=is_events)
        return response


class _WatchedStream(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, exchange: Exchange, *, is_events: bool) -> None:
        self._stream = stream
        self._exchange: Exchange | None = exchange
        self._is_events = is_events
        self._has_begun = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                if not self._has_begun and self._exchange is not None:
                    self._has_begun = True
                    self._exchange.answered()
                yield chunk
        except Exception as failure:
            exchange = self._ended()
            # Events may be far apart: silence in the midst of them is no failure.
            if exchange is not None and not (self._is_events and self._has_begun and _is_silence(failure)):
                _tell(exchange, failure)
            elif exchange is not None:
                exchange.succeeded()
            raise
        exchange = self._ended()
        if exchange is not None:
            exchange.succeeded()

    async def aclose(self) -> None:
        exchange = self._ended()
        if exchange is not None:
            # Closed before its end by the reader: a caller who left, or a client that has read what it needs.
            exchange.succeeded() if self._has_begun else exchange.abandoned()
        await self._stream.aclose()

    def _ended(self) -> Exchange | None:
        exchange, self._exchange = self._exchange, None
        return exchange


def _tell(exchange: Exchange, failure: BaseException) -> None:
    if _is_the_backends(failure):
        exchange.failed()
    else:
        exchange.abandoned()


def _is_the_backends(failure: BaseException) -> bool:
    """Tell a failure of the backend or its network from ours: our pool, our request, a refused address, a shutdown."""
    if isinstance(failure, httpx.PoolTimeout | httpx.LocalProtocolError | httpx.UnsupportedProtocol):
        return False
    return isinstance(failure, httpx.TransportError) or _is_silence(failure)


def _is_silence(failure: BaseException) -> bool:
    return isinstance(failure, httpx.TimeoutException | BackendTimeout | TimeoutError)

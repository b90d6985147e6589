"""The guarded transport of httpx2, which the MCP SDK uses: `transports` again, word for word, for the other stack.

Imported only when a client of httpx2 is first asked for. A test compares the two modules; change both.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable
from typing import Any, Final, Protocol, cast

import httpcore2
import httpx2

from routeiq_plugin.errors import BackendTimeout, Unavailable
from routeiq_plugin.outbound.backend import IDLE_SECONDS, MAX_CONNECTIONS, MAX_IDLE, Failures, Gathering, connect
from routeiq_plugin.outbound.bodies import Body, Limits, request_headers
from routeiq_plugin.outbound.guard import Guard
from routeiq_plugin.outbound.tls import TlsSource

_ERRORS: Final[dict[type[Exception], type[httpx2.TransportError]]] = {
    httpcore2.ConnectTimeout: httpx2.ConnectTimeout,
    httpcore2.ReadTimeout: httpx2.ReadTimeout,
    httpcore2.WriteTimeout: httpx2.WriteTimeout,
    httpcore2.PoolTimeout: httpx2.PoolTimeout,
    httpcore2.TimeoutException: httpx2.TimeoutException,
    httpcore2.ConnectError: httpx2.ConnectError,
    httpcore2.ReadError: httpx2.ReadError,
    httpcore2.WriteError: httpx2.WriteError,
    httpcore2.NetworkError: httpx2.NetworkError,
    httpcore2.UnsupportedProtocol: httpx2.UnsupportedProtocol,
    httpcore2.LocalProtocolError: httpx2.LocalProtocolError,
    httpcore2.RemoteProtocolError: httpx2.RemoteProtocolError,
    httpcore2.ProtocolError: httpx2.ProtocolError,
}
"""The narrow ones first."""
_RAISED: Final = tuple(_ERRORS)


class _CoreStream(Protocol):
    def __aiter__(self) -> AsyncIterator[bytes]: ...
    async def aclose(self) -> None: ...


class PinnedBackend(httpcore2.AsyncNetworkBackend):
    """Connects sockets to vetted addresses only, and never to a unix socket."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._inner = httpcore2.AnyIOBackend()
        self._failures = Failures(httpcore2.ConnectError, httpcore2.ConnectTimeout)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 (httpcore2's signature)
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Resolve, vet, connect; raises `AddressRefused`, `httpcore2.ConnectError` or `httpcore2.ConnectTimeout`."""

        def dial(address: str) -> Awaitable[httpcore2.AsyncNetworkStream]:
            return self._inner.connect_tcp(address, port, None, local_address, socket_options)

        stream = await connect(self._guard, host, port, dial, self._failures, seconds=timeout)
        return cast("httpcore2.AsyncNetworkStream", Gathering(stream, httpcore2.WriteError))

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Refuse."""
        raise httpcore2.ConnectError("unix sockets are never called")

    async def sleep(self, seconds: float) -> None:
        """Wait between the pool's own retries."""
        await self._inner.sleep(seconds)


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends requests through one guarded pool that outlives the clients it is lent to.

    `aclose`, which a client calls when it is closed, leaves the pool alone; `close_pool` ends it. The pool, and with it
    the certificate authorities, is made when the first request is sent.
    """

    def __init__(self, guard: Guard, limits: Limits, tls: TlsSource) -> None:
        self._backend = PinnedBackend(guard)
        self._limits = limits
        self._tls = tls
        self._pool: httpcore2.AsyncConnectionPool | None = None
        self._closed = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send, and answer with a body that is bounded as it is read; raises httpx2's errors and ours."""
        pool = await self._opened()
        try:
            async with asyncio.timeout(self._limits.exchange_seconds):
                answer = await pool.handle_async_request(_core_request(request))
        except TimeoutError:
            raise BackendTimeout("the backend did not begin its answer in time") from None
        except _RAISED as error:
            raise _translated(error) from error
        body = Body(answer.headers, self._limits)
        return httpx2.Response(
            answer.status,
            headers=list(body.headers),
            stream=_Stream(cast("_CoreStream", answer.stream), body),
            extensions=dict(answer.extensions),
        )

    async def close_pool(self) -> None:
        """Close every connection; a request after this raises `Unavailable`."""
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()

    async def _opened(self) -> httpcore2.AsyncConnectionPool:
        if self._pool is not None:
            return self._pool
        context = await self._tls()
        if self._closed:
            raise Unavailable("the gateway is shutting down")
        if self._pool is None:
            self._pool = httpcore2.AsyncConnectionPool(
                ssl_context=context,
                max_connections=MAX_CONNECTIONS,
                max_keepalive_connections=MAX_IDLE,
                keepalive_expiry=IDLE_SECONDS,
                network_backend=self._backend,
            )
        return self._pool


class Client(httpx2.AsyncClient):
    """Follows no redirect, not even for an SDK that asks: headers of an agent are for that agent's address alone."""

    async def send(
        self,
        request: httpx2.Request,
        *,
        stream: bool = False,
        auth: Any = httpx2.USE_CLIENT_DEFAULT,
        follow_redirects: Any = False,
    ) -> httpx2.Response:
        """Send as httpx2 does, with `follow_redirects` ignored."""
        return await super().send(request, stream=stream, auth=auth, follow_redirects=False)


class _Stream(httpx2.AsyncByteStream):
    def __init__(self, stream: _CoreStream, body: Body) -> None:
        self._stream = stream
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                for piece in self._body.feed(chunk):
                    yield piece
        except _RAISED as error:
            raise _translated(error) from error
        for piece in self._body.finish():
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


def _core_request(request: httpx2.Request) -> httpcore2.Request:
    url = httpcore2.URL(
        scheme=request.url.raw_scheme, host=request.url.raw_host, port=request.url.port, target=request.url.raw_path
    )
    return httpcore2.Request(
        method=request.method,
        url=url,
        headers=list(request_headers(request.headers.raw)),
        content=cast("AsyncIterable[bytes]", request.stream),
        extensions=request.extensions,
    )


def _translated(error: Exception) -> httpx2.TransportError:
    for core, ours in _ERRORS.items():
        if isinstance(error, core):
            return ours(str(error))
    raise AssertionError(f"{type(error).__name__} is not in the table")

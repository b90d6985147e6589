"""One connection as both HTTP stacks read and write it: asyncio's own stream.

The stacks' own AnyIO streams give way to the event loop twice for each write, which is a tenth of what a call costs.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

SocketOption = tuple[Any, ...]
"""Arguments of `socket.setsockopt`."""


@dataclass(frozen=True, slots=True)
class StreamErrors:
    """How a stack calls what goes wrong on a connection."""

    unreachable: type[Exception]
    connect_timed_out: type[Exception]
    unread: type[Exception]
    read_timed_out: type[Exception]
    unwritten: type[Exception]
    write_timed_out: type[Exception]


class Stream:
    """An open connection; `httpcore.AsyncNetworkStream` in all but name."""

    def __init__(self, reader: _Reader, writer: asyncio.StreamWriter, errors: StreamErrors) -> None:
        self._reader = reader
        self._writer = writer
        self._errors = errors

    @classmethod
    async def open(
        cls,
        address: str,
        port: int,
        errors: StreamErrors,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> Self:
        """Connect; raises `errors.unreachable`."""
        loop = asyncio.get_running_loop()
        reader = _Reader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        local = (local_address, 0) if local_address else None
        with _as(errors.unreachable, errors.connect_timed_out):
            transport, _ = await loop.create_connection(lambda: protocol, address, port, local_addr=local)
        for option in socket_options or ():
            transport.get_extra_info("socket").setsockopt(*option)
        return cls(reader, asyncio.StreamWriter(transport, protocol, reader, loop), errors)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 (httpcore's signature)
        """Return what has come, at most so much; empty at the end."""
        with _as(self._errors.unread, self._errors.read_timed_out):
            async with asyncio.timeout(timeout):
                return await self._reader.take(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Hand the bytes to the system; returns when it has room for more."""
        if not buffer:
            return
        with _as(self._errors.unwritten, self._errors.write_timed_out):
            async with asyncio.timeout(timeout):
                self._writer.write(buffer)
                await self._writer.drain()

    async def aclose(self) -> None:
        """Close at once: what a peer that does not read was still to be sent is dropped."""
        self._writer.close()
        await asyncio.sleep(0)
        self._writer.transport.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Self:
        """Go on in TLS."""
        try:
            with _as(self._errors.unreachable, self._errors.connect_timed_out):
                async with asyncio.timeout(timeout):
                    await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        except BaseException:
            self._writer.transport.abort()
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        """Answer what the pools ask: whether an idle connection has ended, and facts for extensions."""
        if info == "is_readable":
            return self._reader.has_news or self._writer.is_closing()
        known = {"client_addr": "sockname", "server_addr": "peername", "ssl_object": "ssl_object", "socket": "socket"}
        return self._writer.get_extra_info(known[info]) if info in known else None


class _Reader(asyncio.StreamReader):
    """Knows whether anything came that nobody has read: on an idle connection that is its end."""

    _untaken = 0
    _has_ended = False

    @property
    def has_news(self) -> bool:
        """Tell whether bytes wait, or the end."""
        return self._has_ended or self._untaken > 0 or self.exception() is not None

    def feed_data(self, data: Any) -> None:
        self._untaken += len(data)
        super().feed_data(data)

    def feed_eof(self) -> None:
        self._has_ended = True
        super().feed_eof()

    async def take(self, most: int) -> bytes:
        """Read and count."""
        taken = await self.read(most)
        self._untaken -= len(taken)
        return taken


@contextmanager
def _as(failed: type[Exception], timed_out: type[Exception]) -> Iterator[None]:
    """Raise what the system raises under the stack's name."""
    try:
        yield
    except TimeoutError as error:
        raise timed_out(str(error)) from error
    except OSError as error:  # TLS errors too
        raise failed(str(error)) from error

"""Connections as the HTTP stacks see them: their errors, their ends, and none that a dead peer keeps open."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from routeiq_plugin.outbound.streams import Stream, StreamErrors


class Unreachable(Exception): ...


class ConnectTimedOut(Exception): ...


class Unread(Exception): ...


class ReadTimedOut(Exception): ...


class Unwritten(Exception): ...


class WriteTimedOut(Exception): ...


ERRORS = StreamErrors(Unreachable, ConnectTimedOut, Unread, ReadTimedOut, Unwritten, WriteTimedOut)
Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def connected(peer: Peer) -> AsyncIterator[Stream]:
    """Connect to a server that treats its one client like this."""
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await peer(reader, writer)
        except ConnectionError:
            pass  # the client left
        finally:
            writer.transport.abort()
            gone.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        stream = await Stream.open("127.0.0.1", port, ERRORS)
        try:
            yield stream
        finally:
            await stream.aclose()
            await gone.wait()
            await asyncio.sleep(0)  # the transports close their sockets


async def readable(stream: Stream) -> None:
    """Return when a pool would take an idle connection for ended."""
    async with asyncio.timeout(10):
        while not stream.get_extra_info("is_readable"):  # noqa: ASYNC110  pools ask too, nothing tells them
            await asyncio.sleep(0)


async def test_an_idle_connection_is_good_until_the_peer_ends_it() -> None:
    end = asyncio.Event()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(4))
        await end.wait()
        writer.close()

    async with connected(peer) as stream:
        await stream.write(b"ping")
        answer = b""
        while len(answer) < 4:
            answer += await stream.read(3, timeout=10)
        assert answer == b"ping"
        assert not stream.get_extra_info("is_readable")
        end.set()
        await readable(stream)
        assert await stream.read(4) == b""


async def test_bytes_that_nobody_asked_for_end_an_idle_connection() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        await reader.read()

    async with connected(peer) as stream:
        await readable(stream)


async def test_each_failure_has_the_name_that_the_stack_gives_it() -> None:
    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with connected(silent) as stream:
        with pytest.raises(ReadTimedOut):
            await stream.read(1, timeout=0.01)
    with pytest.raises(Unwritten):
        await stream.write(b"too late")

    async def rude(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an end
        writer.transport.abort()

    async with connected(rude) as stream:
        await readable(stream)
        with pytest.raises(Unread):
            await stream.read(1)
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(Unreachable):
        await Stream.open("127.0.0.1", port, ERRORS)


async def test_a_peer_that_does_not_read_keeps_nothing_open() -> None:
    leave = asyncio.Event()

    async def deaf(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await leave.wait()

    async with connected(deaf) as stream:
        with pytest.raises(WriteTimedOut):
            await stream.write(b"x" * 64 * 1024 * 1024, timeout=0.05)
        async with asyncio.timeout(10):
            await stream.aclose()
        leave.set()

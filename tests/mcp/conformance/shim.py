"""A loopback relay that adds a bearer key to each request, because the conformance runner cannot send a header.

Bytes pass as they come in both directions; `Host` and `Origin` stay what the runner wrote, which one scenario is about.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

_HEAD_ENDS: Final = b"\r\n\r\n"
_LONGEST_HEAD: Final = 64 * 1024
_PIECE: Final = 64 * 1024
_CLOSE_SECONDS: Final = 5.0


@contextmanager
def shim(port: int, key: str) -> Iterator[int]:
    """Relay to a loopback port until the end of the block; gives the port to use instead."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await _exchange(reader, writer, port, key)
        finally:
            await _close(writer)

    async def begin() -> asyncio.Server:
        return await asyncio.start_server(serve, "127.0.0.1", 0, limit=_LONGEST_HEAD)

    async def end() -> None:
        server.close()
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    server = asyncio.run_coroutine_threadsafe(begin(), loop).result()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, key: str) -> None:
    """Carry one request and its answer; whoever hangs up ends both ways."""
    head = await reader.readuntil(_HEAD_ENDS)
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        far_writer.write(_with_key(head, key))
        ways = [
            asyncio.ensure_future(_carry(reader, far_writer)),
            asyncio.ensure_future(_carry(far_reader, writer)),
        ]
        _, pending = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in pending:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
    finally:
        await _close(far_writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close a connection, wholly: what is left open when the loop is closed fails a later test."""
    writer.close()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await writer.wait_closed()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        await writer.drain()


def _with_key(head: bytes, key: str) -> bytes:
    """Add the key, and let the connection end with this request, so that there is no second head to look for."""
    request, *headers = head.removesuffix(_HEAD_ENDS).split(b"\r\n")
    kept = [each for each in headers if each.partition(b":")[0].strip().lower() != b"connection"]
    added = [b"Authorization: Bearer " + key.encode(), b"Connection: close"]
    return b"\r\n".join([request, *kept, *added]) + _HEAD_ENDS

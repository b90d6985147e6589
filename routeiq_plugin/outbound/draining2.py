"""A transport of httpx2 that keeps the connection of an answer which was read, where its stream has not ended yet.

A connection that is closed before the end of a response cannot be used again, and every call would need one of its own.
Imported, like `transports2`, only when a client of httpx2 is first asked for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx2

from routeiq_plugin.outbound.clients import ANSWERED

logger = logging.getLogger(__name__)

END: Final = "routeiq end of events"
"""Name of the tasks that wait for the end of an answered stream."""
END_SECONDS: Final = 0.5
"""How long a server may take from its answer to the end of the stream that brought it."""


class Ends:
    """Waits for the ends of streams; one per client."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Task[None]] = set()

    def wait_for(self, stream: Any, chunks: AsyncIterator[bytes]) -> None:
        """Read on for a moment in the background, then close."""
        task = asyncio.get_running_loop().create_task(_ended(stream, chunks), name=END)
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def aclose(self) -> None:
        """Wait no longer."""
        waiting = list(self._waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


class DrainingTransport(httpx2.AsyncBaseTransport):
    """Sends through another transport, which it does not close."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner
        self._ends = Ends()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send; raises what the other transport raises."""
        response = await self._inner.handle_async_request(request)
        answered = request.extensions.get(ANSWERED)
        if answered is not None:
            response.stream = _Drained(response.stream, answered, self._ends)
        return response

    async def aclose(self) -> None:
        """Wait for the end of no stream any longer."""
        await self._ends.aclose()


class _Drained(httpx2.AsyncByteStream):
    """Is read to its end when it is closed after the answer; closed before, it is a request that is cancelled."""

    def __init__(self, stream: Any, answered: asyncio.Event, ends: Ends) -> None:
        self._stream = stream
        self._chunks: AsyncIterator[bytes] = aiter(stream)
        self._answered = answered
        self._ends = ends

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            yield chunk
        self._answered.clear()  # nothing is left to be read

    async def aclose(self) -> None:
        if not self._answered.is_set():
            await self._stream.aclose()
            return
        self._answered.clear()
        self._ends.wait_for(self._stream, self._chunks)


async def _ended(stream: Any, chunks: AsyncIterator[bytes]) -> None:
    try:
        async with asyncio.timeout(END_SECONDS):
            async for _ in chunks:
                pass
    except Exception as failure:  # noqa: BLE001  the call has its answer; only its connection is lost
        logger.debug("routeiq: an answered stream did not end (%s)", type(failure).__name__)
    finally:
        await stream.aclose()

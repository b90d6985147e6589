"""An answer that is passed on as it comes, as long as someone is there to hear it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

logger = logging.getLogger(__name__)


class Relayed(Response):
    """Streams `pieces`, each at once; a client that leaves ends them. `aclose` is called at the end of all, once.

    It is not the pieces' own work: a client that has what it waits for leaves, and would cut that short.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        status: int,
        headers: Mapping[str, str],
        aclose: Callable[[], Awaitable[None]],
    ) -> None:
        self.status_code = status
        self.body = b""
        self.background = None
        self.init_headers(dict(headers))
        if "content-length" in self.headers:
            del self.headers["content-length"]
        self._pieces = pieces
        self._aclose = aclose

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            failed, _ = await asyncio.gather(sending, leaving, return_exceptions=True)
            try:
                await self._pieces.aclose()
            finally:
                await self._aclose()
        if isinstance(failed, Exception):
            raise failed

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

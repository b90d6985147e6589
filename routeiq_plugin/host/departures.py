"""Clients that leave before they are answered: the work for them is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

CLIENT_LEFT: Final = 499
"""What proxies log for a client that did not wait (nginx's number); nobody receives it."""


async def unless_client_leaves(request: Request, answer: Awaitable[Response]) -> Response:
    """Wait for an answer only as long as someone waits for us; streams watch for themselves once they run."""
    await request.body()
    work = asyncio.ensure_future(answer)
    left = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((work, left), return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else Response(status_code=CLIENT_LEFT)
    finally:
        left.cancel()
        if not work.done():
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    try:
        while (await request.receive())["type"] != "http.disconnect":
            pass
    except ClientDisconnect:
        return

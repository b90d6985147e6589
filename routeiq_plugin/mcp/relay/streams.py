"""Streams of messages that something else may end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeVar

from routeiq_plugin.errors import BackendError

T = TypeVar("T")


class Cancelled(BackendError):
    """The client has cancelled the request, and waits for no answer."""

    def __init__(self) -> None:
        super().__init__("the client has cancelled the request")


async def until(ended: asyncio.Future[Any], stream: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Yield what a stream brings until it is over, or `ended` is done; then the stream is closed."""
    async with aclosing(stream):
        while not ended.done():
            following: asyncio.Future[T | None] = asyncio.ensure_future(anext(stream, None))
            try:
                await asyncio.wait({following, ended}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not following.done():
                    following.cancel()
                    await asyncio.gather(following, return_exceptions=True)
            if following.cancelled():
                return
            item = following.result()
            if item is None:
                return
            yield item


async def unless_cancelled(cancelled: asyncio.Future[Any], stream: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Yield what a stream brings; raises `Cancelled` when `cancelled` is done before that is over."""
    async with aclosing(until(cancelled, stream)) as said:
        async for each in said:
            yield each
    if cancelled.done() and not cancelled.cancelled():
        raise Cancelled

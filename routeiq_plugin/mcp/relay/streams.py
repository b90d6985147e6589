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


async def merged(stream: AsyncGenerator[T, None], others: asyncio.Queue[T | None]) -> AsyncGenerator[T, None]:
    """Yield what a stream brings, and what comes into a queue meanwhile, until the stream is over."""
    following: asyncio.Future[T | None] = asyncio.ensure_future(anext(stream, None))
    other = asyncio.ensure_future(others.get())
    try:
        while True:
            waits: set[asyncio.Future[Any]] = {following, other}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if other.done():
                beside, other = other.result(), asyncio.ensure_future(others.get())
                if beside is not None:
                    yield beside
                continue
            item = following.result()
            if item is None:
                return
            following = asyncio.ensure_future(anext(stream, None))
            yield item
    finally:
        for each in (following, other):
            each.cancel()
        await asyncio.gather(following, other, return_exceptions=True)
        await stream.aclose()

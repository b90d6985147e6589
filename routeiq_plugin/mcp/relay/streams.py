"""Streams of messages that something else may end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeVar

T = TypeVar("T")


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

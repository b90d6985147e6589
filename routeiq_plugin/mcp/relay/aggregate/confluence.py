"""Many streams of messages as one, to which others are added, and from which they are taken, as it runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final

from routeiq_plugin.errors import RouteIQError

MOST_WAITING: Final = 100
"""Messages that a slow client has not taken; then the streams wait."""

logger = logging.getLogger(__name__)

Json = dict[str, Any]
Source = Callable[[], AsyncGenerator[Json, None]]


class Confluence:
    """Runs the sources that it is given, and ends with `close`."""

    def __init__(self) -> None:
        self._said: asyncio.Queue[Json | None] = asyncio.Queue(MOST_WAITING)
        self._running: dict[Any, asyncio.Task[None]] = {}

    def flow(self, sources: Mapping[Any, Source]) -> None:
        """Run these from now on, and no others; one that runs already goes on, known by its key."""
        for key in [each for each in self._running if each not in sources]:
            self._running.pop(key).cancel()
        for key, source in sources.items():
            if key not in self._running:
                self._running[key] = asyncio.get_running_loop().create_task(self._read(source))

    async def close(self) -> None:
        """Let it end when all that was said has been taken."""
        await self._said.put(None)

    async def messages(self) -> AsyncGenerator[Json, None]:
        """Yield what all of them say; whoever stops listening ends them."""
        try:
            while (said := await self._said.get()) is not None:
                yield said
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _read(self, source: Source) -> None:
        try:
            async with aclosing(source()) as said:
                async for each in said:
                    await self._said.put(each)
        except RouteIQError as ended:
            logger.debug("routeiq: a stream of an MCP server ended (%s)", ended)
        except Exception:
            logger.exception("routeiq: a stream of an MCP server cannot be listened to")

"""How far a stream of events was read, and whether to take it up again where its server ended it (SEP-1699)."""

from __future__ import annotations

import asyncio
from typing import Final

from routeiq_plugin.mcp.http.events import Event

RETRY_SECONDS: Final = 1.0
"""How long to wait where the server does not say."""
LEAST_SECONDS: Final = 0.1
"""How long to wait in any case."""
MOST_FAILURES: Final = 3
"""How often in a row it may fail to take a stream up again."""


class Place:
    """A place in one stream; how long it is read in all is for others to say.

    A stream that ends with nothing new is no failure: servers let clients ask from time to time whether there is.
    """

    def __init__(self) -> None:
        self._last_event: str | None = None
        self._retry_seconds = RETRY_SECONDS
        self._failures = 0

    def passed(self, event: Event) -> None:
        """Note an event that was read."""
        self._last_event = event.id or self._last_event
        self._retry_seconds = self._retry_seconds if event.retry_seconds is None else event.retry_seconds

    def resumed(self) -> None:
        """Note that the stream was taken up again."""
        self._failures = 0

    async def again(self) -> str | None:
        """Wait as the server wants, and return the event to go on after; None where there is none, or no use in it."""
        if self._last_event is None or self._failures >= MOST_FAILURES:
            return None
        await asyncio.sleep(max(LEAST_SECONDS, self._retry_seconds))
        self._failures += 1
        return self._last_event

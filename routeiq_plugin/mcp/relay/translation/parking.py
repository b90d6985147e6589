"""Requests that wait for an answer of a client which has hung up meanwhile, as it should (2026-07-28)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from routeiq_plugin.errors import Unavailable

PARKED_SECONDS: Final = 600.0
"""How long a server's question waits for its answer; then the request is cancelled."""
MOST_PARKED: Final = 1000
"""Of one worker."""


class Parking:
    """Reads on what requests bring; one per worker."""

    def __init__(self) -> None:
        self._parked: set[asyncio.Task[None]] = set()

    @property
    def count(self) -> int:
        """How many wait."""
        return len(self._parked)

    def park(self, reading: Coroutine[Any, Any, None]) -> None:
        """Read in the background; raises `Unavailable` when too many are waited for."""
        if len(self._parked) >= MOST_PARKED:
            reading.close()
            raise Unavailable("too many requests wait for answers of their clients", 60)
        task = asyncio.get_running_loop().create_task(_in_time(reading))
        self._parked.add(task)
        task.add_done_callback(self._parked.discard)

    async def aclose(self) -> None:
        """Cancel them all."""
        for task in list(self._parked):
            task.cancel()
        await asyncio.gather(*self._parked, return_exceptions=True)


async def _in_time(reading: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.timeout(PARKED_SECONDS):
            await reading
    except TimeoutError:
        pass

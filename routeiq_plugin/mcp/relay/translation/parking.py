"""Requests that wait for an answer of a client which has hung up meanwhile, as it should (2026-07-28)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

from routeiq_plugin.errors import Unavailable

PARKED_SECONDS: Final = 600.0
"""How long a server's question waits for its answer; then the request is cancelled."""
MOST_PARKED: Final = 1000
"""Of one worker."""
MOST_OF_ONE: Final = 100
"""Of one client."""

logger = logging.getLogger(__name__)


class Parking:
    """Reads on what requests bring; one per worker."""

    def __init__(self) -> None:
        self._parked: dict[asyncio.Task[None], str] = {}

    def park(self, owner: str, reading: Coroutine[Any, Any, None]) -> None:
        """Read in the background; raises `Unavailable` when too many are waited for."""
        owners = list(self._parked.values())
        if len(owners) >= MOST_PARKED or owners.count(owner) >= MOST_OF_ONE:
            reading.close()
            raise Unavailable("too many requests wait for answers of their clients", 60)
        task = asyncio.get_running_loop().create_task(_in_time(reading))
        self._parked[task] = owner
        task.add_done_callback(self._parked.pop)

    async def aclose(self) -> None:
        """Cancel them all."""
        parked = list(self._parked)
        for task in parked:
            task.cancel()
        await asyncio.gather(*parked, return_exceptions=True)


async def _in_time(reading: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.timeout(PARKED_SECONDS):
            await reading
    except TimeoutError:
        logger.debug("routeiq: a question of an MCP server was not answered in time")
    except Unavailable as away:
        logger.warning("routeiq: what an MCP server answered could not be kept for its client (%s)", away)

"""Work that shares the event loop: done in short steps, with requests served in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Final

SLICE_SECONDS: Final = 0.001
"""How long a series of steps may hold the event loop before the next one; the budget for all we do on it is 5 ms."""


async def breathe() -> None:
    """Let everything else that is ready run once."""
    await asyncio.sleep(0)


async def drive(steps: Iterable[None]) -> None:
    """Run steps, giving way to others first, and whenever a slice is used up."""
    await breathe()
    since = time.perf_counter()
    for _ in steps:
        if time.perf_counter() - since > SLICE_SECONDS:
            await breathe()
            since = time.perf_counter()

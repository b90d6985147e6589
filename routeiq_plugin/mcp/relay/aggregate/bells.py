"""Wakes those who watch, when something may have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Bell:
    """Is rung by whatever hears of a change; one per worker."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Event] = set()

    def ring(self) -> None:
        """Wake all who listen."""
        for each in self._listeners:
            each.set()

    @contextmanager
    def listening(self) -> Iterator[asyncio.Event]:
        """Yield an event that is set each time from now on."""
        rung = asyncio.Event()
        self._listeners.add(rung)
        try:
            yield rung
        finally:
            self._listeners.discard(rung)

"""Which generations of the protocol servers speak, as far as somebody has tried."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from routeiq_plugin.mcp.model import Server

TTL_SECONDS: Final = 300.0
"""How long that is believed: servers are upgraded while nobody tells."""
MOST: Final = 10_000


class Generation(StrEnum):
    """How client and server know each other."""

    SESSIONS = "sessions"
    """Up to 2025-11-25."""
    STATELESS = "stateless"
    """From 2026-07-28."""


_Key = tuple[str, str, str, Generation]


class Generations:
    """Remembers it; one per worker."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[_Key, tuple[bool, float]] = OrderedDict()

    def speaks(self, server: Server, generation: Generation) -> bool | None:
        """Tell whether a server speaks it; None where nobody knows."""
        speaks, at = self._known.get(_key(server, generation), (None, 0.0))
        return speaks if self._clock() - at <= TTL_SECONDS else None

    def learn(self, server: Server, generation: Generation, *, speaks: bool) -> None:
        """Remember it of a server as it is now."""
        key = _key(server, generation)
        self._known[key] = (speaks, self._clock())
        self._known.move_to_end(key)
        while len(self._known) > MOST:
            self._known.popitem(last=False)


def _key(server: Server, generation: Generation) -> _Key:
    return server.server_id, str(server.version), server.url or "", generation

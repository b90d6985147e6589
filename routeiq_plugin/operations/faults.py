"""What went wrong in the background: logged once, counted always, shown in `/router/info`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

logger = logging.getLogger(__name__)

KEPT: Final = 64
"""Different faults that are remembered; the one that is quiet for the longest goes first."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of failure in one place."""

    where: str
    kind: str
    message: str
    count: int
    first_at: datetime
    last_at: datetime


class Faults:
    """The failures of one worker."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._known: dict[tuple[str, str], Fault] = {}

    def record(self, where: str, error: BaseException) -> None:
        """Count a failure; the first of its kind in a place goes to the log with its traceback."""
        key = (where, type(error).__name__)
        now = self._clock()
        known = self._known.pop(key, None)
        if known is None:
            logger.error("routeiq: %s: %s", where, error, exc_info=error)
            known = Fault(where, type(error).__name__, str(error), 0, now, now)
        self._known[key] = replace(known, message=str(error), count=known.count + 1, last_at=now)
        while len(self._known) > KEPT:
            del self._known[next(iter(self._known))]

    def listed(self) -> Sequence[Fault]:
        """Return all, the most recent last."""
        return tuple(self._known.values())

    def counts(self) -> Mapping[str, int]:
        """Return how often each place failed: what may be shown to any key."""
        totals: dict[str, int] = {}
        for fault in self._known.values():
            totals[fault.where] = totals.get(fault.where, 0) + fault.count
        return totals

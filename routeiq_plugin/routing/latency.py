"""How long model groups take to begin an answer: a moving average per group, as one worker saw it."""

from __future__ import annotations

from typing import Final

WEIGHT: Final = 0.2
"""Of the newest observation; about the last ten count."""


class Latencies:
    """Seconds by model group."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def observe(self, model: str, seconds: float) -> None:
        """Take an observation in."""
        known = self._seconds.get(model)
        self._seconds[model] = seconds if known is None else known + WEIGHT * (seconds - known)

    def of(self, model: str) -> float | None:
        """Return the average, None for a group that has not answered yet."""
        return self._seconds.get(model)

"""Circuit breakers: which backends keep failing and are left alone for a while, as one worker has seen it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from routeiq_plugin.errors import Unavailable

logger = logging.getLogger(__name__)

MAX_BACKOFF_FACTOR: Final = 16
"""Ceiling of the doubling: a backend that is back is noticed within the cooldown times this."""


class State(StrEnum):
    """Circuit breaker state, as operators see it in `/router/info`."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    """One call or probe is out to see whether the backend is back."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What is known of one backend; a new value per observation, never edited in place."""

    state: State = State.CLOSED
    failures: int = 0
    """In a row."""
    trips: int = 0
    """How often it opened since the last call that succeeded."""
    retry_at: float = 0.0
    """Seconds on the breaker's clock; meaningful while open."""
    period: int = 0
    """Which stretch of one state this is: what began in an earlier one says nothing about now."""


HEALTHY: Final = Condition()

OnChange = Callable[[str, State], None]


class BackendUnavailable(Unavailable):
    """The breaker is open: HTTP 503 with `Retry-After`, JSON-RPC -32603."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("The agent keeps failing and is left alone for a moment; try again later", retry_after)


class Breaker:
    """Stops calling a backend that keeps failing, and finds out when it is back.

    Opens after `threshold` consecutive failures for `cooldown` seconds, doubled on each failed trial
    (Nygard, Release It!, 2nd ed., "Circuit Breaker"). One event loop's own: nothing is shared between workers.
    """

    def __init__(
        self, threshold: int, cooldown: float, clock: Callable[[], float], on_change: OnChange | None = None
    ) -> None:
        self._threshold = threshold
        self._cooldown = cooldown
        self._clock = clock
        self._on_change = on_change
        self._conditions: dict[str, Condition] = {}
        self._periods = itertools.count(1)

    @property
    def rule(self) -> tuple[int, float]:
        """Failures in a row, and seconds."""
        return self._threshold, self._cooldown

    def retune(self, threshold: int, cooldown: float) -> None:
        """Judge what happens from now on by another rule; what is open stays open as long as it was told."""
        self._threshold = threshold
        self._cooldown = cooldown

    def state(self, backend_id: str) -> State:
        """Tell the state of one backend."""
        return self._conditions.get(backend_id, HEALTHY).state

    def troubled(self) -> Mapping[str, Condition]:
        """Return every backend that is not closed."""
        return {name: each for name, each in self._conditions.items() if each.state is not State.CLOSED}

    def retry_in(self, backend_id: str) -> float:
        """Seconds until a backend is tried again, 0 when it may be."""
        return max(0.0, self._conditions.get(backend_id, HEALTHY).retry_at - self._clock())

    def check(self, backend_id: str) -> None:
        """Raise `BackendUnavailable` while no call may go out; takes nothing."""
        condition = self._conditions.get(backend_id, HEALTHY)
        if condition.state is State.CLOSED:
            return
        wait = condition.retry_at - self._clock()
        if wait > 0 or condition.state is State.HALF_OPEN:
            raise BackendUnavailable(wait if wait > 0 else self._cooldown)

    def admit(self, backend_id: str) -> Trial:
        """Begin a call or a probe; raises `BackendUnavailable`. While half open, only one is out."""
        self.check(backend_id)
        condition = self._conditions.get(backend_id, HEALTHY)
        if condition.state is State.OPEN:
            condition = self._enter(backend_id, replace(condition, state=State.HALF_OPEN))
        return Trial(self, backend_id, condition.period)

    def forget(self, backend_id: str) -> None:
        """Start anew with a backend that was changed or deleted."""
        condition = self._conditions.pop(backend_id, HEALTHY)
        if condition.state is not State.CLOSED:
            self._tell(backend_id, State.CLOSED)

    def due(self) -> Sequence[str]:
        """Return the open backends whose cooldown is over."""
        now = self._clock()
        return [name for name, each in self.troubled().items() if each.state is State.OPEN and each.retry_at <= now]

    def seconds_until_due(self) -> float | None:
        """Seconds until the next cooldown is over, None when nothing is open."""
        ends = [each.retry_at for each in self._conditions.values() if each.state is State.OPEN]
        return max(0.0, min(ends) - self._clock()) if ends else None

    def _observed(self, trial: Trial) -> Condition | None:
        """The condition that a trial is about, None if it has changed since the trial began."""
        condition = self._conditions.get(trial.backend_id, HEALTHY)
        return condition if condition.period == trial.period else None

    def _succeeded(self, trial: Trial) -> None:
        condition = self._observed(trial)
        if condition is None:
            return
        self._conditions.pop(trial.backend_id, None)
        if condition.state is not State.CLOSED:
            self._tell(trial.backend_id, State.CLOSED)

    def _answered(self, trial: Trial) -> None:
        """Close on probation: the next failure opens again, for longer."""
        condition = self._observed(trial)
        if condition is not None and condition.state is State.HALF_OPEN:
            probation = replace(condition, state=State.CLOSED, failures=self._threshold - 1)
            trial.period = self._enter(trial.backend_id, probation).period

    def _failed(self, trial: Trial) -> None:
        condition = self._observed(trial)
        if condition is None:
            return
        failures = condition.failures + 1
        if condition.state is State.CLOSED and failures < self._threshold:
            self._conditions[trial.backend_id] = replace(condition, failures=failures)
            return
        seconds = self._cooldown * min(2**condition.trips, MAX_BACKOFF_FACTOR)
        trips = min(condition.trips + 1, MAX_BACKOFF_FACTOR)
        self._enter(trial.backend_id, Condition(State.OPEN, failures, trips, self._clock() + seconds))
        logger.warning(
            "routeiq: agent %s: %d failures in a row, not called for %.1f s", trial.backend_id, failures, seconds
        )

    def _abandoned(self, trial: Trial) -> None:
        """Give the one place of a half-open backend back."""
        condition = self._observed(trial)
        if condition is not None and condition.state is State.HALF_OPEN:
            self._enter(trial.backend_id, replace(condition, state=State.OPEN, retry_at=self._clock()))

    def _enter(self, backend_id: str, condition: Condition) -> Condition:
        entered = replace(condition, period=next(self._periods))
        self._conditions[backend_id] = entered
        self._tell(backend_id, entered.state)
        return entered

    def _tell(self, backend_id: str, state: State) -> None:
        if self._on_change is not None:
            self._on_change(backend_id, state)


class Trial:
    """One exchange with a backend; ends in exactly one of `succeeded`, `failed` and `abandoned`."""

    __slots__ = ("_breaker", "backend_id", "period")

    def __init__(self, breaker: Breaker, backend_id: str, period: int) -> None:
        self._breaker = breaker
        self.backend_id = backend_id
        self.period = period

    def answered(self) -> None:
        """The backend has begun to answer: others may try too, though a stream goes on for long."""
        self._breaker._answered(self)

    def succeeded(self) -> None:
        """The exchange went well: whatever went before is forgiven."""
        self._breaker._succeeded(self)

    def failed(self) -> None:
        """The backend failed: unreachable, silent, or HTTP 5xx."""
        self._breaker._failed(self)

    def abandoned(self) -> None:
        """The exchange ended without a verdict: the caller left, or the failure was not the backend's."""
        self._breaker._abandoned(self)

"""Remembers finished calls: added up in memory at once, in the store about a second later."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Final, Protocol

from routeiq_plugin.a2a.records import CallRecord
from routeiq_plugin.errors import RouteIQError, Unavailable
from routeiq_plugin.store.usage import Batch, Usage, UsageKey

FLUSH_SECONDS: Final = 1.0
"""How often usage goes to the store: what a kill -9 may lose."""
BACKLOG: Final = 10_000
"""Different (day, agent, key, user, team, method) that are kept while the store is away; calls of known ones still
add up."""
AT_ONCE: Final = 1_000
"""Of those, how many one transaction takes."""
LAST_SECONDS: Final = 5.0
"""How long a shutdown waits for the store."""

METHODS: Final = frozenset(
    {
        "SendMessage",
        "SendStreamingMessage",
        "GetTask",
        "ListTasks",
        "CancelTask",
        "SubscribeToTask",
        "CreateTaskPushNotificationConfig",
        "GetTaskPushNotificationConfig",
        "ListTaskPushNotificationConfigs",
        "DeleteTaskPushNotificationConfig",
        "GetExtendedAgentCard",
    }
)
"""The 1.0 names; anything else counts as `OTHER`."""
OTHER: Final = "other"


class UsageSink(Protocol):
    """Where usage is kept; the store is."""

    async def add(self, batch: Batch) -> bool:
        """Add a batch, once however often it is sent; raises `Unavailable`."""
        ...


class Metrics(Protocol):
    """What is shown of calls while they happen."""

    def finished(self, agent_id: str, agent_name: str, method: str, outcome: str, seconds: float) -> None:
        """Count a call."""
        ...

    def dropped(self, calls: int = 1) -> None:
        """Count calls that could not be kept."""
        ...


@dataclass(frozen=True, slots=True)
class RecorderFacts:
    """How recording is doing in this worker."""

    pending: int
    """Calls that are not in the store yet."""
    dropped: int
    """Calls that were not kept, since the worker began."""


class UsageRecorder:
    """One worker's recorder; belongs to its event loop."""

    def __init__(self, sink: UsageSink, metrics: Metrics, on_fault: Callable[[str, BaseException], None]) -> None:
        self._sink = sink
        self._metrics = metrics
        self._on_fault = on_fault
        self._writer = str(uuid.uuid4())
        self._numbers = itertools.count(1)
        self._pending: dict[UsageKey, Usage] = {}
        self._unsent: deque[Batch] = deque()
        """The first one is written perhaps: a lost answer leaves it open, so it goes again as it was."""
        self._dropped = 0
        self._closed = False

    def record(self, call: CallRecord) -> None:
        """Add a call up; never blocks, never raises, drops and counts when there is no room."""
        try:
            self._add(call)
        except Exception as error:  # noqa: BLE001  recording must not fail the call that it is about
            self._drop()
            self._on_fault("recording a call", error)

    def facts(self) -> RecorderFacts:
        """Tell what is pending and what was lost."""
        waiting = (self._pending, *(batch.increments for batch in self._unsent))
        return RecorderFacts(sum(map(_calls, waiting)), self._dropped)

    async def run(self) -> None:
        """Write to the store every second until cancelled, through outages."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except Exception as error:  # noqa: BLE001  whatever it was: it is shown, and the next second tries again
                self._on_fault("recording usage", error)

    async def flush(self) -> None:
        """Write everything that is known now; raises `Unavailable` while the store is away, and keeps it."""
        while self._unsent or self._pending:
            if not self._unsent:
                self._unsent.append(self._next_batch())
            await self._send(self._unsent[0])

    async def aclose(self) -> None:
        """Write the rest, in bounded time; what the store does not take is lost, and told."""
        try:
            async with asyncio.timeout(LAST_SECONDS):
                await self.flush()
        except Exception as error:  # noqa: BLE001  a shutdown goes on
            lost = self.facts().pending
            self._on_fault("recording usage", Unavailable(f"{lost} calls are missing in the daily activity: {error!r}"))
        self._closed = True

    async def _send(self, batch: Batch) -> None:
        try:
            await self._sink.add(batch)
        except Unavailable:
            raise
        except RouteIQError as refused:
            self._split(batch, refused)
        else:
            self._unsent.popleft()

    def _split(self, batch: Batch, refused: RouteIQError) -> None:
        """Find the one increment that the store cannot hold, and drop that one alone."""
        self._unsent.popleft()
        rows = list(batch.increments.items())
        if len(rows) <= 1:
            self._drop(_calls(batch.increments))
            self._on_fault("recording usage", refused)
            return
        for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
            self._unsent.append(Batch(self._writer, next(self._numbers), dict(half)))

    def _add(self, call: CallRecord) -> None:
        method = call.method if call.method in METHODS else OTHER
        self._metrics.finished(call.agent_id, call.agent_name, method, call.outcome, call.seconds)
        key = UsageKey(
            call.started_at.astimezone(UTC).date(),
            call.agent_id,
            call.key,
            call.user_id or "",
            call.team_id or "",
            method,
        )
        known = self._pending.get(key)
        if self._closed or (known is None and len(self._pending) >= BACKLOG):
            self._drop()
            return
        usage = _usage(call)
        self._pending[key] = usage if known is None else known.plus(usage)

    def _drop(self, calls: int = 1) -> None:
        self._dropped += calls
        self._metrics.dropped(calls)

    def _next_batch(self) -> Batch:
        taken = dict(itertools.islice(self._pending.items(), AT_ONCE))
        for key in taken:
            del self._pending[key]
        return Batch(self._writer, next(self._numbers), taken)


def _usage(call: CallRecord) -> Usage:
    is_success = call.outcome == "success"
    # A failure is often fast and a caller who left is no measure: latency is that of answers that were complete.
    is_timed = is_success and not call.aborted
    return Usage(
        agent_name=call.agent_name,
        key_alias=call.key_alias,
        successful_requests=int(is_success),
        failed_requests=int(not is_success),
        timed_requests=int(is_timed),
        response_seconds=call.seconds if is_timed else 0.0,
        prompt_tokens=call.prompt_tokens,
        completion_tokens=call.completion_tokens,
        spend=call.spend,
    )


def _calls(increments: Mapping[UsageKey, Usage]) -> int:
    return sum(usage.successful_requests + usage.failed_requests for usage in increments.values())

"""The recorder by itself: adding up, outages, retries, room, and what is dropped when there is none."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from routeiq_plugin.a2a import usage
from routeiq_plugin.a2a.records import CallRecord
from routeiq_plugin.a2a.usage import UsageRecorder
from routeiq_plugin.errors import InvalidRequest, Unavailable
from routeiq_plugin.store.usage import Batch, Usage, UsageKey

pytestmark = pytest.mark.requirement("A2A-12")

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def call(**fields: Any) -> CallRecord:
    given: dict[str, Any] = {
        "agent_id": "a",
        "agent_name": "echo",
        "method": "SendMessage",
        "key": "k",
        "started_at": NOON,
        "seconds": 0.5,
        "outcome": "success",
    }
    return CallRecord(**given | fields)


class Sink:
    """A store that is away, or dislikes a row, when it is told so."""

    def __init__(self) -> None:
        self.away = False
        self.applied: dict[int, Batch] = {}
        self.disliked = ""
        self.loses_answers = False
        self.hangs = False

    async def add(self, batch: Batch) -> bool:
        if self.away:
            raise Unavailable("away")
        if self.hangs:
            await asyncio.Event().wait()
        if any(key.user_id == self.disliked for key in batch.increments if self.disliked):
            raise InvalidRequest("a value does not fit")
        is_new = batch.number not in self.applied
        self.applied.setdefault(batch.number, batch)
        if self.loses_answers:
            self.loses_answers = False
            raise Unavailable("the connection was lost after the commit")
        return is_new

    def total(self) -> dict[UsageKey, Usage]:
        sums: dict[UsageKey, Usage] = {}
        for batch in self.applied.values():
            for key, added in batch.increments.items():
                sums[key] = sums[key].plus(added) if key in sums else added
        return sums

    def calls(self) -> int:
        return sum(each.successful_requests + each.failed_requests for each in self.total().values())


class Counted:
    """Metrics that only count."""

    def __init__(self) -> None:
        self.calls = 0
        self.lost = 0
        self.breaks = False

    def finished(self, agent_id: str, agent_name: str, method: str, outcome: str, seconds: float) -> None:
        if self.breaks:
            raise RuntimeError("metrics are broken")
        self.calls += 1

    def dropped(self, calls: int = 1) -> None:
        self.lost += calls


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def faults() -> list[str]:
    return []


@pytest.fixture
def recorder(sink: Sink, counted: Counted, faults: list[str]) -> UsageRecorder:
    return UsageRecorder(sink, counted, lambda where, error: faults.append(f"{where}: {error}"))


async def test_calls_add_up_by_day_agent_caller_and_method(recorder: UsageRecorder, sink: Sink) -> None:
    late = datetime(2026, 11, 24, 1, tzinfo=timezone(timedelta(hours=2)))
    for record in (
        call(spend=0.25, prompt_tokens=3, completion_tokens=4, key_alias="mine"),
        call(outcome="failure", error="timeout", seconds=60.0),
        call(aborted=True, seconds=9.0),
        call(user_id="u", team_id="t"),
        call(method="GetTask", started_at=late),
        call(method="made-up"),
    ):
        recorder.record(record)
    assert recorder.facts().pending == 6
    await recorder.flush()
    assert recorder.facts().pending == 0
    day = date(2026, 11, 23)
    one = Usage(agent_name="echo", successful_requests=1, timed_requests=1, response_seconds=0.5)
    assert sink.total() == {
        UsageKey(day, "a", "k", "", "", "SendMessage"): Usage(
            agent_name="echo",
            key_alias="mine",
            successful_requests=2,
            failed_requests=1,
            timed_requests=1,
            response_seconds=0.5,
            prompt_tokens=3,
            completion_tokens=4,
            spend=0.25,
        ),
        UsageKey(day, "a", "k", "u", "t", "SendMessage"): one,
        UsageKey(day, "a", "k", "", "", "GetTask"): one,
        UsageKey(day, "a", "k", "", "", "other"): one,
    }


async def test_an_outage_keeps_everything(recorder: UsageRecorder, sink: Sink) -> None:
    sink.away = True
    for _ in range(5):
        recorder.record(call())
        with pytest.raises(Unavailable):
            await recorder.flush()
    assert recorder.facts().pending == 5
    sink.away = False
    await recorder.flush()
    assert sink.calls() == 5


async def test_a_lost_answer_counts_once(recorder: UsageRecorder, sink: Sink) -> None:
    recorder.record(call())
    sink.loses_answers = True
    with pytest.raises(Unavailable):
        await recorder.flush()
    recorder.record(call())
    await recorder.flush()
    assert sink.calls() == 2


async def test_a_flush_that_is_cancelled_loses_nothing(recorder: UsageRecorder, sink: Sink) -> None:
    recorder.record(call())
    sink.hangs = True
    flushing = asyncio.create_task(recorder.flush())
    await asyncio.sleep(0)
    flushing.cancel()
    await asyncio.wait([flushing])
    sink.hangs = False
    await recorder.aclose()
    assert sink.calls() == 1


async def test_room_is_bounded_and_what_has_none_is_counted(
    recorder: UsageRecorder, sink: Sink, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "BACKLOG", 3)
    for name in ("u1", "u2", "u3", "u4", "u1", "u5"):
        recorder.record(call(user_id=name))
    assert recorder.facts() == usage.RecorderFacts(pending=4, dropped=2)
    assert (counted.calls, counted.lost) == (6, 2)
    await recorder.flush()
    recorder.record(call(user_id="u4"))
    await recorder.flush()
    assert sink.calls() == 5


async def test_many_go_in_several_transactions(
    recorder: UsageRecorder, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "AT_ONCE", 10)
    for number in range(25):
        recorder.record(call(user_id=str(number)))
    await recorder.flush()
    assert [len(batch.increments) for batch in sink.applied.values()] == [10, 10, 5]
    assert list(sink.applied) == [1, 2, 3]


async def test_a_row_that_the_store_cannot_hold_is_dropped_alone(
    recorder: UsageRecorder, sink: Sink, counted: Counted, faults: list[str]
) -> None:
    sink.disliked = "13"
    for number in range(20):
        recorder.record(call(user_id=str(number)))
    await recorder.flush()
    assert sink.calls() == 19
    assert recorder.facts() == usage.RecorderFacts(pending=0, dropped=1)
    assert counted.lost == 1
    assert faults == ["recording usage: a value does not fit"]


async def test_recording_never_raises(recorder: UsageRecorder, counted: Counted, faults: list[str]) -> None:
    counted.breaks = True
    recorder.record(call())
    assert recorder.facts().dropped == 1
    assert faults == ["recording a call: metrics are broken"]


async def test_the_background_survives_whatever_the_store_does(
    recorder: UsageRecorder, sink: Sink, faults: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "FLUSH_SECONDS", 0)
    failures = itertools.chain([RuntimeError("unheard of"), Unavailable("away")], itertools.repeat(None))
    real, done = sink.add, asyncio.Event()

    async def add(batch: Batch) -> bool:
        failure = next(failures)
        if failure is not None:
            raise failure
        done.set()
        return await real(batch)

    monkeypatch.setattr(sink, "add", add)
    recorder.record(call())
    running = asyncio.create_task(recorder.run())
    await done.wait()
    running.cancel()
    await asyncio.wait([running])
    await recorder.aclose()
    assert sink.calls() == 1
    assert faults == ["recording usage: unheard of", "recording usage: away"]


async def test_a_shutdown_without_a_store_ends_and_tells_what_is_lost(
    recorder: UsageRecorder, sink: Sink, faults: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "LAST_SECONDS", 0.01)
    recorder.record(call())
    sink.hangs = True
    await recorder.aclose()
    assert "1 calls are missing" in faults[0]
    recorder.record(call())
    assert recorder.facts().dropped == 1

"""Whose turn it is to ask a source, and how soon again: workers on one store share each answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from routeiq_plugin.errors import SourceUnreachable
from routeiq_plugin.reload.following import LONGEST_BACKOFF_SECONDS, Polling, backoff, jittered
from routeiq_plugin.reload.identity import Identity
from routeiq_plugin.reload.service import Reloader
from routeiq_plugin.reload.sources import Fetched
from routeiq_plugin.store.config_source import SourceStates
from tests.store.parts import opened

pytestmark = pytest.mark.requirement("RLD-06", "RLD-08", "RLD-20")

INTERVAL = 3600.0


class Counted:
    """A source that never changes, or does not answer."""

    name = "s3://bucket/key"
    remote = True

    def __init__(self) -> None:
        self.asked: list[str | None] = []
        self.away = False

    async def fetch(self, etag: str | None) -> Fetched | None:
        self.asked.append(etag)
        await asyncio.sleep(0)
        if self.away:
            raise SourceUnreachable("S3 answered HTTP 503")
        return None

    def facts(self) -> Mapping[str, Any]:
        return {}

    async def aclose(self) -> None:
        """Nothing is held."""


@dataclass
class Bench:
    source: Counted
    states: SourceStates
    faults: list[str]

    def worker(self) -> Polling:
        def on_fault(where: str, error: BaseException) -> None:
            self.faults.append(str(error))

        reloader = cast("Reloader", self)  # it is only asked for its source while nothing changes
        return Polling(reloader, Identity(), self.states, INTERVAL, on_fault)

    async def make_due(self) -> None:
        state = await self.states.get(self.source.name)
        await self.states.put(replace(state, next_poll=None))


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(f"sqlite:///{tmp_path}/routeiq.db") as database:
        yield Bench(Counted(), SourceStates(database), [])


async def test_one_worker_asks_for_all(bench: Bench) -> None:
    workers = [bench.worker() for _ in range(4)]
    await asyncio.gather(*(worker.poll() for worker in workers))
    assert len(bench.source.asked) == 1
    await asyncio.gather(*(worker.poll() for worker in workers))
    assert len(bench.source.asked) == 1  # not due yet
    await bench.make_due()
    await asyncio.gather(*(worker.poll() for worker in workers))
    assert len(bench.source.asked) == 2


async def test_the_turn_of_a_worker_that_died_ends(bench: Bench) -> None:
    now = datetime.now(UTC)
    taken = await bench.states.take(bench.source.name, "dead", now, now + timedelta(hours=1))
    assert taken is not None
    await bench.worker().poll()
    assert bench.source.asked == []
    await bench.states.put(replace(taken, lease_until=now - timedelta(seconds=1)))
    await bench.worker().poll()
    assert len(bench.source.asked) == 1


async def test_failures_in_a_row_make_polls_rarer_until_one_succeeds(bench: Bench) -> None:
    worker = bench.worker()
    bench.source.away = True
    for failures in (1, 2, 3):
        await bench.make_due()
        await worker.poll()
        state = await bench.states.get(bench.source.name)
        assert (state.failures, state.last_error) == (failures, "S3 answered HTTP 503")
    assert bench.faults == ["S3 answered HTTP 503"] * 3
    bench.source.away = False
    await bench.make_due()
    await worker.poll()
    state = await bench.states.get(bench.source.name)
    assert state.failures == 0
    assert state.last_success is not None


def test_backoff_doubles_to_its_ceiling() -> None:
    assert [backoff(30, failures) for failures in range(4)] == [30, 60, 120, 240]
    assert backoff(30, 1_000) == LONGEST_BACKOFF_SECONDS
    assert backoff(INTERVAL, 5) == INTERVAL  # it is longer than the ceiling by itself


def test_pauses_vary_by_a_tenth() -> None:
    pauses = [jittered(100) for _ in range(200)]
    assert all(90 <= pause <= 110 for pause in pauses)
    assert len(set(pauses)) > 100

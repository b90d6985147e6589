"""How long a task is its owner's: as long as the owner asks for it, by whichever method."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

import pytest

from routeiq_plugin.a2a.tasks import KEPT, SEEN_AGAIN, NotTheirs, TaskCaller, TaskOwnership, a_task
from routeiq_plugin.errors import Unavailable
from routeiq_plugin.store.tasks import Owned

pytestmark = pytest.mark.requirement("A2A-22")

ALICE, BOB = (TaskCaller(f"user:{name}", sees_all=False) for name in ("alice", "bob"))
TASK = a_task("t")


class Store:
    """Owners in memory, and when each was seen."""

    def __init__(self) -> None:
        self.rows: dict[Owned, tuple[str, datetime]] = {}
        self.writes = 0
        self.is_away = False

    async def claim(self, agent_id: str, owner: str, objects: Collection[Owned], now: datetime) -> Mapping[Owned, str]:
        if self.is_away:
            raise Unavailable("away")
        self.writes += 1
        for each in objects:
            self.rows[each] = (self.rows.get(each, (owner, now))[0], now)
        return {each: self.rows[each][0] for each in objects}

    async def owners(self, agent_id: str, objects: Collection[Owned]) -> Mapping[Owned, str]:
        return {each: self.rows[each][0] for each in objects if each in self.rows}

    async def prune(self, before: datetime) -> int:
        gone = [each for each, (_, seen) in self.rows.items() if seen < before]
        for each in gone:
            del self.rows[each]
        return len(gone)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def behind() -> None:
    """Let what is done behind an answer be done."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_owner_who_only_asks_keeps_the_task(store: Store, clock: Clock) -> None:
    first, second = TaskOwnership(store, clock), TaskOwnership(store, clock)
    await first.claim("a", ALICE, [TASK])
    for _ in range(2 * KEPT.days):
        clock.now += timedelta(days=1)
        await second.require("a", ALICE, [TASK])
        await behind()
        assert await first.prune() == 0
    with pytest.raises(NotTheirs):
        await second.require("a", BOB, [TASK])
    clock.now += KEPT + timedelta(days=1)
    assert await first.prune() == 1


async def test_what_was_seen_a_moment_ago_is_not_written_again(store: Store, clock: Clock) -> None:
    ownership = TaskOwnership(store, clock)
    await ownership.claim("a", ALICE, [TASK])
    for _ in range(10):
        await ownership.require("a", ALICE, [TASK])
        await behind()
    assert store.writes == 1
    clock.now += SEEN_AGAIN + timedelta(seconds=1)
    for _ in range(10):
        await ownership.require("a", ALICE, [TASK])
        await behind()
    assert store.writes == 2


async def test_an_outage_delays_nobody_and_is_made_up_for(store: Store, clock: Clock) -> None:
    ownership = TaskOwnership(store, clock)
    await ownership.claim("a", ALICE, [TASK])
    clock.now += SEEN_AGAIN + timedelta(seconds=1)
    store.is_away = True
    await ownership.require("a", ALICE, [TASK])
    await behind()
    store.is_away = False
    await ownership.require("a", ALICE, [TASK])
    await behind()
    assert store.rows[TASK] == (ALICE.owner, clock.now)

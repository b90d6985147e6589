"""Followers hear of every commit, in order, whoever made it and whatever happens in between."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from routeiq_plugin.store.agents import AgentStore
from routeiq_plugin.store.audit import AuditLog
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.feed import Change, Resync, RevisionFeed
from tests.store.parts import SEALER, agent, entry, following, opened, outage, sql


async def test_another_workers_commits_arrive_in_order(database_url: str, database: Database) -> None:
    async with opened(database_url) as other, following(database) as follower:
        assert await follower.next() == Resync(0)
        store = AgentStore(other, SEALER)
        created = await store.create(agent("a"), entry())
        assert await follower.changes(1) == [Change(1, "agent", "id-a", "create")]
        await store.replace(created, 1, entry())
        await store.delete("id-a", 2, entry())
        assert await follower.changes(2) == [Change(2, "agent", "id-a", "update"), Change(3, "agent", "id-a", "delete")]
        assert follower.feed.connected
        assert follower.feed.last_error is None


async def test_our_own_commits_arrive_too(database: Database, agents: AgentStore) -> None:
    async with following(database) as follower:
        assert await follower.next() == Resync(0)
        await agents.create(agent("a"), entry())
        assert await follower.changes(1) == [Change(1, "agent", "id-a", "create")]


async def test_a_follower_may_begin_where_it_has_read(database: Database, agents: AgentStore) -> None:
    await agents.create(agent("a"), entry())
    await agents.create(agent("b"), entry())
    async with following(database, since=1) as follower:
        assert await follower.changes(1) == [Change(2, "agent", "id-b", "create")]


async def test_a_write_that_changes_no_object_is_not_delivered(database: Database, agents: AgentStore) -> None:
    async with following(database) as follower:
        await follower.next()
        await AuditLog(database).append(entry())
        await agents.create(agent("a"), entry())
        assert await follower.changes(1) == [Change(2, "agent", "id-a", "create")]


async def test_a_rolled_back_write_is_not_delivered(database: Database, agents: AgentStore) -> None:
    async with following(database) as follower:
        await follower.next()
        try:
            async with database.write() as unit:
                unit.changed("agent", "ghost", "create")
                raise KeyError
        except KeyError:
            pass
        await agents.create(agent("a"), entry())
        assert await follower.changes(1) == [Change(1, "agent", "id-a", "create")]


async def test_concurrent_writers_are_followed_without_a_miss(database_url: str, database: Database) -> None:
    async with opened(database_url) as one, opened(database_url) as two, following(database) as follower:
        await follower.next()
        writes = [
            AgentStore(writer, SEALER).create(agent(f"{index}-{turn}"), entry())
            for index, writer in enumerate((one, two))
            for turn in range(15)
        ]
        await asyncio.gather(*writes)
        changes = await follower.changes(30)
    assert [change.revision for change in changes] == list(range(1, 31))
    assert len({change.object_id for change in changes}) == 30


async def test_who_fell_behind_reads_everything_again(database_url: str) -> None:
    async with opened(database_url, change_history=10) as database:
        store = AgentStore(database, SEALER)
        for number in range(30):
            await store.create(agent(f"a{number}"), entry())
        kept = sql(database_url, "SELECT count(*), min(revision) FROM routeiq_change")[0]
        floor = sql(database_url, "SELECT floor FROM routeiq_revision")[0][0]
        assert kept == (30 - floor, floor + 1)
        assert 10 <= kept[0] <= 12
        async with following(database, since=floor - 1) as behind:
            assert await behind.next() == Resync(30)
        async with following(database, since=floor) as level:
            assert [change.revision for change in await level.changes(30 - floor)] == list(range(floor + 1, 31))
        async with following(database, since=99) as ahead:
            assert await ahead.next() == Resync(30)


async def test_an_outage_ends_in_a_resync(database_url: str, database: Database, agents: AgentStore) -> None:
    async with following(database) as follower:
        assert await follower.next() == Resync(0)
        with outage(database_url):
            while follower.feed.connected:  # noqa: ASYNC110  the feed announces an outage to operators, not to tasks
                await asyncio.sleep(0.01)
            assert follower.feed.last_error
        assert await follower.next() == Resync(0)
        await agents.create(agent("a"), entry())
        assert await follower.changes(1) == [Change(1, "agent", "id-a", "create")]
        assert follower.feed.connected


async def test_a_feed_may_start_during_an_outage(database_url: str, database: Database) -> None:
    await database.close()
    with outage(database_url):
        follower = following(database)
        running = await follower.__aenter__()
        while running.feed.last_error is None:  # noqa: ASYNC110  as above
            await asyncio.sleep(0.01)
    assert await running.next() == Resync(0)
    await follower.__aexit__(None, None, None)


async def test_a_listener_that_fails_is_called_again(database: Database, agents: AgentStore) -> None:
    calls: asyncio.Queue[Sequence[Change] | Resync] = asyncio.Queue()

    async def fail_on_changes(delivered: Sequence[Change] | Resync) -> None:
        await calls.put(delivered)
        if not isinstance(delivered, Resync):
            raise ValueError("a fault of the listener")

    feed = RevisionFeed(database)
    task = asyncio.create_task(feed.run(fail_on_changes))
    assert await calls.get() == Resync(0)
    await agents.create(agent("a"), entry())
    assert await calls.get() == (Change(1, "agent", "id-a", "create"),)
    assert await calls.get() == Resync(1)
    assert feed.last_error == "a fault of the listener"
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert not feed.connected

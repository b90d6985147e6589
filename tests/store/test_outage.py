"""A database that goes away: a clear 503 for as long as it lasts, and nothing half done."""

from __future__ import annotations

import asyncio

import pytest

from routeiq_plugin.errors import Unavailable, wire
from routeiq_plugin.store.agents import AgentStore
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.status import status
from tests.store.parts import SEALER, agent, entry, opened, outage, sql


async def test_reads_and_writes_are_unavailable_then_heal(
    database_url: str, database: Database, agents: AgentStore
) -> None:
    await agents.create(agent("a"), entry())
    with outage(database_url):
        for call in (agents.all(), agents.create(agent("b"), entry()), agents.delete("id-a", None, entry())):
            with pytest.raises(Unavailable) as refused:
                await call
            assert wire(refused.value).status == 503
            assert refused.value.headers["Retry-After"] == "2"
            assert "host" not in refused.value.detail
        found = await status(database)
        assert (found.reachable, found.data_revision) == (False, None)
        assert found.error
    assert [record.agent_name for record in await agents.all()] == ["a"]
    await agents.create(agent("b"), entry())
    found = await status(database)
    assert (found.reachable, found.data_revision, found.error) == (True, 2, None)
    assert found.schema_revision == found.schema_head
    assert found.store_id


async def test_a_start_during_an_outage_heals(database_url: str) -> None:
    async with opened(database_url):
        pass
    database = Database(database_url)
    if database.kind == "sqlite":
        pytest.skip("a process that has never seen its file begins a new one")
    with outage(database_url), pytest.raises(Unavailable):
        await database.open()
    assert await AgentStore(database, SEALER).all() == ()
    await database.close()


async def test_a_connection_lost_in_mid_write_leaves_nothing(database_url: str, agents: AgentStore) -> None:
    database = agents._database
    if database.kind == "sqlite":
        pytest.skip("a file has no connection to lose; kill -9 is tested in test_durability.py")

    async def interrupted() -> None:
        async with database.write() as unit:
            unit.changed("agent", "ghost", "create")
            with outage(database_url):
                pass

    with pytest.raises(Unavailable):
        await interrupted()
    assert sql(database_url, "SELECT revision FROM routeiq_revision") == [(0,)]
    assert sql(database_url, "SELECT count(*) FROM routeiq_change") == [(0,)]
    await agents.create(agent("a"), entry())


async def test_a_cancelled_write_is_whole_or_nothing_and_frees_the_lock(database: Database, agents: AgentStore) -> None:
    inside = asyncio.Event()

    async def hang() -> None:
        async with database.write() as unit:
            unit.changed("agent", "ghost", "create")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await agents.create(agent("a"), entry())
    assert (await status(database)).data_revision == 1


async def test_a_writer_that_holds_the_lock_too_long_is_a_503_for_others(
    database_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routeiq_plugin.store.postgresql.BEGIN_WRITE", "SET LOCAL lock_timeout = '50ms'")
    monkeypatch.setattr("routeiq_plugin.store.sqlite.PRAGMAS", ("PRAGMA busy_timeout = 50",))
    async with database.write() as unit, opened(database_url) as other:
        unit.changed("agent", "x", "create")
        with pytest.raises(Unavailable):
            await AgentStore(other, SEALER).create(agent("a"), entry())
    assert (await status(database)).data_revision == 1


async def test_readers_do_not_wait_for_a_writer(database_url: str, database: Database, agents: AgentStore) -> None:
    async with database.write() as unit:
        unit.changed("agent", "x", "create")
        assert await agents.all() == ()
        async with opened(database_url) as other:
            assert await AgentStore(other, SEALER).all() == ()

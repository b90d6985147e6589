"""Usage added up: every increment once, whatever races, retries and outages do."""

from __future__ import annotations

import asyncio
import sys
from datetime import date

import pytest

from routeiq_plugin.errors import Unavailable
from routeiq_plugin.store import schema
from routeiq_plugin.store.agents import AgentStore
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.status import status
from routeiq_plugin.store.usage import Batch, Owner, Usage, UsageFilter, UsageKey, UsageStore
from tests.store.parts import SEALER, agent, entry, opened, outage, sql
from tests.support.processes import REPOSITORY, clean_environment

MONDAY, TUESDAY = date(2026, 11, 23), date(2026, 11, 24)
WEEK = UsageFilter(first=MONDAY, last=date(2026, 11, 29))
ONE = Usage(agent_name="echo", successful_requests=1, timed_requests=1, response_seconds=0.5, spend=0.25)


def key(agent_id: str = "a", api_key: str = "k", day: date = MONDAY, **fields: str) -> UsageKey:
    return UsageKey(day, agent_id, api_key, fields.get("user_id", ""), fields.get("team_id", ""), "SendMessage")


async def requests(store: UsageStore, wanted: UsageFilter = WEEK) -> dict[tuple[str, str], int]:
    page = await store.page(wanted, offset=0, limit=1000)
    assert page.total == len(page.rows)
    return {(each.agent_id, each.api_key): usage.successful_requests for each, usage in page.rows}


@pytest.fixture
def usage(database: Database) -> UsageStore:
    return UsageStore(database)


@pytest.mark.requirement("A2A-12")
async def test_increments_add_up_and_names_are_the_last(usage: UsageStore) -> None:
    failed = Usage(agent_name="renamed", key_alias="alias", failed_requests=2, prompt_tokens=3, completion_tokens=4)
    assert await usage.add(Batch("w", 1, {key(): ONE}))
    assert await usage.add(Batch("w", 2, {key(): failed}))
    assert await usage.add(Batch("w", 3, {key(): ONE}))
    page = await usage.page(WEEK, offset=0, limit=10)
    total = Usage(
        agent_name="echo",
        key_alias="alias",
        successful_requests=2,
        failed_requests=2,
        timed_requests=2,
        response_seconds=1.0,
        prompt_tokens=3,
        completion_tokens=4,
        spend=0.5,
    )
    assert page.rows == [(key(), total)]


@pytest.mark.requirement("A2A-12")
async def test_a_batch_sent_again_counts_once(usage: UsageStore) -> None:
    batch = Batch("w", 1, {key(): ONE})
    assert await usage.add(batch)
    assert not await usage.add(batch)
    assert await usage.add(Batch("another", 1, {key(): ONE}))
    assert await requests(usage) == {("a", "k"): 2}


@pytest.mark.requirement("A2A-12")
async def test_writers_of_many_workers_lose_nothing(database_url: str, usage: UsageStore) -> None:
    keys = [key(f"agent-{number}") for number in range(8)]

    async def work(name: str, mine: list[UsageKey]) -> None:
        async with opened(database_url) as database:
            store = UsageStore(database)
            for number in range(1, 21):
                assert await store.add(Batch(name, number, dict.fromkeys(mine, ONE)))

    await asyncio.gather(*(work(f"w{order}", keys[order:] + keys[:order]) for order in range(4)))
    assert set((await requests(usage)).values()) == {80}


@pytest.mark.requirement("A2A-12")
async def test_writers_of_several_processes_lose_nothing(database_url: str, usage: UsageStore) -> None:
    command = (sys.executable, "-m", "tests.store.child", "count", database_url)
    environment = clean_environment()
    children = [await asyncio.create_subprocess_exec(*command, cwd=REPOSITORY, env=environment) for _ in range(3)]
    assert [await child.wait() for child in children] == [0, 0, 0]
    assert set((await requests(usage)).values()) == {3 * 50}


@pytest.mark.requirement("A2A-12")
async def test_an_outage_writes_nothing_and_the_same_batch_heals(database_url: str, usage: UsageStore) -> None:
    batch = Batch("w", 1, {key(): ONE})
    with outage(database_url), pytest.raises(Unavailable):
        await usage.add(batch)
    assert await usage.add(batch)
    assert await requests(usage) == {("a", "k"): 1}


@pytest.mark.requirement("A2A-12")
async def test_usage_takes_no_revision(database: Database, usage: UsageStore) -> None:
    await usage.add(Batch("w", 1, {key(): ONE}))
    assert (await status(database)).data_revision == 0


@pytest.mark.requirement("A2A-12")
async def test_filters_and_pages(usage: UsageStore) -> None:
    rows = [
        key("a", "k1", TUESDAY, user_id="u1", team_id="t"),
        key("a", "k2", user_id="u2", team_id="t"),
        key("b", "k1", user_id="u1"),
        key("b", "", user_id="u3"),
        key("c", ""),
    ]
    await usage.add(Batch("w", 1, dict.fromkeys(rows, ONE)))

    async def found(**wanted: object) -> list[UsageKey]:
        fields = {"first": MONDAY, "last": TUESDAY, **wanted}
        page = await usage.page(UsageFilter(**fields), offset=0, limit=10)  # type: ignore[arg-type]
        return [each for each, _ in page.rows]

    nobody = Owner("", "", "")
    assert await found() == [rows[0], rows[1], rows[3], rows[2], rows[4]]
    assert await found(first=TUESDAY) == rows[:1]
    assert await found(last=date(2026, 11, 22)) == []
    assert await found(agent_ids=["a"]) == rows[:2]
    assert await found(agent_ids=[]) == []
    assert await found(without_agent_ids=["a", "b"]) == rows[4:]
    assert await found(api_key="k2") == [rows[1]]
    assert await found(agent_name="other") == []
    assert await found(owner=nobody) == []
    assert await found(owner=nobody, open_agent_ids=["c"]) == rows[4:]
    assert await found(owner=Owner("k1", "", "")) == [rows[0], rows[2]]
    assert await found(owner=Owner("", "u3", "")) == [rows[3]]
    assert await found(owner=Owner("", "", "t")) == rows[:2]
    assert await found(owner=Owner("k1", "u1", ""), open_agent_ids=["a"], api_key="k2") == []
    page = await usage.page(UsageFilter(first=MONDAY, last=TUESDAY), offset=3, limit=1)
    assert ([each for each, _ in page.rows], page.total) == ([rows[2]], 5)
    assert (await usage.page(UsageFilter(first=MONDAY, last=TUESDAY), offset=9, limit=1)).rows == []


@pytest.mark.requirement("A2A-12", "PKG-02")
async def test_a_database_of_the_first_schema_is_upgraded_with_its_rows(database_url: str) -> None:
    async with opened(database_url) as database:
        await AgentStore(database, SEALER).create(agent("kept", static_headers={"x-key": "secret"}), entry())
        before = await AgentStore(database, SEALER).all()
        await database.migrate("0001")
        assert await database.schema_revision() == "0001"
        with pytest.raises(Exception, match=r"routeiq_agent_daily"):
            sql(database_url, "SELECT 1 FROM routeiq_agent_daily")
    async with opened(database_url) as upgraded:
        assert await upgraded.schema_revision() == schema.HEAD
        assert await AgentStore(upgraded, SEALER).all() == before
        assert await UsageStore(upgraded).add(Batch("w", 1, {key(): ONE}))
        assert sql(database_url, "SELECT count(*) FROM routeiq_audit") == [(1,)]

"""Agents come back as they went in, and no write is lost unseen."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from routeiq_plugin.errors import Conflict, InvalidRequest, NotFound
from routeiq_plugin.store.agents import AgentRecord, AgentStore
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.registered import StaleVersion
from tests.store.parts import OTHER_SEALER, SEALER, agent, entry, opened, sql

pytestmark = pytest.mark.requirement("A2A-02", "PKG-02")

NOON = datetime(2030, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)


def full(name: str) -> AgentRecord:
    return agent(
        name,
        litellm_params={"api_key": "sk-1", "nested": {"a": [1, None, "ü\u0000"]}},
        static_headers={"authorization": "Bearer s"},
        kill_switch={},
        extra_headers=("x-a", "x-b"),
        access_group_ids=("g1",),
        object_permission={"mcp_servers": ["m"]},
        tpm_limit=2**40,
        rpm_limit=0,
        session_tpm_limit=1,
        session_rpm_limit=2,
        enabled=False,
        execution_mode="supervised",
        is_public=True,
        created_at=NOON,
        updated_at=NOON,
        created_by="alice",
        updated_by="alice",
    )


async def test_every_field_comes_back(database_url: str) -> None:
    async with opened(database_url) as database:
        created = await AgentStore(database, SEALER).create(full("weather"), entry())
        assert created == full("weather")
    async with opened(database_url) as database:
        store = AgentStore(database, SEALER)
        assert await store.get("id-weather") == full("weather")
        assert await store.by_name("weather") == full("weather")
        assert await store.all() == (full("weather"),)
        assert await store.get("weather") is None
        assert await store.by_name("Weather") is None


async def test_defaults_come_back(agents: AgentStore) -> None:
    created = await agents.create(agent("plain"), entry())
    assert (
        await agents.get("id-plain")
        == created
        == agent("plain", created_at=created.created_at, updated_at=created.updated_at)
    )


async def test_key_order_of_a_card_is_kept(agents: AgentStore) -> None:
    await agents.create(agent("ordered", card={"zeta": 1, "alpha": 2}), entry())
    found = await agents.get("id-ordered")
    assert found is not None
    assert list(found.card) == ["zeta", "alpha"]


async def test_any_zone_is_stored_as_utc_and_no_zone_is_refused(agents: AgentStore) -> None:
    east = NOON.astimezone(timezone(timedelta(hours=9)))
    await agents.create(agent("east", created_at=east, updated_at=east), entry())
    found = await agents.get("id-east")
    assert found is not None
    assert found.created_at == NOON
    assert found.created_at.tzinfo is UTC
    with pytest.raises(InvalidRequest):
        await agents.create(agent("naive", created_at=NOON.replace(tzinfo=None)), entry())
    assert await agents.get("id-naive") is None


async def test_list_is_oldest_first_then_by_id(agents: AgentStore) -> None:
    for number, name in enumerate(("c", "b", "a")):
        await agents.create(agent(name, created_at=NOON + timedelta(seconds=min(number, 1))), entry())
    assert [found.agent_name for found in await agents.all()] == ["c", "a", "b"]


async def test_a_long_list_is_whole(agents: AgentStore, database: Database) -> None:
    for number in range(120):
        await agents.create(agent(f"n{number:03}", created_at=NOON), entry())
    assert [found.agent_name for found in await agents.all()] == [f"n{number:03}" for number in range(120)]


@pytest.mark.parametrize(
    "twin",
    [
        agent("weather", agent_id="another"),
        agent("another", agent_id="weather"),
        agent("id-weather", agent_id="another"),
    ],
    ids=["same name", "id is a name", "name is an id"],
)
async def test_names_are_taken_once(agents: AgentStore, twin: AgentRecord) -> None:
    await agents.create(agent("weather"), entry())
    with pytest.raises(Conflict, match=f"^Agent with name {twin.agent_name} already exists$"):
        await agents.create(twin, entry())
    assert len(await agents.all()) == 1


async def test_an_id_is_taken_once(agents: AgentStore) -> None:
    await agents.create(agent("weather"), entry())
    with pytest.raises(Conflict, match=r"^Agent with ID id-weather already exists$"):
        await agents.create(agent("other", agent_id="id-weather"), entry())


async def test_an_agent_may_be_named_like_its_own_id(agents: AgentStore) -> None:
    created = await agents.create(agent("same", agent_id="same"), entry())
    assert (await agents.replace(replace(created, is_public=True), 1, entry())).is_public


async def test_replace_moves_the_version_and_keeps_the_birth(agents: AgentStore) -> None:
    await agents.create(full("weather"), entry())
    later = NOON + timedelta(hours=1)
    stored = await agents.replace(
        agent("storm", agent_id="id-weather", updated_at=later, updated_by="bob", created_by="mallory"), 1, entry()
    )
    assert (stored.version, stored.created_at, stored.created_by) == (2, NOON, "alice")
    assert (stored.updated_at, stored.updated_by, stored.agent_name) == (later, "bob", "storm")
    assert (stored.litellm_params, stored.static_headers, stored.kill_switch) == ({}, {}, None)
    assert await agents.get("id-weather") == stored


async def test_replace_refuses_what_it_must(agents: AgentStore) -> None:
    await agents.create(agent("a"), entry())
    await agents.create(agent("b"), entry())
    with pytest.raises(NotFound):
        await agents.replace(agent("c"), 1, entry())
    with pytest.raises(StaleVersion) as stale:
        await agents.replace(agent("a"), 7, entry())
    assert (stale.value.expected, stale.value.current) == (7, 1)
    with pytest.raises(Conflict, match="already exists"):
        await agents.replace(agent("b", agent_id="id-a"), 1, entry())
    found = await agents.get("id-a")
    assert found is not None
    assert (found.agent_name, found.version) == ("a", 1)


async def test_delete(agents: AgentStore) -> None:
    await agents.create(agent("a"), entry())
    with pytest.raises(StaleVersion):
        await agents.delete("id-a", 2, entry())
    await agents.delete("id-a", 1, entry())
    with pytest.raises(NotFound):
        await agents.delete("id-a", None, entry())
    assert await agents.all() == ()


async def test_two_workers_cannot_lose_an_update(database_url: str) -> None:
    async with opened(database_url) as one, opened(database_url) as two:
        stores = (AgentStore(one, SEALER), AgentStore(two, SEALER))
        created = await stores[0].create(agent("a"), entry())
        writes = [
            store.replace(replace(created, updated_by=f"{index}-{turn}"), 1, entry())
            for index, store in enumerate(stores)
            for turn in range(5)
        ]
        results = await asyncio.gather(*writes, return_exceptions=True)
        won = [result for result in results if isinstance(result, AgentRecord)]
        assert len(won) == 1
        assert sum(isinstance(result, StaleVersion) for result in results) == len(writes) - 1
        assert await stores[1].get("id-a") == won[0]


async def test_two_workers_cannot_take_the_same_name(database_url: str) -> None:
    async with opened(database_url) as one, opened(database_url) as two:
        results = await asyncio.gather(
            *(
                AgentStore(database, SEALER).create(agent("a", agent_id=f"id-{index}"), entry())
                for index, database in enumerate((one, two))
            ),
            return_exceptions=True,
        )
        assert sum(isinstance(result, Conflict) for result in results) == 1
        assert sum(isinstance(result, AgentRecord) for result in results) == 1


async def test_writes_of_two_workers_are_numbered_without_gaps(database_url: str) -> None:
    async with opened(database_url) as one, opened(database_url) as two:
        await asyncio.gather(
            *(
                AgentStore(database, SEALER).create(agent(f"{index}-{turn}"), entry())
                for index, database in enumerate((one, two))
                for turn in range(10)
            )
        )
    revisions = sql(database_url, "SELECT revision FROM routeiq_change ORDER BY revision")
    assert revisions == [(revision,) for revision in range(1, 21)]
    assert sql(database_url, "SELECT revision FROM routeiq_revision") == [(20,)]


@pytest.mark.parametrize(
    "broken",
    [
        agent("a", tpm_limit=2**70),
        agent("a", card={"ratio": float("nan")}),
        agent("a", card={"what": object()}),
        agent("a", litellm_params={"secret-canary": object()}),
        agent("a", static_headers={"secret-canary": float("inf")}),
        agent("\ud800"),
    ],
    ids=["huge", "nan", "object", "sealed object", "sealed infinity", "surrogate"],
)
async def test_what_cannot_be_stored_is_the_callers_fault_and_changes_nothing(
    agents: AgentStore, broken: AgentRecord
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await agents.create(broken, entry())
    assert "canary" not in str(refused.value)
    assert await agents.all() == ()
    assert (await agents.create(agent("fine"), entry())).version == 1


async def test_another_key_makes_secrets_unreadable_and_nothing_else(database: Database, agents: AgentStore) -> None:
    await agents.create(full("weather"), entry())
    await agents.create(agent("plain"), entry())
    other = AgentStore(database, OTHER_SEALER)
    found = await other.get("id-weather")
    assert found == replace(full("weather"), litellm_params={}, static_headers={}, kill_switch=None, unreadable=True)
    plain = await other.get("id-plain")
    assert plain is not None
    assert not plain.unreadable


async def test_an_unreadable_agent_keeps_its_sealed_secrets_until_new_ones_are_given(
    database: Database, agents: AgentStore
) -> None:
    await agents.create(full("weather"), entry())
    other = AgentStore(database, OTHER_SEALER)
    found = await other.get("id-weather")
    assert found is not None
    renamed = await other.replace(replace(found, agent_name="storm"), 1, entry())
    assert renamed.unreadable
    with pytest.raises(InvalidRequest, match="send all of them again"):
        await other.replace(replace(found, static_headers={"a": "b"}), 2, entry())
    with pytest.raises(InvalidRequest):
        await other.create(replace(found, agent_id="copy", agent_name="copy"), entry())
    old = await agents.get("id-weather")
    assert old is not None
    assert (old.agent_name, old.litellm_params) == ("storm", full("weather").litellm_params)
    fresh = await other.replace(replace(renamed, unreadable=False, static_headers={"a": "b"}), 2, entry())
    assert (fresh.unreadable, fresh.static_headers, fresh.litellm_params) == (False, {"a": "b"}, {})


async def test_damaged_secrets_are_unreadable_not_garbage(database_url: str, agents: AgentStore) -> None:
    await agents.create(full("weather"), entry())
    sql(database_url, "UPDATE routeiq_agent SET static_headers = 'AAAA' || static_headers")
    found = await agents.get("id-weather")
    assert found is not None
    assert found.unreadable
    assert found.litellm_params == {}


def test_a_record_does_not_show_its_secrets() -> None:
    assert "sk-1" not in repr(full("weather"))
    assert "Bearer" not in repr(full("weather"))

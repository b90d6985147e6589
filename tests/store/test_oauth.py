"""Logins at rest: a state, a code and a lease belong to one worker, and what is stored opens with our key alone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from routeiq_plugin.errors import CannotOpen, TooManyRequests
from routeiq_plugin.store.audit import AuditEntry
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.oauth_flows import Flow, FlowStore, Quota, Stage
from routeiq_plugin.store.oauth_tokens import Held, TokenKind, TokenStore
from tests.store.parts import OTHER_SEALER, SEALER, sql

pytestmark = pytest.mark.requirement("MCP-22")

NOW: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MINUTE: Final = timedelta(minutes=1)
AUDIT: Final = AuditEntry(actor="alice", action="mcp.login.store", object_kind="mcp_server", object_id="s")


@pytest.fixture
def flows(database: Database) -> FlowStore:
    return FlowStore(database, SEALER)


@pytest.fixture
def tokens(database: Database) -> TokenStore:
    return TokenStore(database, SEALER)


def flow(flow_id: str = "f", stage: Stage = Stage.STATE, **fields: Any) -> Flow:
    known = {"server_id": "s", "owner": "user:alice", "expires_at": NOW + MINUTE, "payload": {"verifier": "canary-v"}}
    return Flow(flow_id=flow_id, stage=stage, **{**known, **fields})


def held(**fields: Any) -> Held:
    known = {"server_id": "s", "owner": "user:alice", "kind": TokenKind.USER, "payload": {"access_token": "canary-t"}}
    return Held(**{**known, "updated_at": NOW, **fields})


async def test_a_state_is_taken_once(flows: FlowStore) -> None:
    await flows.put(flow())

    taken = await asyncio.gather(*(flows.take("f", Stage.STATE, NOW) for _ in range(5)))

    assert [each for each in taken if each is not None] == [flow()]
    assert await flows.get("f", Stage.STATE, NOW) is None


async def test_a_flow_of_another_stage_or_that_has_ended_is_none(flows: FlowStore) -> None:
    await flows.put(flow())

    assert await flows.take("f", Stage.CODE, NOW) is None
    assert await flows.get("f", Stage.STATE, NOW + MINUTE) is None
    assert await flows.take("f", Stage.STATE, NOW + MINUTE) is None
    assert await flows.take("f", Stage.STATE, NOW) is None, "an expired one is taken away too"


async def test_a_code_is_used_once_and_its_coming_again_ends_the_login(flows: FlowStore, tokens: TokenStore) -> None:
    await flows.put(flow("c", Stage.CODE))
    used = await asyncio.gather(*(flows.use("c", NOW, NOW + MINUTE) for _ in range(5)))
    assert len([each for each in used if each is not None]) == 1
    assert await tokens.put(held(payload={"grant": "c"}), AUDIT, code_id="c")

    assert await tokens.replayed("c", AUDIT)

    assert await tokens.get("s", "user:alice", TokenKind.USER) is None
    assert not await tokens.put(held(payload={"grant": "c"}), AUDIT, code_id="c"), "nor is it stored afterwards"
    assert not await tokens.replayed("unknown", AUDIT)


async def test_a_later_login_outlives_an_earlier_code_that_comes_again(flows: FlowStore, tokens: TokenStore) -> None:
    await flows.put(flow("c", Stage.CODE))
    await flows.use("c", NOW, NOW + MINUTE)
    await tokens.put(held(payload={"grant": "later"}), AUDIT)

    await tokens.replayed("c", AUDIT)

    assert await tokens.get("s", "user:alice", TokenKind.USER) is not None


async def test_a_lease_has_one_holder_until_it_is_given_back_or_overdue(flows: FlowStore) -> None:
    leases = [flow("l", Stage.LEASE, owner=f"worker-{n}") for n in range(5)]

    won = await asyncio.gather(*(flows.lease(each, NOW) for each in leases))

    assert sum(won) == 1
    winner = leases[won.index(True)]
    loser = next(each for each in leases if each is not winner)
    await flows.release(loser)
    assert not await flows.lease(loser, NOW), "who does not hold it cannot give it back"
    await flows.release(winner)
    assert await flows.lease(loser, NOW)
    assert await flows.lease(winner, NOW + MINUTE), "an overdue holder loses it"


async def test_clients_are_counted_per_owner_and_server(flows: FlowStore) -> None:
    quota = Quota(alive=3, recent=2, window=MINUTE, lifetime=timedelta(days=1))

    async def register(n: int, at: datetime, owner: str = "user:alice") -> None:
        client = flow(f"{owner}-{n}", Stage.CLIENT, owner=owner, expires_at=at + quota.lifetime)
        await flows.register(client, quota, at, AUDIT)

    await register(1, NOW)
    await register(2, NOW)
    with pytest.raises(TooManyRequests, match="just now"):
        await register(3, NOW)
    await register(3, NOW, owner="user:bob")
    await register(4, NOW + 2 * MINUTE)
    with pytest.raises(TooManyRequests, match="registered for this key"):
        await register(5, NOW + 4 * MINUTE)
    await register(6, NOW + timedelta(days=2))


async def test_only_the_version_that_was_read_is_replaced(tokens: TokenStore) -> None:
    await tokens.put(held(), AUDIT)
    read = await tokens.get("s", "user:alice", TokenKind.USER)
    assert read is not None

    assert await tokens.replace(read)
    assert not await tokens.replace(read)
    assert not await tokens.remove("s", "user:alice", TokenKind.USER, AUDIT, version=read.version)
    assert await tokens.remove("s", "user:alice", TokenKind.USER, AUDIT)
    assert not await tokens.replace(read), "what was removed does not come back"


async def test_the_first_registration_is_everybodys(tokens: TokenStore) -> None:
    first = held(owner="", kind=TokenKind.CLIENT, payload={"client": "first"})
    second = held(owner="", kind=TokenKind.CLIENT, payload={"client": "second"})

    assert (await tokens.add(first, AUDIT)).payload == {"client": "first"}
    assert (await tokens.add(second, AUDIT)).payload == {"client": "first"}
    assert (await tokens.add(second, AUDIT, instead_of=1)).payload == {"client": "second"}


async def test_what_has_ended_is_forgotten(flows: FlowStore, tokens: TokenStore) -> None:
    await flows.put(flow("old"))
    await flows.put(flow("new", expires_at=NOW + 3 * MINUTE))
    await tokens.put(held(owner="user:staged", expires_at=NOW), AUDIT)
    await tokens.put(held(), AUDIT)

    assert await flows.prune(NOW + 2 * MINUTE) == 1
    assert await tokens.prune(NOW + 2 * MINUTE) == 1
    assert await flows.get("new", Stage.STATE, NOW) is not None
    assert [each.owner for each in await tokens.of_owner("user:alice")] == ["user:alice"]


async def test_secrets_are_sealed(database: Database, database_url: str, flows: FlowStore, tokens: TokenStore) -> None:
    await flows.put(flow())
    await tokens.put(held(), AUDIT)

    for table in ("routeiq_oauth_flow", "routeiq_oauth_token"):
        assert "canary" not in repr(sql(database_url, f"SELECT * FROM {table}"))
    assert "canary" not in repr(flow()) + repr(held())
    with pytest.raises(CannotOpen):
        await FlowStore(database, OTHER_SEALER).get("f", Stage.STATE, NOW)
    with pytest.raises(CannotOpen):
        await TokenStore(database, OTHER_SEALER).get("s", "user:alice", TokenKind.USER)
    assert await TokenStore(database, OTHER_SEALER).of_owner("user:alice") == ()

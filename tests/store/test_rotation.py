"""A new sealing key: everything or nothing, and what cannot be opened is named."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlmodel import select

from routeiq_plugin.store.agents import AgentStore
from routeiq_plugin.store.audit import AuditLog
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.mcp_servers import McpServerRecord, McpServerStore
from routeiq_plugin.store.rotation import SEALED, Rotation, rotate, unreadable
from routeiq_plugin.store.tables import OAuthFlowRow, OAuthTokenRow, Table
from tests.store.parts import OTHER_SEALER, SEALER, AESSealer, agent, entry, following

pytestmark = pytest.mark.requirement("PKG-03")

LOST_SEALER = AESSealer(b"c" * 32)


async def test_rotation_reseals_names_and_records(database: Database, agents: AgentStore) -> None:
    secrets = {"litellm_params": {"k": "s"}, "static_headers": {"h": "s"}, "kill_switch": {"u": "s"}}
    await agents.create(agent("old", **secrets), entry())
    await agents.create(agent("plain"), entry())
    await AgentStore(database, OTHER_SEALER).create(agent("new", static_headers={"h": "n"}), entry())
    await AgentStore(database, LOST_SEALER).create(agent("lost", static_headers={"h": "l"}), entry())
    assert await unreadable(database, SEALER) == ("agent lost", "agent new")

    async with following(database) as follower:
        await follower.next()
        done = await rotate(database, SEALER, OTHER_SEALER, actor="ops")
        assert done == Rotation(resealed=1, skipped=("agent new",), unreadable=("agent lost",))
        assert [(change.object_id, change.op) for change in await follower.changes(1)] == [("id-old", "reseal")]

    found = await AgentStore(database, OTHER_SEALER).get("id-old")
    assert found is not None
    assert {name: getattr(found, name) for name in secrets} == secrets
    assert found.version == 1
    stale = await agents.get("id-old")
    assert stale is not None
    assert stale.unreadable
    lost = await AgentStore(database, LOST_SEALER).get("id-lost")
    assert lost is not None
    assert lost.static_headers == {"h": "l"}
    assert await unreadable(database, OTHER_SEALER) == ("agent lost",)
    record = (await AuditLog(database).page(limit=1))[0]
    assert (record.actor, record.action, record.object_id) == ("ops", "secrets.rotate", OTHER_SEALER.key_id)
    assert record.details["unreadable"] == ["agent lost"]


async def test_rotation_again_is_harmless(database: Database, agents: AgentStore) -> None:
    await agents.create(agent("a", static_headers={"h": "s"}), entry())
    assert (await rotate(database, SEALER, OTHER_SEALER)).resealed == 1
    assert await rotate(database, SEALER, OTHER_SEALER) == Rotation(resealed=0, skipped=("agent a",))


async def test_a_rotation_that_fails_half_way_changes_nothing(database: Database, agents: AgentStore) -> None:
    class Failing(AESSealer):
        sealed = 0

        def seal(self, plain: str) -> str:
            self.sealed += 1
            if self.sealed > 2:
                raise RuntimeError("no more")
            return super().seal(plain)

    for number in range(4):
        await agents.create(agent(f"a{number}", static_headers={"h": str(number)}), entry())
    with pytest.raises(RuntimeError, match="no more"):
        await rotate(database, SEALER, Failing(b"d" * 32))
    assert [record.static_headers["h"] for record in await agents.all()] == ["0", "1", "2", "3"]
    assert await unreadable(database, SEALER) == ()


def test_every_table_that_seals_is_known() -> None:
    sealing = {table.name for table in Table.metadata.tables.values() if "sealed_with" in table.columns}
    assert {kind.table.__tablename__ for kind in SEALED} == sealing


async def test_servers_and_logins_are_sealed_anew_as_well(database: Database) -> None:
    now = datetime.now(UTC)
    sealed = {"payload": SEALER.seal('{"t": 1}'), "sealed_with": SEALER.key_id}
    servers = McpServerStore(database, SEALER)
    record = McpServerRecord(
        server_id="s", config={"alias": "tools"}, secrets={"env": {"A": "b"}}, created_at=now, updated_at=now
    )
    await servers.create(record, entry())
    async with database.write() as unit:
        flow = {"flow_id": "f", "kind": "state", "server_id": "s", "owner": "alice", "expires_at": now}
        token = {"server_id": "s", "owner": "alice", "kind": "token", "updated_at": now, "version": 1}
        unit.session.add_all([OAuthFlowRow(**flow, **sealed), OAuthTokenRow(**token, **sealed)])
    names = ("MCP server tools", "login at MCP server s", "token of alice for MCP server s")
    assert await unreadable(database, OTHER_SEALER) == names

    async with following(database) as follower:
        await follower.next()
        assert (await rotate(database, SEALER, OTHER_SEALER)).resealed == 3
        assert [(change.kind, change.object_id) for change in await follower.changes(1)] == [("mcp_server", "s")]
    assert await unreadable(database, OTHER_SEALER) == ()
    found = await McpServerStore(database, OTHER_SEALER).get("s")
    assert found is not None
    assert found.secrets == {"env": {"A": "b"}}

    await McpServerStore(database, OTHER_SEALER).delete("s", None, entry())
    async with database.read() as session:
        for table in (OAuthFlowRow, OAuthTokenRow):
            assert (await session.exec(select(table))).all() == [], "logins go with their server"

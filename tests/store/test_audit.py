"""The trail: complete, paged, and closed to edits on both databases."""

from __future__ import annotations

import pytest

from routeiq_plugin.errors import Conflict
from routeiq_plugin.store.agents import AgentStore
from routeiq_plugin.store.audit import AuditEntry, AuditLog
from routeiq_plugin.store.engine import Database
from tests.store.parts import agent, entry, sql

pytestmark = pytest.mark.requirement("PKG-03")


async def test_entries_come_back_newest_first_by_page(database: Database) -> None:
    log = AuditLog(database)
    for number in range(5):
        await log.append(entry(f"step.{number}", object_id=f"o{number % 2}"))
    first = await log.page(limit=2)
    assert [record.action for record in first] == ["step.4", "step.3"]
    assert [record.action for record in await log.page(before=first[-1].id)] == ["step.2", "step.1", "step.0"]
    assert [record.action for record in await log.page(object_id="o1")] == ["step.3", "step.1"]


async def test_an_entry_is_kept_whole_with_its_change(database: Database, agents: AgentStore) -> None:
    what = AuditEntry(
        actor=None,
        action="agent.create",
        object_kind="agent",
        object_id="id-a",
        request_id="req",
        details={"fields": ["card"]},
    )
    await agents.create(agent("a"), what)
    (record,) = await AuditLog(database).page()
    assert {name: getattr(record, name) for name in AuditEntry.__slots__} == {
        name: getattr(what, name) for name in AuditEntry.__slots__
    }
    assert record.revision == 1
    assert record.at.utcoffset() is not None


async def test_a_refused_change_leaves_no_entry(database: Database, agents: AgentStore) -> None:
    await agents.create(agent("a"), entry())
    with pytest.raises(Conflict):
        await agents.create(agent("a", agent_id="b"), entry())
    assert len(await AuditLog(database).page()) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE routeiq_audit SET actor = 'mallory'",
        "DELETE FROM routeiq_audit",
        "TRUNCATE routeiq_audit",
        "INSERT OR REPLACE INTO routeiq_audit (id, at, revision, action, object_kind, object_id, details)"
        " SELECT id, at, revision, 'nothing', object_kind, object_id, details FROM routeiq_audit",
    ],
    ids=["update", "delete", "truncate", "replace"],
)
async def test_nobody_edits_the_trail(database_url: str, database: Database, statement: str) -> None:
    if (database.kind == "sqlite") == statement.startswith("TRUNCATE") or (
        database.kind == "postgresql" and "OR REPLACE" in statement
    ):
        pytest.skip("not in this database's SQL")
    await AuditLog(database).append(entry())
    before = await AuditLog(database).page()
    with pytest.raises(Exception, match="append-only"):
        sql(database_url, statement)
    assert await AuditLog(database).page() == before

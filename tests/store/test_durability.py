"""What was answered is there after kill -9, and no secret is readable at rest."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from routeiq_plugin.store.agents import AgentStore
from routeiq_plugin.store.audit import AuditLog
from routeiq_plugin.store.engine import Database
from tests.store.parts import SEALER, agent, entry, opened, sql
from tests.support.processes import REPOSITORY, clean_environment

pytestmark = pytest.mark.requirement("A2A-02")

CANARIES = ("canary-params-7f3a", "canary-header-91bc", "canary-switch-55de")


async def test_kill_9_right_after_a_commit(database_url: str) -> None:
    announced = _write_until_killed(database_url)
    async with opened(database_url) as database:
        store = AgentStore(database, SEALER)
        found = {record.agent_name: record for record in await store.all()}
        assert announced[:2] == ["a0", "a1"]
        assert set(announced) <= set(found)
        assert all(record.static_headers == {"x-key": "canary"} for record in found.values())
        # Each agent came with its revision and its audit entry, or not at all.
        assert sql(database_url, "SELECT revision FROM routeiq_revision") == [(len(found),)]
        assert len(await AuditLog(database).page(limit=1_000_000)) == len(found)
        await store.create(agent("after"), entry())


def _write_until_killed(url: str) -> list[str]:
    """Let a child create agents, kill it in the middle, and return the names that it said were stored."""
    command = (sys.executable, "-m", "tests.store.child", "write", url)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=clean_environment()) as child:
        assert child.stdout is not None
        announced = [child.stdout.readline().strip() for _ in range(5)]
        child.kill()
        return announced + child.stdout.read().split("\n")[:-1]  # whole lines only


async def test_secrets_are_nowhere_readable(database_url: str, database: Database, agents: AgentStore) -> None:
    created = await agents.create(
        agent(
            "weather",
            litellm_params={"api_key": CANARIES[0]},
            static_headers={"authorization": f"Bearer {CANARIES[1]}"},
            kill_switch={"headers": {"x-key": CANARIES[2]}},
        ),
        entry(),
    )
    await agents.replace(replace(created, is_public=True), 1, entry("agent.update"))
    at_rest = b"".join(_at_rest(database_url, database))
    assert b"id-weather" in at_rest
    assert SEALER.key_id.encode() in at_rest
    for canary in CANARIES:
        assert canary.encode() not in at_rest
    found = await agents.get("id-weather")
    assert found is not None
    assert found.litellm_params == {"api_key": CANARIES[0]}


def _at_rest(url: str, database: Database) -> list[bytes]:
    """Every byte that the database keeps: its files, or all rows of all our tables."""
    path = database.location.path
    if path is not None:
        files = [Path(f"{path}{suffix}") for suffix in ("", "-wal", "-shm")]
        assert all(file.exists() for file in files)
        return [file.read_bytes() for file in files]
    tables = sql(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert ("routeiq_agent",) in tables
    return [str(row[0]).encode() for (table,) in tables for row in sql(url, f"SELECT t::text FROM {table} t")]

"""The schema: made once however many start, there and back, and never touched by an older version."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from routeiq_plugin.store import schema
from routeiq_plugin.store.agents import AgentStore
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.status import status
from routeiq_plugin.store.tables import Table
from tests.store.parts import SEALER, agent, entry, opened, sql
from tests.support.processes import REPOSITORY, clean_environment

pytestmark = pytest.mark.requirement("PKG-02")


def test_two_processes_may_start_at_once(database_url: str) -> None:
    command = (sys.executable, "-m", "tests.store.child", "migrate", database_url)
    children = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env=clean_environment(),
        )
        for _ in range(2)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    with ThreadPoolExecutor() as pool:
        outputs = list(pool.map(lambda child: child.communicate("go\n"), children))
    assert outputs == [("open\n", "")] * 2
    assert sql(database_url, f"SELECT version_num FROM {schema.VERSION_TABLE}") == [(schema.HEAD,)]
    assert sql(database_url, "SELECT count(*) FROM routeiq_meta") == [(1,)]


async def test_up_down_and_up_again(database_url: str, database: Database) -> None:
    await AgentStore(database, SEALER).create(agent("a"), entry())
    await database.migrate("base")
    assert await database.schema_revision() is None
    tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
    if database.kind == "sqlite":
        tables = "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND type IN ('table', 'trigger')"
    assert sql(database_url, tables) == [(schema.VERSION_TABLE,)]
    await database.migrate()
    assert await database.schema_revision() == schema.HEAD
    assert await AgentStore(database, SEALER).all() == ()


async def test_a_newer_schema_is_refused_untouched(database_url: str) -> None:
    async with opened(database_url):
        pass
    sql(database_url, f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'")
    database = Database(database_url)
    with pytest.raises(schema.SchemaTooNew, match=r"'9999'.*install the newer"):
        await database.open()
    with pytest.raises(schema.SchemaTooNew):
        await AgentStore(database, SEALER).all()
    with pytest.raises(schema.SchemaTooNew):
        await database.migrate()
    found = await status(database)
    assert not found.reachable
    assert "9999" in str(found.error)
    await database.close()


async def test_a_failed_migration_leaves_nothing_behind(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sql(database_url, "CREATE TABLE routeiq_meta (mine TEXT)")
    database = Database(database_url)
    with pytest.raises(Exception, match="unavailable"):
        await database.open()
    await database.close()
    sql(database_url, "DROP TABLE routeiq_meta")
    async with opened(database_url) as healed:
        assert await healed.schema_revision() == schema.HEAD


async def test_migrations_make_what_the_tables_say(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        options = {
            "version_table": schema.VERSION_TABLE,
            "compare_type": True,
            "include_name": lambda name, kind, _: kind != "table" or str(name).startswith("routeiq_"),
        }
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), Table.metadata))

    async with database.read() as session:
        assert await (await session.connection()).run_sync(differences) == []


def test_known_revisions_are_those_on_disk() -> None:
    scripts = ScriptDirectory.from_config(schema.config())
    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(schema.REVISIONS)


def test_every_table_has_our_prefix() -> None:
    assert Table.metadata.tables
    assert all(name.startswith("routeiq_") for name in Table.metadata.tables)


def test_a_users_tables_stay_apart() -> None:
    from sqlmodel import SQLModel

    assert not any(name.startswith("routeiq_") for name in SQLModel.metadata.tables)


def test_a_start_without_work_imports_neither_alembic_nor_psycopg(database_url: str) -> None:
    code = (
        "import asyncio, sys; from tests.store.parts import opened\n"
        "async def main():\n async with opened(sys.argv[1]): pass\n"
        "[sys.modules.pop(name) for name in list(sys.modules) if name.startswith('psycopg')]\n"
        "asyncio.run(main()); print(sorted({'alembic', 'psycopg'} & set(sys.modules)))"
    )
    if not database_url.startswith("sqlite"):
        pytest.skip("psycopg is needed there, and alembic is the same")
    found = []
    for _ in range(2):
        done = subprocess.run(
            (sys.executable, "-c", code, database_url),
            capture_output=True,
            text=True,
            check=True,
            cwd=REPOSITORY,
            env=clean_environment(),
        )
        found.append(done.stdout.strip())
    assert found == ["['alembic']", "[]"]

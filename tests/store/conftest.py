from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from routeiq_plugin.store.agents import AgentStore
from routeiq_plugin.store.engine import Database
from tests.store.parts import SEALER, opened
from tests.support import postgres


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[None]:
    with postgres.postgres():
        yield


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that nobody has opened yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/routeiq.db"
    request.getfixturevalue("postgresql_server")
    return postgres.create_database()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url) as database:
        yield database


@pytest.fixture
def agents(database: Database) -> AgentStore:
    return AgentStore(database, SEALER)

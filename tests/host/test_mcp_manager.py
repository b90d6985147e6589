"""Servers of ours in LiteLLM's manager, where LiteLLM runs on a database of its own and reloads from it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest

from routeiq_plugin.host.mcp_manager import Manager, manager

pytestmark = pytest.mark.requirement("MCP-01")

NOW = datetime.now(UTC)
FIELDS: dict[str, Any] = {
    "server_id": "ours",
    "server_name": "ours",
    "alias": "ours",
    "url": "http://127.0.0.1:9/mcp",
    "transport": "http",
    "auth_type": "bearer_token",
    "credentials": {"auth_value": "plain"},
    "updated_at": NOW,
}


@pytest.fixture
def with_database(monkeypatch: pytest.MonkeyPatch, proxy_server: ModuleType) -> Iterator[None]:
    """Stand in for Prisma, whose engine the tests cannot have, under LiteLLM's real snapshots and reloads."""

    async def revision(_client: object) -> int:
        return 1

    async def rows(_client: object) -> list[object]:
        return []

    async def nothing(*_: object, **__: object) -> None:
        return None

    db = importlib.import_module("litellm.proxy._experimental.mcp_server.db")
    monkeypatch.setenv("LITELLM_SALT_KEY", "sk-salt-key-of-these-tests")
    monkeypatch.setattr(proxy_server, "prisma_client", object())
    monkeypatch.setattr(db, "get_mcp_catalog_revision", revision)
    monkeypatch.setattr(db, "get_runtime_mcp_server_rows", rows)
    monkeypatch.setattr(manager(), "hydrate_config_servers_dcr_clients", nothing)
    yield
    for servers in (manager().registry, manager().config_mcp_servers):
        servers.pop("ours", None)


async def seen() -> list[str]:
    """List what a request to LiteLLM's own paths would find."""
    async with manager().catalog.operation() as snapshot:
        return list(snapshot.servers)


@pytest.mark.usefixtures("with_database")
async def test_a_fed_server_is_in_every_snapshot_and_outlives_reloads() -> None:
    ours = Manager()
    await ours.feed(FIELDS)
    assert await seen() == ["ours"]
    assert ours.holds("ours", NOW)
    await manager().reload_servers_from_database()
    assert await seen() == ["ours"]
    assert ours.holds("ours", NOW)

    later = datetime.now(UTC)
    await ours.feed({**FIELDS, "alias": "renamed", "updated_at": later})
    assert ours.holds("ours", later)
    assert not ours.holds("ours", NOW)
    async with manager().catalog.operation() as snapshot:
        assert (snapshot.servers["ours"].alias, snapshot.servers["ours"].authentication_token) == ("renamed", "plain")

    await ours.drop(FIELDS)
    assert await seen() == []
    assert ours.find_stock("renamed", ()) is None

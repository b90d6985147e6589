"""Servers of every kind behind one endpoint, two of them alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.mcp import servers
from tests.mcp.aggregate.world import World
from tests.mcp.conftest import CONFIG_SERVER
from tests.mcp.servers import Server
from tests.support.mcp_backends import Speaks, mcp_server
from tests.support.proxy import Proxy

REFERENCE = "tests.mcp.conformance.reference"


@pytest.fixture(scope="package")
def world(relaying: Proxy, upstream: Server) -> Iterator[World]:
    """Everything, running."""
    with ExitStack() as stack:
        client = stack.enter_context(relaying.client())
        urls = {name: stack.enter_context(servers.module_server(REFERENCE)) for name in ("left", "right")}
        made = {name: servers.created(client, name, url) for name, url in urls.items()}
        for speaks in (Speaks.SESSIONS, Speaks.STATELESS, Speaks.SSE):
            backend = stack.enter_context(mcp_server(speaks, name=speaks.value))
            name = f"only_{speaks.value}"
            made[name] = servers.created(client, name, backend.url, transport=backend.transport)
        made["dead"] = servers.created(client, "dead")
        yield World(relaying, made, client)
        for each in made.values():
            client.delete(servers.path(each["server_id"]))


@pytest.fixture(scope="session")
def config_server() -> str:
    """Name of the server that LiteLLM's config declares."""
    return CONFIG_SERVER

"""Proxies for the servers' tests: the shared one on SQLite, and one on PostgreSQL that has a server in its config."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx
import pytest

from tests.conftest import PLUGIN_CONFIG
from tests.mcp import servers
from tests.mcp.servers import Server
from tests.mcp.tool_user import ToolUser
from tests.support import processes
from tests.support.postgres import create_database
from tests.support.proxy import Proxy, merge, running_proxy
from tests.support.threaded import serving

CONFIG_SERVER: Final = "from_the_config"

Create = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def upstream() -> Iterator[Server]:
    """A server that speaks streamable HTTP and lets everybody in."""
    with servers.server() as running:
        yield running


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory, postgres_url: str, upstream: Server) -> Iterator[Proxy]:
    """A proxy on PostgreSQL with a server in LiteLLM's config, the registry for discovery, and processes allowed."""
    assert postgres_url
    config = merge(
        PLUGIN_CONFIG,
        {
            "routeiq": {"database_url": create_database(), "mcp": {"stdio": True}},
            "general_settings": {"enable_mcp_registry": True},
            "mcp_servers": {CONFIG_SERVER: {"url": upstream.url, "transport": "http", "access_groups": ["of_config"]}},
        },
    )
    workdir = tmp_path_factory.mktemp("furnished")
    with running_proxy(workdir, config=config, env={"LITELLM_ENABLE_MCP_STDIO": "true"}) as running:
        yield running


@pytest.fixture(scope="session")
def relaying(tmp_path_factory: pytest.TempPathFactory, upstream: Server) -> Iterator[Proxy]:
    """A proxy of two workers with a model that uses tools, and a server in LiteLLM's config.

    Shared: register servers of your own, and use keys that name them.
    """
    workdir, port = tmp_path_factory.mktemp("relaying"), processes.free_port()
    own = {"public_url": f"http://127.0.0.1:{port}"}
    with serving(ToolUser()) as model:
        declared = {CONFIG_SERVER: {"url": upstream.url, "transport": "http"}}
        config = merge(PLUGIN_CONFIG, {"routeiq": own, "model_list": [model.deployment], "mcp_servers": declared})
        with running_proxy(workdir, config=config, workers=2, port=port) as running:
            yield running


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def gateway(request: pytest.FixtureRequest) -> Proxy:
    """Each database in turn."""
    running: Proxy = request.getfixturevalue({"sqlite": "proxy", "postgresql": "furnished"}[request.param])
    return running


@pytest.fixture(scope="session")
def client(gateway: Proxy) -> Iterator[httpx.Client]:
    """An administrator's client of `gateway`."""
    with gateway.client() as opened:
        yield opened


@pytest.fixture
def create(client: httpx.Client) -> Iterator[Create]:
    """Register a server that is gone after the test: `create(name, url, **fields)` returns the answer."""
    made: list[str] = []

    def register(name: str | None = None, url: str = servers.NOWHERE, **fields: Any) -> dict[str, Any]:
        answer = servers.created(client, name, url, **fields)
        made.append(answer["server_id"])
        return answer

    yield register
    for server_id in made:
        assert client.delete(servers.path(server_id)).status_code in (202, 404)

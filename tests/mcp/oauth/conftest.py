"""Two workers on one database, and an authorization server with an MCP server behind it; one of each per session."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.mcp.oauth.flow import Client, Pair
from tests.support import processes
from tests.support.oauth_server import Upstream, oauth_server
from tests.support.proxy import merge, running_proxy

Register = Callable[..., str]
DECLARED = "declared"
"""A server of LiteLLM's own."""


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory, shared_upstream: Upstream) -> Iterator[Pair]:
    """Two workers that share a file."""
    directory = tmp_path_factory.mktemp("pair")
    with two_workers(directory, f"sqlite:///{directory / 'shared.db'}", shared_upstream) as running:
        yield running


@contextmanager
def two_workers(directory: Path, database_url: str, upstream: Upstream) -> Iterator[Pair]:
    """Two proxies that share database, sealing key and public address; LiteLLM's config declares a server as well."""
    port = processes.free_port()
    master_key = f"sk-{secrets.token_hex(24)}"
    declared = {"url": upstream.url, "transport": "http", "auth_type": "oauth2", "allow_all_keys": True}
    config = {
        "mcp_servers": {DECLARED: {**declared, "oauth2_flow": "authorization_code"}},
        "routeiq": {
            "database_url": database_url,
            "public_url": f"http://127.0.0.1:{port}",
            "outbound": {"allowed_hosts": ["127.0.0.1"]},
        },
    }
    env = {"LITELLM_SALT_KEY": f"sk-{secrets.token_hex(24)}", "LITELLM_LOG": "DEBUG"}
    with (
        running_proxy(directory / "a", config=config, env=env, port=port, master_key=master_key) as a,
        running_proxy(directory / "b", config=config, env=env, master_key=master_key) as b,
    ):
        yield Pair(a, b, directory, database_url)


@pytest.fixture(scope="session")
def shared_upstream() -> Iterator[Upstream]:
    """The authorization server; use `upstream`."""
    with oauth_server() as running:
        yield running


@pytest.fixture
def upstream(shared_upstream: Upstream) -> Upstream:
    """The authorization server, with every knob as it should be."""
    shared_upstream.turn()
    return shared_upstream


@pytest.fixture
def register(pair: Pair, upstream: Upstream) -> Iterator[Register]:
    """Register servers, which are gone after the test: `register()`, `register(issuer=...)`."""
    made: list[str] = []

    def create(**fields: Any) -> str:
        name = f"s{secrets.token_hex(6)}"
        body = {
            "server_name": name,
            "alias": name,
            "url": upstream.url,
            "transport": "http",
            "auth_type": "oauth2",
            "oauth2_flow": "authorization_code",
            "allow_all_keys": True,
        }
        answer = pair.call("POST", "/v1/mcp/server", json=merge(body, fields))
        assert answer.status_code == 201, answer.text
        made.append(name)
        return name

    yield create
    for name in made:
        pair.call("DELETE", f"/v1/mcp/server/{name}")


@pytest.fixture
def server(register: Register) -> str:
    """A server at which users log in, by name; every key may use it."""
    return register()


@pytest.fixture
def client(pair: Pair) -> Iterator[Client]:
    """Alice, with a key of her own."""
    made = Client(pair, pair.add_key(user_id=f"alice-{secrets.token_hex(4)}"))
    with made.browser:
        yield made


@pytest.fixture
def other(pair: Pair) -> Iterator[Client]:
    """Mallory, with another."""
    made = Client(pair, pair.add_key(user_id=f"mallory-{secrets.token_hex(4)}"), person="mallory")
    with made.browser:
        yield made

"""Servers' secrets: they reach the upstream, survive what clients send back, and are readable nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx
import pytest
from psycopg import sql

from tests.mcp import servers
from tests.mcp.conftest import Create
from tests.mcp.servers import MARKER, Server, path
from tests.support.postgres import execute
from tests.support.proxy import Proxy

TOKEN: Final = "canary-token-6b1f"
HEADER: Final = "canary-header-0c9e"
VARIABLE: Final = "canary-variable-77aa"
ENVIRONMENT: Final = "canary-environment-e51d"
CLIENT: Final = "canary-client-secret-4d2b"
CANARIES: Final = (TOKEN, HEADER, VARIABLE, ENVIRONMENT, CLIENT)


@pytest.fixture(scope="module")
def strict() -> Iterator[Server]:
    """A server that answers only requests that carry both secrets."""
    with servers.server(require={"authorization": f"Bearer {TOKEN}", "x-static": HEADER}) as running:
        yield running


def fields() -> dict[str, Any]:
    """Build every kind of secret that a server can be given."""
    return {
        "auth_type": "bearer_token",
        "credentials": {"auth_value": TOKEN, "client_secret": CLIENT, "scopes": ["told"]},
        "static_headers": {"X-Static": HEADER},
        "env": {"SECRET": ENVIRONMENT},
        "env_vars": [
            {"name": "GLOBAL", "value": VARIABLE, "scope": "global"},
            {"name": "OWN", "value": "a hint", "scope": "user"},
        ],
    }


def works(client: httpx.Client, made: Mapping[str, Any]) -> bool:
    """Tell whether LiteLLM gets at the server's tools, and we at the server."""
    listed = client.get("/mcp-rest/tools/list", params={"server_id": made["server_id"]}).json()
    health = client.get("/v1/mcp/server/health", params={"server_ids": made["server_id"]}).json()
    both = bool(listed.get("tools")), health[0]["status"] == "healthy"
    assert len(set(both)) == 1, both
    return both[0]


@pytest.mark.requirement("MCP-03")
def test_administrators_read_the_marker_and_what_is_no_secret(client: httpx.Client, create: Create) -> None:
    made = create(**fields())
    assert made["credentials"] == {"scopes": ["told"]}
    assert made["static_headers"] == {"X-Static": MARKER}
    assert made["env"] == {"SECRET": MARKER}
    assert [(each["name"], each["value"]) for each in made["env_vars"]] == [("GLOBAL", MARKER), ("OWN", "a hint")]


@pytest.mark.requirement("MCP-04")
@pytest.mark.parametrize(
    "change",
    [
        {"description": "x"},
        {"static_headers": {"X-Static": MARKER, "X-More": "1"}},
        {"credentials": {"scopes": ["more"]}},
        {"credentials": {}},
        {"env_vars": [{"name": "GLOBAL", "value": MARKER}]},
        {"env": {"SECRET": MARKER}},
    ],
    ids=str,
)
def test_the_marker_and_what_is_left_out_keep_a_secret(
    client: httpx.Client, create: Create, strict: Server, change: Mapping[str, Any]
) -> None:
    made = create(url=strict.url, **fields())
    assert works(client, made)
    assert client.put(path(made["server_id"]), json=change).status_code == 202
    assert works(client, made)


@pytest.mark.requirement("MCP-04")
@pytest.mark.parametrize(
    "change",
    [
        {"credentials": {"auth_value": "another"}},
        {"credentials": None},
        {"auth_type": "api_key"},
        {"static_headers": {"X-Static": "another"}},
        {"static_headers": None},
        {"static_headers": {"X-Other": MARKER}},
    ],
    ids=str,
)
def test_a_new_value_replaces_a_secret_at_once(
    client: httpx.Client, create: Create, strict: Server, change: Mapping[str, Any]
) -> None:
    made = create(url=strict.url, **fields())
    assert works(client, made)
    assert client.put(path(made["server_id"]), json=change).status_code == 202
    assert not works(client, made)
    given = {name: fields()[name] for name in ("auth_type", "credentials", "static_headers")}
    assert client.put(path(made["server_id"]), json=given).status_code == 202
    assert works(client, made)


@pytest.mark.requirement("MCP-02", "PKG-02")
def test_a_secret_is_readable_nowhere(gateway: Proxy, client: httpx.Client, create: Create, strict: Server) -> None:
    told: list[str] = []
    made = create(url=strict.url, **fields())
    own = path(made["server_id"])
    wrong: list[dict[str, Any]] = [
        {"static_headers": HEADER},
        {"static_headers": {"X-Static": {"inner": HEADER}}},
        {"static_headers": {"X-Static": f"{HEADER}\n"}},
        {"credentials": TOKEN},
        {"credentials": {"auth_value": f"{TOKEN}\n"}},
        {"credentials": {"auth_value": [TOKEN]}},
        {"env": {"SECRET": [ENVIRONMENT]}},
        {"env_vars": [{"name": [VARIABLE], "value": VARIABLE}]},
    ]
    for change in wrong:
        answer = client.put(own, json=change)
        assert answer.status_code == 422, answer.text
        told.append(answer.text)
        told.append(client.post("/v1/mcp/server", json={**servers.body(), **change}).text)
    told.append(client.post("/v1/mcp/server", content=f'{{"static_headers": "{HEADER}"'.encode()).text)
    unreachable = create(**fields())
    for response in (
        client.put(own, json={"description": "x"}),
        client.put(own, json=fields()),
        client.get("/v1/mcp/server"),
        client.get("/v1/mcp/server/health"),
        client.get(own),
        client.get(path(unreachable["server_id"])),
        client.get("/mcp-rest/tools/list"),
        client.get("/router/info"),
        client.get("/routeiq/audit", params={"limit": 500}),
    ):
        assert response.status_code < 300, response.text
        told += [response.text, str(response.headers)]
    assert readable("\n".join([*told, str(made)])) == []
    assert readable(gateway.log()) == []
    stored = at_rest(gateway)
    assert made["server_name"] in stored, "we are looking in the right place"
    assert readable(stored) == []


def readable(text: str) -> list[str]:
    """Name the canaries that a text shows."""
    return [canary for canary in CANARIES if canary in text]


def at_rest(proxy: Proxy) -> str:
    """Return all that the proxy's database holds: the bytes of its files, or every row of every table."""
    files = list(proxy.workdir.glob("routeiq.db*"))
    if files:
        return "\n".join(file.read_bytes().decode("latin-1") for file in files)
    url = proxy.launch.config["routeiq"]["database_url"]
    tables = execute(url, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    return "\n".join(
        str(execute(url, sql.SQL("SELECT to_json(t)::text FROM {} t").format(sql.Identifier(name))))
        for (name,) in tables
    )

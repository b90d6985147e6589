"""What the proxy tells of itself and of who changed what, on SQLite and on PostgreSQL."""

from __future__ import annotations

from importlib.metadata import version

import httpx
import pytest

from tests.a2a import registry as agents
from tests.a2a.conftest import Create
from tests.support.proxy import Proxy


@pytest.mark.requirement("PKG-03")
def test_every_write_leaves_a_trail(client: httpx.Client, registry: Proxy) -> None:
    secret = agents.unique("secret")
    headers = {"X-Request-Id": agents.unique("request")}
    agent = client.post("/v1/agents", json=agents.body(static_headers={"X-Secret": secret}), headers=headers).json()
    own = agents.path(agent["agent_id"])
    client.patch(own, json={"tpm_limit": 1}, headers=headers)
    client.put(own, json=agents.body(agent["agent_name"]), headers=headers)
    client.patch(own, json={"colour": 1}, headers=headers)
    client.patch(own, json={"tpm_limit": 2}, headers={"If-Match": '"1"', **headers})
    deputy = registry.add_key(user_id="deputy", user_role="proxy_admin")
    with registry.client(deputy) as other:
        other.delete(own)
    response = client.get("/routeiq/audit", params={"object_id": agent["agent_id"]})
    entries = response.json()["entries"]
    assert [entry["action"] for entry in entries] == ["agent.delete", "agent.update", "agent.patch", "agent.create"]
    assert [entry["actor"] for entry in entries] == ["deputy", *["default_user_id"] * 3]
    assert {entry["request_id"] for entry in entries[1:]} == {headers["X-Request-Id"]}
    assert entries[0]["request_id"], "one is made up when the client sent none"
    assert {entry["object_kind"] for entry in entries} == {"agent"}
    assert entries[2]["details"] == {"agent_name": agent["agent_name"], "fields": ["tpm_limit"]}
    assert sorted((entry["revision"] for entry in entries), reverse=True) == [entry["revision"] for entry in entries]
    assert secret not in response.text


@pytest.mark.requirement("PKG-03")
def test_the_trail_has_pages(client: httpx.Client, create: Create) -> None:
    agent = create()
    for number in range(4):
        client.patch(agents.path(agent["agent_id"]), json={"tpm_limit": number})
    everything = client.get("/routeiq/audit", params={"object_id": agent["agent_id"]}).json()
    assert (len(everything["entries"]), everything["next"]) == (5, None)
    walked, before = [], None
    while True:
        query = {"object_id": agent["agent_id"], "limit": 2} | ({} if before is None else {"before": before})
        page = client.get("/routeiq/audit", params=query).json()
        walked += page["entries"]
        before = page["next"]
        if before is None:
            break
    assert walked == everything["entries"]
    for query in ({"limit": 0}, {"limit": 501}, {"before": 0}, {"limit": "all"}):
        assert client.get("/routeiq/audit", params=query).status_code == 422


@pytest.mark.requirement("PKG-03", "A2A-13")
def test_only_admins_read_the_trail(registry: Proxy) -> None:
    for role in ("internal_user", "proxy_admin_viewer"):
        with registry.client(registry.add_key(user_role=role)) as other:
            response = other.get("/routeiq/audit")
            assert response.status_code == 403
            assert "Only proxy admins" in response.text


@pytest.mark.requirement("RLD-04")
def test_router_info_tells_an_admin_everything(registry: Proxy, client: httpx.Client, create: Create) -> None:
    before = agents.info(registry)
    create()
    told = agents.info(registry)
    assert told["plugin"]["version"]
    assert told["litellm"]["version"] == version("litellm")
    assert told["litellm"]["supported"].startswith(">=")
    assert told["worker"]["pid"] in registry.worker_pids()
    assert told["features"]["a2a"]["state"] == "ready"
    assert told["features"]["a2a"]["agents"] == before["features"]["a2a"]["agents"] + 1
    assert {name: feature["state"] for name, feature in told["features"].items()} == dict.fromkeys(
        ("a2a", "mcp", "routing", "reload"), "ready"
    )
    database = told["database"]
    assert database["kind"] in ("sqlite", "postgresql")
    assert (database["reachable"], database["error"]) == (True, None)
    assert database["revision"] == before["database"]["revision"] + 1
    assert database["url"].startswith(database["kind"])
    assert told["routes"]["shadowed"] == {}
    assert {"GET /v1/agents", "POST /a2a/{agent_id}", "GET /router/info"} <= set(told["routes"]["owned"])


@pytest.mark.requirement("RLD-04", "A2A-13")
def test_router_info_keeps_addresses_and_faults_from_other_keys(registry: Proxy, client: httpx.Client) -> None:
    whole = client.get("/router/info").json()
    with registry.client(registry.add_key()) as other:
        response = other.get("/router/info")
    told = response.json()
    assert response.status_code == 200
    assert told["features"]["a2a"]["state"] == "ready"
    assert told["routes"] == whole["routes"]
    assert told["database"].keys() == whole["database"].keys() - {"url", "error", "follow_error"}
    assert isinstance(told["faults"], dict)
    assert whole["database"]["url"] not in response.text
    assert str(registry.workdir) not in response.text


@pytest.mark.requirement("RLD-04")
def test_the_database_password_is_shown_to_nobody(configured: Proxy, database_url: str) -> None:
    password = httpx.URL(database_url).password
    with configured.client() as opened:
        assert password not in opened.get("/router/info").text
    assert password not in configured.log()


@pytest.mark.requirement("PKG-01", "RLD-04")
def test_our_operations_are_documented(proxy: Proxy) -> None:
    with proxy.client() as opened:  # one database is enough: LiteLLM takes 20 s to build the document
        paths = opened.get("/openapi.json").json()["paths"]
        owned = opened.get("/router/info").json()["routes"]["owned"]
    # The MCP addresses are stock's too, which does not document them; the callback is for browsers alone.
    named = ("/mcp/{server_name}", "/mcp/{server_name}/", "/{server_name}/mcp", "/{server_name}/mcp/")
    addresses = ("/mcp", "/mcp/", *named)
    hidden = {
        "POST /a2a/{agent_id}/",
        "GET /a2a/{agent_id}/.well-known/agent.json",
        "GET /routeiq/oauth/callback",
        *(f"{method} {path}" for method in ("GET", "POST", "DELETE") for path in addresses),
    }
    missing = [each for each in owned if each.split()[0].lower() not in paths.get(each.split()[1], {})]
    assert set(missing) <= hidden
    assert "requestBody" in paths["/v1/agents"]["post"]

"""What others may know: the hub's list, the registry for discovery, and imports of what other software wrote."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Final

import httpx
import pytest

from tests.mcp import servers
from tests.mcp.conftest import CONFIG_SERVER, Create
from tests.mcp.servers import Server, path
from tests.support.proxy import Proxy

REGISTRY: Final = "/v1/mcp/registry.json"


def publish(client: httpx.Client, *references: str) -> httpx.Response:
    return client.post("/v1/mcp/make_public", json={"mcp_server_ids": list(references)})


@pytest.mark.requirement("MCP-11")
def test_publishing_replaces_the_list_and_leaves_the_config_file_alone(furnished: Proxy, upstream: Server) -> None:
    before = furnished.config_path.read_bytes()
    with furnished.client() as client:
        made = servers.created(client, url=upstream.url)
        stock_id = client.get(path(CONFIG_SERVER)).json()["server_id"]
        answer = publish(client, made["server_id"], stock_id)
        assert answer.status_code == 202, answer.text
        assert answer.json() == {
            "message": "Successfully updated public mcp servers",
            "public_mcp_servers": [made["server_id"], stock_id],
            "updated_by": "default_user_id",
        }
        listed = servers.listed(client)
        for server_id in (made["server_id"], stock_id):
            info = listed[server_id]["mcp_info"]
            assert (info["is_public"], info["is_public_explicit"]) == (True, True)
        hub = client.get("/public/mcp_hub")
        assert hub.status_code == 200
        assert {made["server_id"], stock_id} <= {each["server_id"] for each in hub.json()}
        missing = publish(client, stock_id, "no-such-server")
        assert (missing.status_code, missing.json()["detail"]) == (
            404,
            "MCP Server with ID no-such-server not found",
        )
        assert servers.listed(client)[made["server_id"]]["mcp_info"]["is_public"] is True, "nothing half done"
        assert publish(client).status_code == 202
        assert servers.listed(client)[made["server_id"]]["mcp_info"]["is_public"] is False
        assert client.get("/public/mcp_hub").json() == []
        assert client.delete(path(made["server_id"])).status_code == 202
    assert furnished.config_path.read_bytes() == before


@pytest.mark.requirement("MCP-11")
def test_the_registry_is_behind_litellms_flag(proxy: Proxy) -> None:
    for key in (None, proxy.master_key):
        with proxy.client(key) as client:
            answer = client.get(REGISTRY)
            assert (answer.status_code, answer.json()) == (404, {"detail": "MCP registry is not enabled"})


@pytest.mark.requirement("MCP-11")
def test_the_registry_shows_each_caller_what_is_theirs(furnished: Proxy, upstream: Server) -> None:
    with furnished.client() as admin, ExitStack() as stack:
        mine = servers.created(admin, url=upstream.url, description="Says it again")
        published = servers.created(admin, url=upstream.url)
        assert publish(admin, published["server_id"]).status_code == 202
        key = furnished.add_key(object_permission={"mcp_servers": [mine["server_id"]]})
        own = {mine["alias"], published["alias"], CONFIG_SERVER}
        for client, expected in (
            (admin, own),
            (stack.enter_context(furnished.client(key)), {mine["alias"]}),
            (stack.enter_context(furnished.client(None)), {published["alias"]}),
        ):
            answer = client.get(REGISTRY)
            assert answer.status_code == 200, answer.text
            entries = [each["server"] for each in answer.json()["servers"]]
            assert (entries[0]["name"], entries[0]["remotes"]) == (
                "litellm-mcp-server",
                [{"type": "streamable-http", "url": f"{furnished.base_url}/mcp"}],
            )
            assert {entry["name"] for entry in entries[1:]} & own == expected
            assert upstream.url not in answer.text
        found = next(each for each in _entries(admin) if each["name"] == mine["alias"])
        assert found == {
            "name": mine["alias"],
            "title": mine["alias"],
            "description": "Says it again",
            "version": "1.0.0",
            "remotes": [{"type": "streamable-http", "url": f"{furnished.base_url}/{mine['alias']}/mcp"}],
        }
        with furnished.client("sk-nobody-knows-this") as unknown:
            assert unknown.get(REGISTRY).status_code == 401
        assert publish(admin).status_code == 202
        for server in (mine, published):
            assert admin.delete(path(server["server_id"])).status_code == 202


def _entries(client: httpx.Client) -> list[dict[str, Any]]:
    return [each["server"] for each in client.get(REGISTRY).json()["servers"]]


@pytest.mark.requirement("MCP-02")
def test_an_import_tells_of_each_entry(client: httpx.Client, create: Create) -> None:
    known = create()
    names = {word: servers.unique(word) for word in ("good", "bearer", "private")}
    wanted = {
        names["good"]: {"url": servers.NOWHERE, "type": "http"},
        names["bearer"]: {"type": "sse", "url": servers.NOWHERE, "headers": {"Authorization": "Bearer canary"}},
        known["alias"]: {"url": servers.NOWHERE},
        names["private"]: {"url": "http://10.0.0.1/"},
        "tools": {"url": servers.NOWHERE},
        "both": {"url": servers.NOWHERE, "command": "npx"},
        "process": {"command": "bash", "args": ["-c", "true"]},
        f"{names['good']} ": {"url": servers.NOWHERE},
    }
    answer = client.post("/v1/mcp/server/import", json={"mcpServers": wanted})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert "canary" not in answer.text
    imported = {each["name"]: each for each in told["imported"]}
    assert imported.keys() == {names["good"], names["bearer"]}
    assert {each["name"] for each in told["skipped"]} == {known["alias"], f"{names['good']} "}
    assert {each["name"] for each in told["errors"]} == {names["private"], "tools", "both", "process"}
    listed = servers.listed(client)
    kept = listed[imported[names["bearer"]]["server_id"]]
    assert (kept["transport"], kept["auth_type"], kept["credentials"]) == ("sse", "bearer_token", None)
    again = client.post(
        "/v1/mcp/server/import", json={"mcp_servers": [{"name": names["good"], "url": servers.NOWHERE}]}
    )
    assert [each["name"] for each in again.json()["skipped"]] == [names["good"]]
    for each in imported.values():
        assert client.delete(path(each["server_id"])).status_code == 202

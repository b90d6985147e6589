"""What we say and what LiteLLM serves: after every write the registry, `/mcp-rest` and `/mcp` agree."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from mcp import MCPError

from tests.mcp import servers
from tests.mcp.conftest import Create
from tests.mcp.servers import Server, path
from tests.support.proxy import MODEL, Proxy

pytestmark = pytest.mark.requirement("MCP-01", "MCP-02", "MCP-04", "MCP-05")


def agreed(gateway: Proxy, client: httpx.Client, made: dict[str, Any], tools: set[str] | None) -> None:
    """Compare every face of LiteLLM with what the registry lists; None: the server is gone."""
    listed = servers.listed(client)
    name = None if tools is None else listed[made["server_id"]]["alias"]
    expected = {f"{name}-{tool}" for tool in tools or ()}
    known = {each for each in servers.rest_tools(client) if each.rsplit("-", 1)[0] in (made["alias"], name)}
    assert known == expected
    at_mcp = {each for each in servers.mcp_tools(gateway) if each.rsplit("-", 1)[0] in (made["alias"], name)}
    assert at_mcp == expected
    if name is None:
        assert made["server_id"] not in listed
        return
    for at in (f"/mcp/{name}", f"/{name}/mcp"):
        if made["transport"] != "http":
            assert servers.mcp_tools(gateway, at=at) == expected
        elif tools:  # the relay, where tools have the server's own names
            assert servers.mcp_tools(gateway, at=at) == tools
        else:
            unreachable = pytest.RaisesExc(MCPError, match="could not be reached")
            with pytest.RaisesGroup(unreachable, flatten_subgroups=True):
                servers.mcp_tools(gateway, at=at)


def test_after_every_write_all_of_litellm_sees_the_same(
    gateway: Proxy, client: httpx.Client, create: Create, upstream: Server
) -> None:
    create(url=upstream.url)  # without any server LiteLLM answers 403 at /mcp
    made = create(url=upstream.url)
    own = path(made["server_id"])
    agreed(gateway, client, made, {"echo", "add"})
    assert client.put(own, json={"allowed_tools": ["echo"]}).status_code == 202
    agreed(gateway, client, made, {"echo"})
    renamed = servers.unique("renamed")
    assert client.put(own, json={"alias": renamed, "allowed_tools": []}).status_code == 202
    agreed(gateway, client, made, {"echo", "add"})
    assert client.put(own, json={"url": servers.NOWHERE}).status_code == 202
    agreed(gateway, client, {**made, "alias": renamed}, set())
    assert client.put(own, json={"url": upstream.url}).status_code == 202
    agreed(gateway, client, {**made, "alias": renamed}, {"echo", "add"})
    assert client.delete(own).status_code == 202
    agreed(gateway, client, {**made, "alias": renamed}, None)


def test_a_tool_of_a_fed_server_can_be_called_where_litellm_serves_it(
    client: httpx.Client, create: Create, upstream: Server
) -> None:
    made = create(url=upstream.url)
    call = {"server_id": made["server_id"], "name": "add", "arguments": {"a": 2, "b": 3}}
    answer = client.post("/mcp-rest/tools/call", json=call)
    assert answer.status_code == 200, answer.text
    assert answer.json()["structuredContent"] == {"result": 5}


def test_chat_completions_find_the_tools_of_a_fed_server(
    client: httpx.Client, create: Create, upstream: Server
) -> None:
    made = create(url=upstream.url)
    tool = {"type": "mcp", "server_url": f"litellm_proxy/mcp/{made['alias']}", "require_approval": "never"}
    said = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "tools": [tool]}
    before = len(upstream.seen())
    answer = client.post("/v1/chat/completions", json=said)
    assert answer.status_code == 200, answer.text
    assert len(upstream.seen()) > before, "its tools were listed for the model"
    unknown = {**tool, "server_url": "litellm_proxy/mcp/nobody_registered_this"}
    refused = client.post("/v1/chat/completions", json={**said, "tools": [unknown]})
    assert refused.status_code in (403, 404), refused.text


def test_sse_servers_are_served_as_well(gateway: Proxy, client: httpx.Client, create: Create) -> None:
    with servers.server("sse") as slow:
        made = create(url=slow.url, transport="sse")
        agreed(gateway, client, made, {"echo", "add"})
        assert client.get(path(made["server_id"])).json()["status"] == "healthy"


def test_a_credential_reaches_its_server_as_it_was_given(client: httpx.Client, create: Create) -> None:
    """Also one that looks like a value that LiteLLM has encrypted: it is not decrypted once more."""
    looks_sealed = "v2:gcm:YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXo="
    for value in ("plain-secret", looks_sealed):
        wanted = {"authorization": f"Bearer {value}", "x-static": "kept"}
        with servers.server(require=wanted) as strict:
            made = create(
                url=strict.url,
                auth_type="bearer_token",
                credentials={"auth_value": value},
                static_headers={"X-Static": "kept"},
            )
            assert servers.rest_tools(client, made["server_id"]) == {f"{made['alias']}-echo", f"{made['alias']}-add"}
            assert client.get(path(made["server_id"])).json()["status"] == "healthy"
            told = json.dumps(strict.seen())
            for_us = client.headers["authorization"].removeprefix("Bearer ")
            assert for_us not in told, "the caller's key stays here"

"""Sessions of the endpoint over all servers: whose they are, and what they may reach."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from mcp import MCPError

from tests.mcp.aggregate.world import ACCEPT, BOTH, INITIALIZE, PING, World, text

pytestmark = pytest.mark.requirement("MCP-21")

CALL = {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "left-test_simple_text", "arguments": {}}}
PATHS = ("/mcp", "/mcp/")


def _opened(client: httpx.Client, path: str = "/mcp") -> dict[str, str]:
    """Begin a session and return the headers that name it."""
    answer = client.post(path, json=INITIALIZE)
    assert answer.status_code == 200, answer.text
    told = answer.json()["result"]
    assert told["protocolVersion"] == "2025-11-25"
    assert told["serverInfo"]["name"] == "routeiq"
    return {"Mcp-Session-Id": answer.headers["mcp-session-id"], "MCP-Protocol-Version": "2025-11-25"}


@pytest.mark.parametrize("path", PATHS)
def test_a_session_is_its_owners_alone_and_ends_when_it_is_deleted(world: World, path: str) -> None:
    together = world.together("left")
    with world.proxy.client(together.key(), headers=ACCEPT) as mine, world.proxy.client(together.key()) as other:
        session = _opened(mine, path)
        for _ in range(4):  # either worker
            assert mine.post(path, json=PING, headers=session).json()["result"] == {}
            assert mine.post(path, json=CALL, headers=session).status_code == 200
            assert other.post(path, json=PING, headers={**ACCEPT, **session}).status_code == 404
        assert mine.delete(path, headers=session).status_code == 200
        for _ in range(4):
            assert mine.post(path, json=PING, headers=session).status_code == 404
        assert mine.get(path, headers=session).status_code == 404


def test_a_session_of_one_endpoint_is_none_of_another(world: World) -> None:
    with world.proxy.client(world.together("left").key(), headers=ACCEPT) as client:
        everywhere, at_left = _opened(client), client.post("/mcp/left", json=INITIALIZE).headers["mcp-session-id"]
        assert client.post("/mcp/left", json=PING, headers=everywhere).status_code == 404
        assert client.post("/mcp", json=PING, headers={"Mcp-Session-Id": at_left}).status_code == 404


def test_the_sessions_with_servers_end_with_the_client_s(world: World) -> None:
    """The server tells: a session that it has ended is one it does not know."""
    from tests.mcp import servers as own

    with own.server(name="ending") as backend:
        made = own.created(world.admin, own.unique("ending"), backend.url)
        together = type(world.together("left"))(world.proxy, made)
        call = {**CALL, "params": {"name": f"{made['alias']}-echo", "arguments": {"text": "a"}}}
        with world.proxy.client(together.key(), headers=ACCEPT) as client:
            session = _opened(client)
            assert "echo: a" in client.post("/mcp", json=call, headers=session).text
            of_calls = {each["headers"].get("mcp-session-id") for each in backend.seen() if each["method"] == "POST"}
            assert client.delete("/mcp", headers=session).status_code == 200
            ended = {each["headers"]["mcp-session-id"] for each in backend.seen() if each["method"] == "DELETE"}
            assert len(ended & of_calls) == 1
        world.admin.delete(own.path(made["server_id"]))


@BOTH
async def test_a_key_sees_and_reaches_its_own_servers_only(world: World, mode: Any) -> None:
    async with world.together("left").connected(mode) as client:
        assert {tool.name.split("-")[0] for tool in (await client.list_tools()).tools} == {"left"}
        for name in ("right-test_simple_text", f"{world.made['right']['server_id']}-test_simple_text"):
            with pytest.raises(MCPError, match="not found"):
                await client.call_tool(name, {})
        with pytest.raises(MCPError, match="no MCP server of yours"):
            await client.read_resource("mcp-server://right/test://static-text")


@BOTH
async def test_a_tool_that_the_key_may_not_use_is_neither_listed_nor_called(world: World, mode: Any) -> None:
    together = world.together("left", "right")
    key = together.key(mcp_tool_permissions={world.made["left"]["server_id"]: ["test_simple_text"]})
    async with together.connected(mode, key) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        assert [each for each in tools if each.startswith("left-")] == ["left-test_simple_text"]
        assert any(each.startswith("right-") for each in tools)
        assert text(await client.call_tool("left-test_simple_text", {})).startswith("This is")
        with pytest.raises(MCPError, match="not allowed"):
            await client.call_tool("left-test_image_content", {})


@BOTH
async def test_headers_narrow_what_is_asked_for(world: World, mode: Any) -> None:
    together = world.together("left", "right")
    async with together.connected(mode, headers={"x-mcp-servers": "right"}) as client:
        assert {tool.name.split("-")[0] for tool in (await client.list_tools()).tools} == {"right"}
        with pytest.raises(MCPError, match="not found"):
            await client.call_tool("left-test_simple_text", {})


def test_headers_do_not_widen_what_a_key_may_use(world: World) -> None:
    with world.proxy.client(world.together("left").key(), headers=ACCEPT) as client:
        for header in ("x-mcp-servers", "x-mcp-access-groups"):
            refused = client.post("/mcp", json=INITIALIZE, headers={header: "right"})
            assert "may be used" in refused.json()["error"]["message"]


@pytest.mark.parametrize("cursor", ["nonsense", "WyJ0b29scyIsIC0xXQ==", 7])
def test_a_cursor_that_no_list_gave_is_refused(world: World, cursor: Any) -> None:
    with world.proxy.client(world.together("left").key(), headers=ACCEPT) as client:
        asked = {"jsonrpc": "2.0", "id": 4, "method": "tools/list", "params": {"cursor": cursor}}
        assert client.post("/mcp", json=asked, headers=_opened(client)).json()["error"]["code"] == -32602


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"method": "nothing/known"}, -32601),
        ({"method": "tools/call", "params": {}}, -32602),
        ({"method": "tools/call", "params": {"name": 7}}, -32602),
        ({"method": "resources/read"}, -32602),
        ({"method": "completion/complete", "params": {"ref": {"type": "ref/else"}}}, -32602),
        ({"method": "logging/setLevel", "params": {"level": "loud"}}, -32602),
    ],
)
def test_what_is_wrong_is_said(world: World, message: dict[str, Any], code: int) -> None:
    with world.proxy.client(world.together("left").key(), headers=ACCEPT) as client:
        answer = client.post("/mcp", json={"jsonrpc": "2.0", "id": 5, **message}, headers=_opened(client))
        assert answer.status_code == 200
        assert answer.json()["error"]["code"] == code
        assert answer.json()["id"] == 5


def test_a_version_that_is_not_spoken_is_named(world: World) -> None:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2099-01-01",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    asked = {"jsonrpc": "2.0", "id": 6, "method": "tools/list", "params": {"_meta": meta}}
    headers = {**ACCEPT, "MCP-Protocol-Version": "2099-01-01", "Mcp-Method": "tools/list"}
    with world.proxy.client(world.together("left").key(), headers=headers) as client:
        answer = client.post("/mcp", json=asked)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32022)
    assert answer.json()["error"]["data"]["supported"] == ["2026-07-28"]


def test_a_page_of_the_internet_does_not_reach_a_gateway_on_this_machine(world: World) -> None:
    with world.proxy.client(world.together("left").key(), headers=ACCEPT) as client:
        evil = {"Host": "evil.example.com", "Origin": "http://evil.example.com"}
        assert client.post("/mcp", json=INITIALIZE, headers=evil).status_code == 403


def test_a_key_that_nobody_knows_is_refused_by_stock(world: World) -> None:
    with world.proxy.client("sk-nobody", headers=ACCEPT) as client:
        assert client.post("/mcp/", json=INITIALIZE).status_code in (400, 401)

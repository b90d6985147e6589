"""The MCP endpoint of one server, carried to that server: the official client, both generations, two workers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import mcp_types as types
import pytest
from mcp import Client, MCPError

from tests.conftest import PLUGIN_CONFIG, ProxyFactory
from tests.mcp import servers
from tests.mcp.relayed import Relayed
from tests.support.proxy import Proxy, merge

pytestmark = pytest.mark.requirement("MCP-21")

BOTH: Final = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
ACCEPT: Final = {"Accept": "application/json, text/event-stream"}
INITIALIZE: Final = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
PING: Final = {"jsonrpc": "2.0", "id": 2, "method": "ping"}


class World(Relayed):
    """The talkative server, and the official client."""

    def run(self, mode: Any, use: Callable[[Client], Awaitable[Any]], key: str | None = None, **options: Any) -> Any:
        """Connect with the official client and use it."""

        async def connected() -> Any:
            async with self.connected(mode, key, **options) as client:
                return await use(client)

        return asyncio.run(connected())


@pytest.fixture(scope="module")
def world(relaying: Proxy) -> Iterator[World]:
    """Everything, running."""
    with servers.module_server("tests.mcp.talkative_server") as url, relaying.client() as client:
        yield World(relaying, servers.created(client, "talkative", url))


def _text(result: Any) -> str:
    return str(result.content[0].text)


@BOTH
def test_everything_that_a_server_offers_passes(world: World, mode: str) -> None:
    async def use(client: Client) -> None:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert names >= {"picture", "steps", "ask_model", "ask_user", "fails"}
        shown = await client.call_tool("picture", {})
        assert [block.type for block in shown.content] == ["text", "image"]
        assert (await client.call_tool("fails", {})).is_error
        assert (await client.list_resource_templates()).resource_templates[0].uri_template == "memo://{name}"
        read = await client.read_resource("memo://a")
        assert getattr(read.contents[0], "text", None) == "memo a"
        got = await client.get_prompt("greet", {"who": "Ada"})
        assert getattr(got.messages[0].content, "text", None) == "Greet Ada"

    world.run(mode, use)


@BOTH
def test_progress_passes_while_the_call_runs(world: World, mode: str) -> None:
    heard: list[tuple[float, str | None]] = []

    async def told(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, message))

    async def use(client: Client) -> Any:
        return await client.call_tool("steps", {}, progress_callback=told)

    assert _text(world.run(mode, use)) == "done"
    assert (1.0, "half") in heard


def test_what_the_server_asks_reaches_the_client_that_called(world: World) -> None:
    """The answer is a request of its own, which any worker may get."""

    async def sampled(context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        content = types.TextContent(type="text", text="42")
        return types.CreateMessageResult(role="assistant", content=content, model="m")

    async def elicited(context: Any, params: Any) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"word": "yes"})

    async def use(client: Client) -> list[str]:
        calls = [("ask_model", {"prompt": "?"}), ("ask_user", {"question": "?"})] * 3
        return [_text(await client.call_tool(name, arguments)) for name, arguments in calls]

    said = world.run("legacy", use, sampling_callback=sampled, elicitation_callback=elicited)
    assert said == ["model: 42", "user: accept yes"] * 3


@BOTH
def test_a_tool_that_the_key_may_not_use_is_neither_listed_nor_called(world: World, mode: str) -> None:
    key = world.key(mcp_tool_permissions={world.server["server_id"]: ["steps"]})

    async def use(client: Client) -> None:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["steps"]
        with pytest.raises(MCPError, match="not allowed"):
            await client.call_tool("picture", {})

    world.run(mode, use, key)


def test_a_session_is_its_owners_alone_and_ends_when_it_is_deleted(world: World) -> None:
    with world.proxy.client(world.key(), headers=ACCEPT) as mine, world.proxy.client(world.key()) as other:
        opened = mine.post(world.path, json=INITIALIZE)
        assert opened.status_code == 200
        session = {"Mcp-Session-Id": opened.headers["mcp-session-id"], "MCP-Protocol-Version": "2025-11-25"}
        for _ in range(4):  # either worker
            assert mine.post(world.path, json=PING, headers=session).status_code == 200
            assert other.post(world.path, json=PING, headers={**ACCEPT, **session}).status_code == 404
        assert mine.delete(world.path, headers=session).status_code == 200
        assert mine.post(world.path, json=PING, headers=session).status_code == 404


def test_a_key_without_the_server_is_refused(world: World) -> None:
    stranger = world.proxy.add_key(object_permission={"mcp_servers": ["another"]})
    with world.proxy.client(stranger, headers=ACCEPT) as client:
        assert client.post(world.path, json=INITIALIZE).status_code == 403


def test_a_page_of_the_internet_does_not_reach_a_gateway_on_this_machine(world: World) -> None:
    with world.proxy.client(world.key(), headers=ACCEPT) as client:
        evil = {"Host": "evil.example.com", "Origin": "http://evil.example.com"}
        assert client.post(world.path, json=INITIALIZE, headers=evil).status_code == 403
        near = {"Origin": f"http://localhost:{world.proxy.port}"}
        assert client.post(world.path, json=INITIALIZE, headers=near).status_code == 200


def test_a_client_without_a_session_is_served_as_on_stock(world: World) -> None:
    """LiteLLM answers each message by itself, also of a client that never shook hands."""
    with world.proxy.client(world.key(), headers=ACCEPT) as client:
        for path in (world.path, f"/{world.server['server_name']}/mcp"):
            answer = client.post(path, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
            assert answer.status_code == 200, answer.text
            assert f'"{world.server["server_name"]}-picture"' in answer.text


@pytest.mark.parametrize("mode", ["legacy", "auto"])  # by `initialize`, and by `server/discover`
def test_the_operator_s_instructions_stand_in_the_place_of_the_server_s(world: World, mode: str) -> None:
    async def use(client: Client) -> str | None:
        return client.instructions

    with world.proxy.client() as admin:
        instructed = servers.created(admin, url=world.server["url"], instructions="Ask nicely.")
    assert World(world.proxy, instructed).run(mode, use) == "Ask nicely."
    assert world.run(mode, use) == "Talk."


def test_without_the_relay_litellm_answers(own_proxy: ProxyFactory, world: World) -> None:
    off = merge(PLUGIN_CONFIG, {"routeiq": {"mcp": {"relay": False}}})
    with own_proxy(config=off) as proxy, proxy.client() as admin:
        made = servers.created(admin, "talkative", world.server["url"])
        for at in ("/mcp/talkative", "/talkative/mcp"):
            assert "talkative-picture" in servers.mcp_tools(proxy, at=at)
        with proxy.client(World(proxy, made).key(), headers=ACCEPT) as client:
            opened = client.post("/mcp/talkative", json=INITIALIZE)
        assert opened.status_code == 200, opened.text
        assert not opened.headers.get("mcp-session-id", "").startswith("routeiq.")

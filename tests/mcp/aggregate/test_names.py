"""What is listed, and that each name leads to where it came from."""

from __future__ import annotations

from typing import Any

import pytest
from mcp import MCPError

from tests.mcp.aggregate.world import BOTH, World, text

pytestmark = pytest.mark.requirement("MCP-21")

STATIC = "test://static-text"


@BOTH
async def test_tools_and_prompts_that_servers_have_alike_are_told_apart(world: World, mode: Any) -> None:
    async with world.together("left", "right").connected(mode) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        assert len(tools) == len(set(tools))
        assert {"left-test_simple_text", "right-test_simple_text"} <= set(tools)
        for name in ("left", "right"):
            assert text(await client.call_tool(f"{name}-test_simple_text", {})).startswith("This is a simple text")
        prompts = [each.name for each in (await client.list_prompts()).prompts]
        assert {"left-test_simple_prompt", "right-test_simple_prompt"} <= set(prompts)
        got = await client.get_prompt("right-test_prompt_with_arguments", {"arg1": "a", "arg2": "b"})
        assert getattr(got.messages[0].content, "text", None) == "Prompt with arguments: arg1='a', arg2='b'"
        with pytest.raises(MCPError, match=r"left-test_simple_text.*right-test_simple_text"):
            await client.call_tool("test_simple_text", {})
        with pytest.raises(MCPError, match="not found"):
            await client.call_tool("nothing", {})


@BOTH
async def test_resources_that_servers_have_alike_are_told_apart(world: World, mode: Any) -> None:
    async with world.together("left", "right", "only_sse").connected(mode) as client:
        uris = [str(each.uri) for each in (await client.list_resources()).resources]
        assert len(uris) == len(set(uris))
        assert {f"mcp-server://left/{STATIC}", f"mcp-server://right/{STATIC}", "note://sse"} <= set(uris)
        for uri in (f"mcp-server://left/{STATIC}", f"mcp-server://right/{STATIC}"):
            (content,) = (await client.read_resource(uri)).contents
            assert (str(content.uri), getattr(content, "text", None)) == (uri, "Words that stay as they are.")
        for uri in ("note://sse", "mcp-server://only_sse/note://sse", "sse://3/16"):
            assert "sse" in str((await client.read_resource(uri)).contents[0])
        templates = [each.uri_template for each in (await client.list_resource_templates()).resource_templates]
        own = "test://template/{id}/data"
        assert {f"mcp-server://left/{own}", f"mcp-server://right/{own}"} <= set(templates)
        read = await client.read_resource("mcp-server://right/test://template/7/data")
        assert "Data for ID: 7" in str(read.contents[0])
        with pytest.raises(MCPError, match="mcp-server://left/test://static-text"):
            await client.read_resource(STATIC)


@BOTH
async def test_what_one_server_alone_has_needs_no_prefix(world: World, mode: Any) -> None:
    async with world.together("left", "only_sse").connected(mode) as client:
        assert text(await client.call_tool("test_simple_text", {})).startswith("This is a simple text")
        assert (await client.call_tool("add", {"a": 1, "b": 2})).structured_content == {"result": 3}
        assert "Words" in str((await client.read_resource(STATIC)).contents[0])


@BOTH
async def test_every_transport_and_every_version_is_there(world: World, mode: Any, config_server: str) -> None:
    """Servers of one generation only, one over SSE, and one that LiteLLM's config declares."""
    key = world.proxy.add_key(
        object_permission={
            "mcp_servers": [
                *(world.made[name]["server_id"] for name in ("only_sessions", "only_stateless", "only_sse")),
                config_server,
            ]
        }
    )
    async with world.together("only_sse").connected(mode, key) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        for name in ("only_sessions", "only_stateless", "only_sse", config_server):
            assert f"{name}-add" in tools
            added = await client.call_tool(f"{name}-add", {"a": 1, "b": 2})
            assert added.structured_content == {"result": 3}, name
        got = await client.get_prompt("only_sse-greet", {"who": "Ada"})
        assert "Ada" in str(got.messages[0].content)


@BOTH
async def test_a_dead_server_costs_its_own_part_only(world: World, mode: Any) -> None:
    async with world.together("left", "dead").connected(mode) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert "left-test_simple_text" in tools
        assert not any(each.startswith("dead-") for each in tools)
        assert text(await client.call_tool("left-test_simple_text", {})).startswith("This is")
        with pytest.raises(MCPError):
            await client.call_tool("dead-anything", {})


@BOTH
async def test_items_are_as_their_server_has_them(world: World, mode: Any) -> None:
    alone, together = world.together("left"), world.together("left", "right")
    key = alone.key()
    direct = type("Own", (type(alone),), {"path": "/mcp/left"})(alone.proxy, alone.server)
    async with direct.connected(mode, key) as there, together.connected(mode) as here:
        own = {tool.name: tool for tool in (await there.list_tools()).tools}
        listed = {tool.name: tool for tool in (await here.list_tools()).tools}
        for name, tool in own.items():
            assert listed[f"left-{name}"].model_copy(update={"name": name}) == tool


@BOTH
async def test_arguments_are_completed_by_the_server_that_has_them(world: World, mode: Any) -> None:
    import mcp_types as types

    async with world.together("left", "right").connected(mode) as client:
        prompt = types.PromptReference(type="ref/prompt", name="right-test_prompt_with_arguments")
        template = types.ResourceTemplateReference(
            type="ref/resource", uri="mcp-server://left/test://template/{id}/data"
        )
        for ref in (prompt, template):
            done = await client.complete(ref, {"name": "arg1", "value": "par"})
            assert done.completion.values == ["paris", "park", "party"]

"""What comes by itself: lists and resources that change."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from mcp import Client

from tests.mcp import servers
from tests.mcp.aggregate.world import World
from tests.mcp.conformance.clients import HEARD_SECONDS, Heard, connected
from tests.mcp.relayed import Together
from tests.support import processes
from tests.support.mcp_backends import McpBackend, Speaks, mcp_server

pytestmark = [
    pytest.mark.requirement("MCP-21"),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]

WATCHED = "test://watched-resource"


async def test_changes_of_a_subscribed_resource_come_under_its_name(world: World) -> None:
    heard = Heard("Ada")
    async with connected(world.together("left", "right"), heard) as client:
        uri = f"mcp-server://right/{WATCHED}"
        await client.subscribe_resource(uri)
        await _until(client, "right-test_trigger_resource_update", lambda: uri in heard.updated)
        await client.unsubscribe_resource(uri)
        assert set(heard.updated) == {uri}, "of the other server nothing was asked"


async def test_changes_of_a_resource_come_on_a_subscription(world: World) -> None:
    uris = [f"mcp-server://{name}/{WATCHED}" for name in ("left", "right")]
    async with (
        world.together("left", "right").connected("2026-07-28") as client,
        client.listen(resource_subscriptions=[*uris, "test://nowhere"]) as stream,
    ):
        assert stream.honored.resource_subscriptions == uris
        for name, uri in zip(("left", "right"), uris, strict=True):
            await client.call_tool(f"{name}-test_trigger_resource_update", {})
            assert await _updated(stream) == uri


async def test_a_server_that_is_registered_changes_the_lists_of_who_may_use_it(world: World) -> None:
    """A key that may use the group hears of it, and another does not."""
    group = servers.unique("group")
    mine = world.proxy.add_key(object_permission={"mcp_access_groups": [group]})
    others = world.together("left").key()
    heard, other = Heard("mine"), Heard("other")
    left = world.together("left")
    with servers.module_server("tests.mcp.conformance.reference") as url:
        async with connected(left, heard, key=mine) as client, connected(left, other, key=others) as bystander:
            assert (await client.list_tools()).tools == []
            async with _registered(world, url, group, until=lambda: heard.changed > 0) as name:
                tools = {tool.name for tool in (await client.list_tools()).tools}
                assert f"{name}-test_simple_text" in tools
            before = heard.changed
            await heard.until(lambda it: it.changed >= before)
            await bystander.send_ping()
    assert other.changed == 0


async def test_a_server_that_is_registered_is_told_of_on_a_subscription(world: World) -> None:
    group = servers.unique("group")
    mine = world.proxy.add_key(object_permission={"mcp_access_groups": [group]})
    with servers.module_server("tests.mcp.conformance.reference") as url:
        async with (
            world.together("left").connected("2026-07-28", mine) as client,
            client.listen(tools_list_changed=True) as stream,
        ):
            event = asyncio.create_task(anext(aiter(stream)))
            async with _registered(world, url, group, until=event.done) as name:
                assert type(await event).__name__ == "ToolsListChanged"
                tools = {tool.name for tool in (await client.list_tools(cache_mode="refresh")).tools}
                assert f"{name}-test_simple_text" in tools


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_a_server_that_says_its_tools_have_changed(world: World, mode: Any) -> None:
    with mcp_server(Speaks.STATELESS, name="changing") as backend:
        made = await asyncio.to_thread(servers.created, world.admin, servers.unique("changing"), backend.url)
        together = Together(world.proxy, made)
        heard = Heard("Ada")
        async with connected(together, heard, mode) as client:
            if mode == "legacy":
                await _redefined(backend, lambda: heard.changed > 0)
            else:
                async with client.listen(tools_list_changed=True) as stream:
                    event = asyncio.create_task(anext(aiter(stream)))
                    await _redefined(backend, event.done)
                    await event
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert tools[f"{made['alias']}-echo"].description.startswith("Says it now")
        await asyncio.to_thread(world.admin.delete, servers.path(made["server_id"]))


async def _again(act: Callable[[int], Awaitable[Any]], is_heard: Callable[[], bool]) -> None:
    """Do something until somebody has heard of it: before one listens, it is nobody's."""
    async with asyncio.timeout(HEARD_SECONDS):
        for turn in itertools.count(1):
            await act(turn)
            with suppress(TimeoutError):
                await asyncio.to_thread(processes.wait_until, is_heard, 1.0, "the news")
                return


async def _redefined(backend: McpBackend, is_heard: Callable[[], bool]) -> None:
    async def redefine(turn: int) -> None:
        await asyncio.to_thread(backend.redefine, f"Says it now {turn}.")

    await _again(redefine, is_heard)


async def _until(client: Client, tool: str, is_heard: Callable[[], bool]) -> None:
    async def call(_turn: int) -> None:
        await client.call_tool(tool, {})

    await _again(call, is_heard)


async def _updated(stream: Any) -> str:
    async with asyncio.timeout(HEARD_SECONDS):
        return str((await anext(aiter(stream))).uri)


@asynccontextmanager
async def _registered(world: World, url: str, group: str, until: Any) -> AsyncIterator[str]:
    """Register a server of a group; returns when that was heard of."""
    name = servers.unique("late")
    made = await asyncio.to_thread(servers.created, world.admin, name, url, mcp_access_groups=[group])
    try:
        await asyncio.to_thread(processes.wait_until, until, HEARD_SECONDS, "the news")
        yield name
    finally:
        await asyncio.to_thread(world.admin.delete, servers.path(made["server_id"]))

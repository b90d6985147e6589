"""What servers say and ask in the midst of requests, through the endpoint over all of them."""

from __future__ import annotations

import asyncio
from typing import Any

import mcp_types as types
import pytest
from mcp import Client, MCPError

from tests.mcp import servers
from tests.mcp.aggregate.world import BOTH, World, text
from tests.mcp.conformance.clients import Heard, connected
from tests.support import processes
from tests.support.mcp_backends import Speaks, mcp_server

pytestmark = [
    pytest.mark.requirement("MCP-21"),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]

ROUNDS = 3
"""Times that each is asked for, so that answers come to either worker."""


async def test_what_servers_ask_reaches_the_client_and_the_answer_the_server(world: World) -> None:
    heard = Heard("Ada")
    async with connected(world.together("left", "right"), heard) as client:
        for name in ("left", "right") * ROUNDS:
            sampled = text(await client.call_tool(f"{name}-test_sampling", {"prompt": name}))
            assert sampled == "LLM response: I am Ada"
            elicited = text(await client.call_tool(f"{name}-test_elicitation", {"message": "?"}))
            assert elicited.startswith("User response: action=accept")
            assert text(await client.call_tool(f"{name}-test_roots", {})) == "file:///Ada"
    assert {"left", "right"} <= set(heard.asked)


async def test_servers_ask_at_the_same_time(world: World) -> None:
    heard = Heard("Ada")
    async with connected(world.together("left", "right"), heard) as client:
        calls = [client.call_tool(f"{name}-test_sampling", {"prompt": name}) for name in ("left", "right") * ROUNDS]
        assert {text(each) for each in await asyncio.gather(*calls)} == {"LLM response: I am Ada"}


async def test_what_servers_without_sessions_ask_for_is_answered(world: World) -> None:
    heard = Heard("Ada")
    async with connected(world.together("left", "right"), heard, "2026-07-28") as client:
        for name in ("left", "right") * ROUNDS:
            assert text(await client.call_tool(f"{name}-test_input_required_result_sampling", {})) == "I am Ada"
            elicited = await client.call_tool(f"{name}-test_input_required_result_elicitation", {})
            assert text(elicited) == "Hello, Ada!"
            assert text(await client.call_tool(f"{name}-test_input_required_result_request_state", {})) == "state-ok"
        got = await client.get_prompt("right-test_input_required_result_prompt", {})
        assert "With context: Ada" in str(got.messages[0].content)


@pytest.mark.parametrize(
    ("mode", "server"), [("legacy", "only_stateless"), ("2026-07-28", "only_sessions")], ids=["up", "down"]
)
async def test_questions_pass_between_versions(world: World, mode: Any, server: str) -> None:
    async def sure(context: Any, params: Any) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"sure": True})

    async with world.together(server, "left").connected(mode, elicitation_callback=sure) as client:
        for _ in range(ROUNDS):
            added = await client.call_tool(f"{server}-add", {"a": 1, "b": 2})
            assert added.structured_content == {"result": 3}
            if server == "only_sessions":
                assert "sure=True" in text(await client.call_tool(f"{server}-ask", {}))


@BOTH
async def test_progress_and_logs_come_while_the_call_runs(world: World, mode: Any) -> None:
    heard, steps = Heard("Ada"), list[float]()

    async def told(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with connected(world.together("left", "right"), heard, mode) as client:
        if mode == "legacy":
            await client.set_logging_level("info")
            await client.call_tool("left-test_tool_with_logging", {})
            assert heard.logs == ["Tool execution started", "Tool processing data", "Tool execution completed"]
        done = await client.call_tool("right-test_tool_with_progress", {}, progress_callback=told)
        assert text(done) == "Tool with progress executed successfully"
    assert steps == [0, 50, 100]


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
@pytest.mark.parametrize("speaks", [Speaks.SESSIONS, Speaks.STATELESS], ids=["sessions", "stateless"])
async def test_a_cancelled_call_ends_at_its_server(world: World, mode: Any, speaks: Speaks) -> None:
    with mcp_server(speaks, name="waiting") as backend:
        made = await asyncio.to_thread(servers.created, world.admin, f"waiting_{speaks.value}_{mode[:1]}", backend.url)
        together = type(world.together("left"))(world.proxy, made)
        async with together.connected(mode) as client:
            calling = asyncio.create_task(_waits(client, f"{made['alias']}-wait"))
            await asyncio.to_thread(
                lambda: processes.wait_until(lambda: backend.calls().get("wait") == 1, 30, "the call")
            )
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)
            assert await asyncio.to_thread(lambda: backend.cancelled(at_least=1)) == 1
            assert (await client.call_tool(f"{made['alias']}-add", {"a": 1, "b": 2})).structured_content == {
                "result": 3
            }
        await asyncio.to_thread(world.admin.delete, servers.path(made["server_id"]))


async def _waits(client: Client, tool: str) -> Any:
    try:
        return await client.call_tool(tool, {"gate": "never"})
    except MCPError as refused:
        return refused

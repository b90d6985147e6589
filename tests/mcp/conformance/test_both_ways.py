"""Everything that an official client and a server say to each other, through the relay of two workers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mcp.shared.subscriptions import ResourceUpdated, ToolsListChanged
from mcp_types import PromptReference

from tests.mcp.conformance.clients import HEARD_SECONDS, Heard, connected
from tests.mcp.conformance.reference.contents import WATCHED
from tests.mcp.relayed import Relayed

pytestmark = [
    pytest.mark.requirement("MCP-21"),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]

BOTH = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
ROUNDS = 3
"""Each says its part several times, so that both workers get to carry it."""


def _text(result: Any) -> str:
    return str(result.content[0].text)


@BOTH
async def test_completion(relayed: Relayed, mode: str) -> None:
    async with connected(relayed, Heard("a"), mode) as client:
        reference = PromptReference(name="test_prompt_with_arguments")
        completed = await client.complete(reference, {"name": "arg1", "value": "par"})
        assert completed.completion.values == ["paris", "park", "party"]


async def test_logging_follows_the_level_and_the_call(relayed: Relayed) -> None:
    heard = Heard("a")
    async with connected(relayed, heard) as client:
        await client.set_logging_level("debug")
        await client.call_tool("test_tool_with_logging", {})
        assert heard.logs == ["Tool execution started", "Tool processing data", "Tool execution completed"]


async def test_roots_and_both_ways_to_ask_a_user(relayed: Relayed) -> None:
    heard = Heard("ada")
    async with connected(relayed, heard) as client:
        for _ in range(ROUNDS):
            assert _text(await client.call_tool("test_roots", {})) == "file:///ada"
            said = _text(await client.call_tool("test_elicitation", {"message": "Who?"}))
            assert said == 'User response: action=accept, content={"username": "ada", "email": "ada"}'
            assert _text(await client.call_tool("test_url_elicitation", {})) == "User response: action=accept"
    assert heard.asked == ["Who?", "Please log in"] * ROUNDS


async def test_what_is_asked_in_an_answer_is_answered_in_the_next_call(relayed: Relayed) -> None:
    heard = Heard("ada")
    async with connected(relayed, heard, "2026-07-28") as client:
        for _ in range(ROUNDS):
            assert _text(await client.call_tool("test_input_required_result_elicitation", {})) == "Hello, ada!"
            assert _text(await client.call_tool("test_input_required_result_sampling", {})) == "I am ada"
            assert _text(await client.call_tool("test_input_required_result_multi_round", {})).startswith("You like")
            got = await client.get_prompt("test_input_required_result_prompt")
            assert got.messages[0].content.text == "With context: ada"


async def test_updates_of_a_resource_reach_its_subscribers(relayed: Relayed) -> None:
    heard = Heard("a")
    async with connected(relayed, heard) as client:
        await heard.listens(client)
        await client.subscribe_resource(WATCHED)
        await client.call_tool("test_trigger_resource_update", {})
        await heard.catches_up(client)
        assert heard.updated == [WATCHED]
        await client.unsubscribe_resource(WATCHED)
        await client.call_tool("test_trigger_resource_update", {})
        await heard.catches_up(client)
        assert heard.updated == [WATCHED]


async def test_a_listener_hears_what_it_asked_for(relayed: Relayed) -> None:
    async with (
        connected(relayed, Heard("a"), "2026-07-28") as client,
        client.listen(tools_list_changed=True, resource_subscriptions=[WATCHED]) as stream,
        asyncio.timeout(HEARD_SECONDS),
    ):
        await client.call_tool("test_trigger_prompt_change", {})
        await client.call_tool("test_trigger_resource_update", {})
        assert await anext(aiter(stream)) == ResourceUpdated(uri=WATCHED)
        await client.call_tool("test_trigger_tool_change", {})
        assert await anext(aiter(stream)) == ToolsListChanged()


async def test_a_client_whose_stream_is_closed_resumes_it(relayed: Relayed) -> None:
    """The server hangs up in the middle of the call; the SDK's client comes back with `Last-Event-ID`."""
    async with connected(relayed, Heard("a")) as client:
        assert _text(await client.call_tool("test_reconnection", {})) == "Reconnection test completed"

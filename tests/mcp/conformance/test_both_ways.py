"""Everything that an official client and a server say to each other, through the relay of two workers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from mcp.shared.subscriptions import ResourceUpdated, ToolsListChanged
from mcp_types import PromptReference

from tests.mcp.conformance.clients import HEARD_SECONDS, Heard, connected
from tests.mcp.conformance.reference.contents import WATCHED
from tests.mcp.relayed import Relayed, Together

pytestmark = [
    pytest.mark.requirement("MCP-21"),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]

SESSIONS = pytest.mark.parametrize("server", ["reference", "stateless"])
"""For a client with a session: a server that has them too, and one that has none."""
STATELESS = pytest.mark.parametrize("server", ["reference", "with_sessions"])
"""For a client without: a server that needs none, and one that does."""
BOTH = pytest.mark.parametrize(
    ("mode", "server"),
    [("legacy", "reference"), ("legacy", "stateless"), ("2026-07-28", "reference"), ("2026-07-28", "with_sessions")],
)
ROUNDS = 3
"""Each says its part several times, so that both workers get to carry it."""


@pytest.fixture
def behind(server: str, reference_servers: Mapping[str, Relayed]) -> Relayed:
    """The server that a test is about."""
    return reference_servers[server]


def _text(result: Any) -> str:
    return str(result.content[0].text)


@BOTH
async def test_completion(behind: Relayed, mode: str) -> None:
    async with connected(behind, Heard("a"), mode) as client:
        reference = PromptReference(name="test_prompt_with_arguments")
        completed = await client.complete(reference, {"name": "arg1", "value": "par"})
        assert completed.completion.values == ["paris", "park", "party"]


@SESSIONS
async def test_logging_follows_the_level_and_the_call(behind: Relayed) -> None:
    heard = Heard("a")
    async with connected(behind, heard) as client:
        await client.set_logging_level("debug")
        await client.call_tool("test_tool_with_logging", {})
        assert heard.logs == ["Tool execution started", "Tool processing data", "Tool execution completed"]


@SESSIONS
async def test_roots_and_both_ways_to_ask_a_user(behind: Relayed) -> None:
    heard = Heard("ada")
    async with connected(behind, heard) as client:
        for _ in range(ROUNDS):
            assert _text(await client.call_tool("test_roots", {})) == "file:///ada"
            said = _text(await client.call_tool("test_elicitation", {"message": "Who?"}))
            assert said == 'User response: action=accept, content={"username": "ada", "email": "ada"}'
            assert _text(await client.call_tool("test_url_elicitation", {})) == "User response: action=accept"
    assert heard.asked == ["Who?", "Please log in"] * ROUNDS


@STATELESS
async def test_what_is_asked_in_an_answer_is_answered_in_the_next_call(behind: Relayed) -> None:
    heard = Heard("ada")
    async with connected(behind, heard, "2026-07-28") as client:
        for _ in range(ROUNDS):
            assert _text(await client.call_tool("test_input_required_result_elicitation", {})) == "Hello, ada!"
            assert _text(await client.call_tool("test_input_required_result_sampling", {})) == "I am ada"
            assert _text(await client.call_tool("test_input_required_result_multi_round", {})).startswith("You like")
            got = await client.get_prompt("test_input_required_result_prompt")
            assert got.messages[0].content.text == "With context: ada"


@SESSIONS
async def test_updates_of_a_resource_reach_its_subscribers(behind: Relayed) -> None:
    heard = Heard("a")
    async with connected(behind, heard) as client:
        await heard.listens(client)
        await client.subscribe_resource(WATCHED)
        await client.call_tool("test_trigger_resource_update", {})
        await heard.catches_up(client)
        assert heard.updated == [WATCHED]
        await client.unsubscribe_resource(WATCHED)
        await client.call_tool("test_trigger_resource_update", {})
        await heard.catches_up(client)
        assert heard.updated == [WATCHED]


@SESSIONS
async def test_updates_reach_subscribers_at_the_endpoint_over_all_servers(behind: Relayed) -> None:
    heard = Heard("a")
    async with connected(Together(behind.proxy, behind.server), heard) as client, asyncio.timeout(HEARD_SECONDS):
        await client.subscribe_resource(WATCHED)
        while not heard.updated:
            await client.call_tool("test_trigger_resource_update", {})
            with suppress(TimeoutError):
                await heard.until(lambda it: bool(it.updated), 1.0)
    assert set(heard.updated) == {WATCHED}


@STATELESS
async def test_a_listener_hears_what_it_asked_for(behind: Relayed) -> None:
    async with (
        connected(behind, Heard("a"), "2026-07-28") as client,
        client.listen(tools_list_changed=True, resource_subscriptions=[WATCHED]) as stream,
        asyncio.timeout(HEARD_SECONDS),
    ):
        await client.call_tool("test_trigger_prompt_change", {})
        await client.call_tool("test_trigger_resource_update", {})
        assert await anext(aiter(stream)) == ResourceUpdated(uri=WATCHED)
        await client.call_tool("test_trigger_tool_change", {})
        assert await anext(aiter(stream)) == ToolsListChanged()


@pytest.mark.parametrize("server", ["reference"])
async def test_a_client_whose_stream_is_closed_resumes_it(behind: Relayed) -> None:
    """The server hangs up in the middle of the call; the SDK's client comes back with `Last-Event-ID`."""
    async with connected(behind, Heard("a")) as client:
        assert _text(await client.call_tool("test_reconnection", {})) == "Reconnection test completed"

"""Clients with keys of their own at one relay: to the server they are one client, to each other they are not there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.mcp.conformance.clients import Heard, connected
from tests.mcp.conformance.reference.contents import WATCHED
from tests.mcp.conformance.sessions import ACCEPT, RawSession, opened
from tests.mcp.relayed import Relayed

pytestmark = [
    pytest.mark.requirement("MCP-21"),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]

ROUNDS = 5


def _text(result: Any) -> str:
    return str(result.content[0].text)


async def test_each_hears_what_it_subscribed_to(relayed: Relayed) -> None:
    ada, bob = Heard("ada"), Heard("bob")
    async with connected(relayed, ada) as hers, connected(relayed, bob) as his:
        await asyncio.gather(ada.listens(hers), bob.listens(his))
        changed = ada.changed, bob.changed
        await hers.subscribe_resource(WATCHED)
        await his.call_tool("test_trigger_resource_update", {})
        await asyncio.gather(ada.catches_up(hers), bob.catches_up(his))
        assert (ada.updated, bob.updated) == ([WATCHED], [])
        assert (ada.changed, bob.changed) == changed
        assert (ada.fences, bob.fences) == (1, 1)


async def test_each_is_asked_about_its_own_calls(relayed: Relayed) -> None:
    ada, bob = Heard("ada"), Heard("bob")
    async with connected(relayed, ada) as hers, connected(relayed, bob) as his:
        for _ in range(ROUNDS):
            said = await asyncio.gather(
                hers.call_tool("test_sampling", {"prompt": "from ada"}),
                his.call_tool("test_sampling", {"prompt": "from bob"}),
                hers.call_tool("test_roots", {}),
                his.call_tool("test_roots", {}),
            )
            assert [_text(each) for each in said] == [
                "LLM response: I am ada",
                "LLM response: I am bob",
                "file:///ada",
                "file:///bob",
            ]
        await asyncio.gather(*(each.call_tool("test_tool_with_logging", {}) for each in (hers, his)))
    assert (ada.asked, bob.asked) == (["from ada"] * ROUNDS, ["from bob"] * ROUNDS)
    assert (len(ada.logs), len(bob.logs)) == (3, 3)


async def test_each_listens_for_itself(relayed: Relayed) -> None:
    """2026-07-28: who listened for tools hears of tools, who listened for prompts of prompts."""
    async with (
        connected(relayed, Heard("ada"), "2026-07-28") as hers,
        connected(relayed, Heard("bob"), "2026-07-28") as his,
        hers.listen(tools_list_changed=True) as her_stream,
        his.listen(prompts_list_changed=True) as his_stream,
        asyncio.timeout(60),
    ):
        await his.call_tool("test_trigger_tool_change", {})
        await hers.call_tool("test_trigger_prompt_change", {})
        heard = [type(await anext(aiter(each))).__name__ for each in (her_stream, his_stream)]
        assert heard == ["ToolsListChanged", "PromptsListChanged"]


@contextmanager
def _two(relayed: Relayed) -> Iterator[tuple[RawSession, RawSession]]:
    with relayed.proxy.client(relayed.key()) as hers, relayed.proxy.client(relayed.key()) as his:
        yield opened(hers, relayed.path), opened(his, relayed.path)


def test_another_key_cannot_touch_a_session(relayed: Relayed) -> None:
    with _two(relayed) as (hers, his):
        stolen = {**his.headers, "Mcp-Session-Id": hers.headers["Mcp-Session-Id"]}
        answer = {"jsonrpc": "2.0", "id": 1, "result": {"roots": []}}
        for _ in range(4):  # either worker
            for response in (
                his.client.post(relayed.path, json={"jsonrpc": "2.0", "id": 1, "method": "ping"}, headers=stolen),
                his.client.post(relayed.path, json=answer, headers=stolen),
                his.client.get(relayed.path, headers=stolen),
                his.client.delete(relayed.path, headers=stolen),
            ):
                assert response.status_code == 404, response.text
        assert hers.send("ping").status_code == 200


def test_a_stream_is_resumed_in_its_own_session_alone(relayed: Relayed) -> None:
    """The reference server numbers its events 1, 2, 3, and would send them to whoever asks."""
    with _two(relayed) as (hers, his):
        call = hers.send("tools/call", {"name": "test_tool_with_progress", "arguments": {}})
        names = [line.removeprefix("id:").strip() for line in call.text.splitlines() if line.startswith("id:")]
        assert len(names) >= 2
        first = names[0]
        again = hers.resume(first)
        assert again.status_code == 200
        assert '"result"' in again.text
        own, _, proof = first.rpartition(".")
        assert own.isdigit()
        for name in (first, own, f"{int(own) + 1}.{proof}", f"{own}.", ".", "x"):
            refused = his.resume(name)
            assert refused.status_code == 400, refused.text
            assert "Last-Event-ID" in refused.json()["error"]["message"]


def test_without_a_session_there_is_nothing_to_resume(relayed: Relayed) -> None:
    with relayed.proxy.client(relayed.key(), headers=ACCEPT) as client:
        stateless = {"MCP-Protocol-Version": "2026-07-28", "Last-Event-ID": "1"}
        response: httpx.Response = client.get(relayed.path, headers=stateless)
        assert response.status_code >= 400


def test_what_one_client_gets_wrong_says_nothing_of_the_server(relayed: Relayed) -> None:
    """A refused `initialize` must not pass for a server without sessions: others would lose what only sessions have."""
    wrong = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": []}
    with relayed.proxy.client(relayed.key()) as hers, relayed.proxy.client(relayed.key()) as his:
        for _ in range(4):  # either worker
            hers.post(relayed.path, json=wrong, headers=ACCEPT)
        for _ in range(4):
            call = opened(his, relayed.path).send("tools/call", {"name": "test_tool_with_progress", "arguments": {}})
            assert any(line.startswith("id:") for line in call.text.splitlines()), "its events have no names"

"""Peers in the field: the SDK 1.x on one side, a peer that speaks 2026-07-28 only on the other, two workers between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from mcp import MCPError
from mcp_types import ElicitResult

from tests.mcp import servers
from tests.mcp.conformance.clients import Heard, connected
from tests.mcp.conformance.old.peers import conversation, old_server
from tests.mcp.conformance.sessions import ACCEPT, initialize
from tests.mcp.relayed import Relayed
from tests.support.proxy import Proxy

pytestmark = [
    pytest.mark.requirement("MCP-21"),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]

ROUNDS = 3
"""Each says its part several times, so that both workers get to carry it."""


@pytest.fixture(scope="module")
def old(relaying: Proxy) -> Iterator[Relayed]:
    """A FastMCP server of 1.x."""
    with old_server() as url, relaying.client() as client:
        yield Relayed(relaying, servers.created(client, "old", url))


def _text(result: Any) -> str:
    return str(result.content[0].text)


async def test_a_client_of_today_uses_a_server_of_1_x(old: Relayed) -> None:
    heard, progress = Heard("ada"), []

    async def reported(done: float, total: float | None, message: str | None) -> None:
        progress.append((done, total, message))

    async with connected(old, heard, "2026-07-28") as client:
        for _ in range(ROUNDS):
            assert (await client.call_tool("add", {"a": 1, "b": 2})).structured_content == {"result": 3}
            assert _text(await client.call_tool("ask_user", {})) == "accept ada"
            assert _text(await client.call_tool("ask_twice", {})) == "accept ada, I am ada"
            assert _text(await client.call_tool("report", {}, progress_callback=reported)) == "reported"
            assert (await client.call_tool("fail", {})).is_error
            assert (await client.read_resource("memo://one")).contents[0].text == "a memo"
            assert (await client.get_prompt("greet", {"who": "Ada"})).messages[0].content.text == "Greet Ada"
            with pytest.raises(MCPError):
                await client.get_prompt("nothing", {})
    assert progress == [(1.0, 2.0, "half")] * ROUNDS


async def test_a_client_of_today_refuses_what_a_server_of_1_x_asks(old: Relayed) -> None:
    async def declined(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="decline")

    async with old.connected("2026-07-28", elicitation_callback=declined) as client:
        assert _text(await client.call_tool("ask_user", {})).strip() == "decline"


async def test_a_client_of_1_x_uses_a_server_of_today(reference_servers: Mapping[str, Relayed]) -> None:
    server = reference_servers["stateless"]
    said = await asyncio.to_thread(conversation, server.proxy.base_url + server.path, server.key())
    assert "test_elicitation" in said.pop("tools")
    assert said == {
        "server": said["server"],
        "logged": "Tool with logging executed successfully",
        "progressed": "Tool with progress executed successfully",
        "user": 'User response: action=accept, content={"username": "old", "email": "old"}',
        "model": "LLM response: I am old",
        "roots": "file:///old",
        "unknown": -32602,
        "updated": True,
        "pinged": {},
        "logs": ["Tool execution started", "Tool processing data", "Tool execution completed"],
        "progress": [0, 50, 100],
    }


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_every_version_with_sessions_is_agreed_on(reference_servers: Mapping[str, Relayed], version: str) -> None:
    server = reference_servers["stateless"]
    message = initialize()
    message["params"]["protocolVersion"] = version
    with server.proxy.client(server.key()) as client:
        begun = client.post(server.path, json=message, headers=ACCEPT)
        assert begun.json()["result"]["protocolVersion"] == version
        session = {**ACCEPT, "Mcp-Session-Id": begun.headers["mcp-session-id"]}
        # Versions before 2025-06-18 know of no header that names them.
        session |= {} if version < "2025-06-18" else {"MCP-Protocol-Version": version}
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "test_simple_text"}}
        for _ in range(ROUNDS):
            assert "result" in client.post(server.path, json=call, headers=session).json()

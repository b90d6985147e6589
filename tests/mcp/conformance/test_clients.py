"""Clients that people use, at the relay: fastmcp's, an agent SDK, and chat completions with tools of `type: mcp`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.mcp.relayed import Relayed
from tests.mcp.tool_user import MODEL, TOOL

pytestmark = [
    pytest.mark.requirement("MCP-21"),
    pytest.mark.filterwarnings("ignore"),  # other people's packages
]

SAID = "This is a simple text response for testing."


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of the developer's shell in between."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
async def test_fastmcps_client(relayed: Relayed, mode: Any) -> None:
    from fastmcp import Client
    from fastmcp.client.transports import StreamableHttpTransport

    async def sampled(messages: Any, params: Any, context: Any) -> str:
        return "I am a model"

    async def elicited(message: str, response_type: Any, params: Any, context: Any) -> dict[str, str]:
        return {"username": "ada", "email": "ada@example.com"}

    headers = {"Authorization": f"Bearer {relayed.key()}"}
    transport = StreamableHttpTransport(relayed.proxy.base_url + relayed.path, headers=headers)
    async with Client(transport, mode=mode, sampling_handler=sampled, elicitation_handler=elicited) as client:
        assert TOOL in {each.name for each in await client.list_tools()}
        assert _text(await client.call_tool(TOOL, {})) == SAID
        read = await client.read_resource("test://static-text")
        assert getattr(read[0], "text", None) == "Words that stay as they are."
        got = await client.get_prompt("test_prompt_with_arguments", {"arg1": "a", "arg2": "b"})
        assert getattr(got.messages[0].content, "text", None) == "Prompt with arguments: arg1='a', arg2='b'"
        if mode == "legacy":
            assert _text(await client.call_tool("test_sampling", {"prompt": "?"})) == "LLM response: I am a model"
            asked = _text(await client.call_tool("test_elicitation", {"message": "?"}))
            assert asked.startswith("User response: action=accept")
        else:
            model = _text(await client.call_tool("test_input_required_result_sampling", {}))
            assert model == "I am a model"


def _text(result: Any) -> str:
    return str(result.content[0].text)


async def test_an_agent_of_openais_agents_sdk(relayed: Relayed) -> None:
    """Its model and its tools both come from the gateway."""
    from agents import Agent, OpenAIChatCompletionsModel, RunConfig, Runner, set_tracing_disabled
    from agents.mcp import MCPServerStreamableHttp
    from openai import AsyncOpenAI

    set_tracing_disabled(True)  # it would send traces to its maker
    key = relayed.key()
    where = {"url": relayed.proxy.base_url + relayed.path, "headers": {"Authorization": f"Bearer {key}"}}
    async with (
        AsyncOpenAI(base_url=f"{relayed.proxy.base_url}/v1", api_key=key) as openai,
        MCPServerStreamableHttp(where, client_session_timeout_seconds=60) as server,
    ):
        agent = Agent("tester", mcp_servers=[server], model=OpenAIChatCompletionsModel(MODEL, openai))
        done = await Runner.run(agent, "hello", run_config=RunConfig(tracing_disabled=True))
    assert SAID in str(done.final_output)
    assert str(done.final_output).startswith("heard: ")


def test_chat_completions_with_tools_of_the_server(relayed: Relayed) -> None:
    """LiteLLM lists and calls them by itself, past the relay, which must not stand in its way."""
    tool = {"type": "mcp", "server_url": f"litellm_proxy/mcp/{relayed.server['alias']}", "require_approval": "never"}
    said = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "tools": [tool]}
    with relayed.proxy.client(relayed.key()) as client:
        answer = client.post("/v1/chat/completions", json=said)
    assert answer.status_code == 200, answer.text
    assert SAID in answer.json()["choices"][0]["message"]["content"]

"""What client and server tell each other besides calls and answers, over two workers: it arrives as it was sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

import httpx
import mcp_types as types
import pytest
from mcp import Client, MCPError

from tests.mcp import servers
from tests.mcp.conformance.reference.generations import SESSIONS, STATELESS
from tests.mcp.relayed import Relayed, called
from tests.support.proxy import Proxy

pytestmark = [
    pytest.mark.requirement("MCP-21"),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]

BOTH: Final = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
ROUNDS: Final = 4
"""Each message may reach either worker."""
SECONDS: Final = 60.0


@pytest.fixture(scope="module")
def talkative(relaying: Proxy) -> Iterator[Relayed]:
    """The talkative server."""
    with servers.module_server("tests.mcp.talkative_server") as url, relaying.client() as client:
        yield Relayed(relaying, servers.created(client, url=url))


@pytest.fixture(scope="module")
def talkatives(relaying: Proxy, talkative: Relayed) -> Iterator[Mapping[str | None, Relayed]]:
    """It, and two more that speak one generation each."""
    module = "tests.mcp.talkative_server"
    with (
        servers.module_server(module, SESSIONS) as with_sessions,
        servers.module_server(module, STATELESS) as stateless,
        relaying.client() as client,
    ):
        yield {
            None: talkative,
            SESSIONS: Relayed(relaying, servers.created(client, url=with_sessions)),
            STATELESS: Relayed(relaying, servers.created(client, url=stateless)),
        }


class Begun:
    """Hears the first report of progress."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    async def report(self, progress: float, total: float | None, message: str | None) -> None:
        """Hear it."""
        self.event.set()


def _text(result: Any) -> str:
    return str(result.content[0].text)


@pytest.mark.parametrize(
    ("mode", "generation"), [("legacy", None), ("legacy", STATELESS), ("2026-07-28", None), ("2026-07-28", SESSIONS)]
)
async def test_a_call_that_its_client_cancels_is_cancelled_at_the_server(
    talkatives: Mapping[str | None, Relayed], mode: str, generation: str | None
) -> None:
    """2025-11-25: by a notification of its own. 2026-07-28: by closing the stream. Each as the server knows it."""
    talkative = talkatives[generation]
    async with talkative.connected(mode) as client, asyncio.timeout(SECONDS):
        for number in range(ROUNDS):
            name, begun = f"{mode}-{number}", Begun()
            call = client.call_tool("work", {"name": name}, progress_callback=begun.report)
            working = asyncio.create_task(call)
            await begun.event.wait()
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working
            assert _text(await client.call_tool("until", {"signal": f"{name} cancelled"})) == f"{name} cancelled"


async def test_a_call_is_cancelled_too_that_went_on_after_a_question(
    talkatives: Mapping[str | None, Relayed],
) -> None:
    """Its client left and came back with the answer, to either worker; the server has heard one request."""

    async def elicited(context: Any, params: Any) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"word": "go"})

    talkative = talkatives[SESSIONS]
    async with (
        talkative.connected("2026-07-28", elicitation_callback=elicited) as client,
        talkative.connected() as another,
        asyncio.timeout(SECONDS),
    ):
        for number in range(ROUNDS):
            name = f"asked-{number}"
            working = asyncio.create_task(client.call_tool("ask_and_work", {"name": name}))
            assert _text(await another.call_tool("until", {"signal": f"{name} begun"})) == f"{name} begun"
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working
            assert _text(await another.call_tool("until", {"signal": f"{name} cancelled"})) == f"{name} cancelled"


async def test_a_question_that_its_server_withdraws_is_withdrawn_at_the_client(talkative: Relayed) -> None:
    asked, withdrawn = asyncio.Event(), asyncio.Event()

    async def elicited(context: Any, params: Any) -> types.ElicitResult:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            withdrawn.set()
        raise AssertionError("never answered")

    async with (
        talkative.connected(elicitation_callback=elicited) as client,
        talkative.connected() as another,
        asyncio.timeout(SECONDS),
    ):
        asking = asyncio.create_task(client.call_tool("ask_until", {"signal": "enough"}))
        await asked.wait()
        await another.call_tool("give", {"signal": "enough"})
        assert _text(await asking) == "withdrawn"
        await withdrawn.wait()


async def test_what_a_client_refuses_is_refused_at_the_server(talkative: Relayed) -> None:
    async def declined(context: Any, params: Any) -> types.ElicitResult:
        return types.ElicitResult(action="decline")

    async def failed(context: Any, params: Any) -> types.ErrorData:
        return types.ErrorData(code=-1, message="no model today")

    async with talkative.connected(elicitation_callback=declined, sampling_callback=failed) as client:
        assert _text(await client.call_tool("ask_user", {"question": "?"})).startswith("user: decline")
        with pytest.raises(MCPError, match="no model today"):
            await client.call_tool("ask_model", {"prompt": "?"})


async def test_a_server_hears_that_roots_have_changed(talkative: Relayed) -> None:
    async def roots(context: Any) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[])

    async with talkative.connected(list_roots_callback=roots) as client, asyncio.timeout(SECONDS):
        await client.send_roots_list_changed()
        assert _text(await client.call_tool("until", {"signal": "roots changed"})) == "roots changed"


async def test_a_server_without_sessions_logs_to_the_call_that_asked_for_it(talkative: Relayed) -> None:
    heard: list[str] = []

    async def logged(params: types.LoggingMessageNotificationParams) -> None:
        heard.append(f"{params.level}: {params.data}")

    for level, expected in (("info", ["info: loud"]), ("debug", ["info: loud", "debug: quiet"])):
        heard.clear()
        async with talkative.connected("2026-07-28", log_level=level, logging_callback=logged) as client:
            await client.call_tool("log", {})
        assert heard == expected


async def test_each_side_answers_pings_of_the_other(talkative: Relayed) -> None:
    async with talkative.connected() as client, asyncio.timeout(SECONDS):
        for _ in range(ROUNDS):
            await client.send_ping()
            assert _text(await client.call_tool("ping_client", {})) == "there"


@BOTH
async def test_contents_of_every_kind_are_read_as_they_were_written(talkative: Relayed, mode: str) -> None:
    async with talkative.connected(mode) as relayed, direct(talkative, mode) as alone:
        for say in (_shown, _listed, _read, _prompted):
            assert await say(relayed) == await say(alone)


def direct(relayed: Relayed, mode: str) -> Any:
    """Connect to the server itself."""
    return Client(relayed.server["url"], mode=mode)


async def _shown(client: Client) -> Any:
    result = await client.call_tool("everything", {})
    assert [each.type for each in result.content] == ["text", "image", "audio", "resource", "resource_link"]
    assert result.structured_content == {
        "whole": 2**53 + 1,
        "part": 0.1,
        "none": None,
        "deep": [{"a": [1.0, True, ""]}],
    }
    return result


async def _listed(client: Client) -> Any:
    return [
        (await client.list_tools()).tools,
        (await client.list_resources()).resources,
        (await client.list_resource_templates()).resource_templates,
        (await client.list_prompts()).prompts,
    ]


async def _read(client: Client) -> Any:
    return (await client.read_resource("memo://a")).contents


async def _prompted(client: Client) -> Any:
    return await client.get_prompt("greet", {"who": "Ada"})


def test_answers_are_the_server_s_to_the_byte(talkative: Relayed) -> None:
    with httpx.Client(trust_env=False) as client:
        alone = called(client, talkative.server["url"], "everything", {})
    assert "result" in alone.text, alone.text
    with talkative.proxy.client(talkative.key()) as client:
        for _ in range(ROUNDS):
            relayed = called(client, talkative.path, "everything", {})
            assert relayed.headers["content-type"] == alone.headers["content-type"]
            assert relayed.content == alone.content


async def test_an_error_is_the_server_s_own(talkative: Relayed) -> None:
    async with talkative.connected() as relayed, direct(talkative, "legacy") as alone:
        told = []
        for client in (relayed, alone):
            with pytest.raises(MCPError) as refused:
                await client.read_resource("nothing://here")
            told.append((refused.value.code, refused.value.message, json.dumps(refused.value.data)))
        assert told[0] == told[1]

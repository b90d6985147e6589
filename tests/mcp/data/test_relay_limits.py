"""How long and how often a server may be busy with relayed calls: the bounds that its row, or the operator, sets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import httpx
import mcp_types as types
import pytest
from mcp import Client, MCPError

from tests.mcp.data.calling import Events, Registered, call, error
from tests.mcp.data.conftest import OwnBackend, Register
from tests.mcp.relayed import Relayed
from tests.support.mcp_backends import Speaks
from tests.support.processes import wait_until
from tests.support.proxy import Proxy

pytestmark = pytest.mark.requirement("MCP-21")

BOTH: Final = pytest.mark.parametrize(
    ("speaks", "mode"), [(Speaks.SESSIONS, "legacy"), (Speaks.STATELESS, "2026-07-28")], ids=["legacy", "2026-07-28"]
)
SECONDS: Final = 2
"""That a server may be silent: long enough for it to answer at all on a busy machine."""
NEVER: Final = {"gate": "never"}

Bounded = Callable[..., tuple[Registered, Relayed]]


class User:
    """Is asked, and thinks until the test lets it answer."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.decides = asyncio.Event()

    async def elicit(self, context: Any, params: Any) -> types.ElicitResult:
        """Think."""
        self.asked.set()
        await self.decides.wait()
        return types.ElicitResult(action="accept", content={"sure": True})


@pytest.fixture
def bounded(calling_proxy: Proxy, registered: Register, own_backend: OwnBackend) -> Bounded:
    """Register a server that may not be silent for long: `bounded(speaks, name, **fields)`."""

    def make(speaks: Speaks, name: str, **fields: Any) -> tuple[Registered, Relayed]:
        server = registered(own_backend(speaks), name, **{"timeout": SECONDS, **fields})
        return server, Relayed(calling_proxy, {"server_id": server.server_id, "server_name": server.name})

    return make


def counted(client: httpx.Client, server: str, expected: Mapping[str, str]) -> None:
    """Wait until metrics count the calls of a server, by how they ended: that is done behind the answer."""

    def outcomes() -> Mapping[str, str]:
        lines = client.get("/metrics", follow_redirects=True).text.splitlines()
        ours = [each for each in lines if each.startswith("routeiq_mcp_requests_total")]
        mine = [each for each in ours if f'server="{server}"' in each]
        return {line.split("outcome=")[1].split('"')[1]: line.rsplit(" ", 1)[1] for line in mine}

    wait_until(lambda: outcomes() == expected, 30, f"the count {expected}")


async def is_timed_out(client: Client, tool: str, arguments: Mapping[str, Any]) -> None:
    """Call a tool whose server is silent for too long."""
    with pytest.raises(MCPError, match=f"silent for {SECONDS}"):
        await client.call_tool(tool, dict(arguments))


@BOTH
async def test_a_silent_call_ends_everywhere(
    bounded: Bounded, client: httpx.Client, events: Events, speaks: Speaks, mode: str
) -> None:
    server, relayed = bounded(speaks, f"silent_{speaks}")
    before = len(events.all())
    async with relayed.connected(mode) as connected:
        await is_timed_out(connected, "wait", NEVER)
        assert await asyncio.to_thread(lambda: server.backend.cancelled(at_least=1)) == 1
        assert (await connected.call_tool("add", {"a": 1, "b": 2})).structured_content == {"result": 3}
    told = await asyncio.to_thread(lambda: events.since(before, ends=2))
    assert [each["event"] for each in told if each["event"] in ("success", "failure")] == ["failure", "success"]
    await asyncio.to_thread(counted, client, server.name, {"timeout": "1.0", "ok": "1.0"})


@BOTH
async def test_a_server_that_does_not_begin_to_answer(
    bounded: Bounded, client: httpx.Client, speaks: Speaks, mode: str
) -> None:
    server, relayed = bounded(speaks, f"mute_{speaks}")
    async with relayed.connected(mode) as connected:
        await connected.list_tools()
        server.backend.misbehave("hang")
        await is_timed_out(connected, "add", {"a": 1, "b": 2})
        server.backend.misbehave(None)
        assert (await connected.call_tool("add", {"a": 1, "b": 2})).structured_content == {"result": 3}
    await asyncio.to_thread(counted, client, server.name, {"timeout": "1.0", "ok": "1.0"})


async def test_a_user_may_think_for_longer_than_a_server_may_be_silent(bounded: Bounded) -> None:
    """The other call began after the question was asked: when its time is up so is that of the first."""
    user, (_, relayed) = User(), bounded(Speaks.SESSIONS, "thoughtful")
    async with relayed.connected(elicitation_callback=user.elicit) as asked, relayed.connected() as other:
        asking = asyncio.create_task(asked.call_tool("ask", {}))
        await user.asked.wait()
        await is_timed_out(other, "wait", NEVER)
        assert not asking.done()
        user.decides.set()
        assert "sure=True" in str((await asking).content)


async def test_after_the_answer_the_server_s_time_begins_anew(bounded: Bounded) -> None:
    user, (server, relayed) = User(), bounded(Speaks.SESSIONS, "answered")
    user.decides.set()
    async with relayed.connected(elicitation_callback=user.elicit) as asked:
        await is_timed_out(asked, "ask", NEVER)
    assert user.asked.is_set()
    assert await asyncio.to_thread(lambda: server.backend.cancelled(at_least=1)) == 1


async def test_a_listening_stream_may_be_silent(bounded: Bounded) -> None:
    server, relayed = bounded(Speaks.STATELESS, "listened_to")
    async with (
        relayed.connected("2026-07-28") as connected,
        connected.listen(tools_list_changed=True) as stream,
    ):
        await is_timed_out(connected, "wait", NEVER)
        await asyncio.to_thread(server.backend.redefine, "Says it once more.")
        assert type(await anext(aiter(stream))).__name__ == "ToolsListChanged"


async def test_calls_of_relay_and_pool_share_the_slots_of_a_server(bounded: Bounded, client: httpx.Client) -> None:
    user, (server, relayed) = User(), bounded(Speaks.SESSIONS, "narrow", max_concurrent_requests=1)
    async with relayed.connected(elicitation_callback=user.elicit) as first, relayed.connected() as second:
        asking = asyncio.create_task(first.call_tool("ask", {}))
        await user.asked.wait()
        with pytest.raises(MCPError, match="too many calls of MCP server 'narrow'"):
            await second.call_tool("add", {"a": 1, "b": 2})
        pooled = await asyncio.to_thread(call, client, "add", {"a": 1, "b": 2}, server.server_id)
        assert error(pooled, 503)
        assert len((await second.list_tools()).tools) > 1, "what is no call needs no slot"
        assert server.backend.calls().get("add", 0) == 0
        user.decides.set()
        await asking
        assert (await second.call_tool("add", {"a": 1, "b": 2})).structured_content == {"result": 3}
    await asyncio.to_thread(counted, client, server.name, {"error": "2.0", "ok": "2.0"})


async def test_clients_that_leave_give_their_slots_back(bounded: Bounded) -> None:
    server, relayed = bounded(Speaks.STATELESS, "narrow_and_left", timeout=60, max_concurrent_requests=1)
    backend = server.backend

    def runs(count: int) -> None:
        wait_until(lambda: backend.calls().get("wait", 0) == count, 30, "the call to run")

    for count in (1, 2, 3):
        async with relayed.connected("2026-07-28") as leaving:
            calling = asyncio.create_task(leaving.call_tool("wait", NEVER))
            await asyncio.to_thread(runs, count)
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)
        assert await asyncio.to_thread(partial(backend.cancelled, at_least=count)) == count

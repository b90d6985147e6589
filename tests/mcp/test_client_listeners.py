"""Streams of clients' sessions for what servers say by themselves: counted while they are open, and never after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from routeiq_plugin.mcp.credentials import Credential
from routeiq_plugin.mcp.http.carrier import Carrier
from routeiq_plugin.mcp.http.facts import Facts
from routeiq_plugin.mcp.http.wire import Wire
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.relay.client_sessions import ClientSessions
from routeiq_plugin.mcp.relay.mailbox import Mailbox
from routeiq_plugin.mcp.relay.translation.upward import Upward
from routeiq_plugin.outbound import Clients, Guard
from routeiq_plugin.settings import OutboundSettings
from routeiq_plugin.store.mcp_relay import RelayStore
from tests.mcp.conformance.reference.generations import STATELESS
from tests.mcp.scripted import Exchange, scripted
from tests.store.parts import SEALER, opened

pytestmark = pytest.mark.requirement("MCP-21")

STREAMS: Final = 10
"""Of one session, at once."""


def _acknowledges(exchange: Exchange) -> None:
    meta = {"io.modelcontextprotocol/subscriptionId": exchange.message["id"]}
    params = {"notifications": {"toolsListChanged": True}, "_meta": meta}
    exchange.stream()
    exchange.event({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params})
    exchange.event({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {"_meta": meta}})


@pytest.fixture
async def sessions(tmp_path: Path) -> AsyncIterator[ClientSessions]:
    """Those of one worker."""
    async with opened(f"sqlite:///{tmp_path}/routeiq.db") as database:
        store = RelayStore(database, SEALER)
        yield ClientSessions(store, Mailbox(store))


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """The way to a server that tells of changes at once."""
    settings = OutboundSettings(allowed_hosts=("127.0.0.1",))
    clients = Clients(settings, Guard(settings.allowed_hosts))
    with scripted(STATELESS) as server:
        server.script["subscriptions/listen"] = _acknowledges
        yield Wire(Carrier(clients), Server({"server_id": "s", "url": server.url}, 1), Credential("gateway"), 10)
        await clients.aclose()


async def test_a_client_that_leaves_at_any_moment_listens_no_more(sessions: ClientSessions, wire: Wire) -> None:
    session = await sessions.begin(Facts("2025-11-25"), "owner")
    for moment in range(100):
        stream = Upward(wire, sessions, await sessions.find(session.name)).listen()
        hearing = asyncio.ensure_future(anext(stream))
        for _ in range(moment * 10):
            await asyncio.sleep(0)
        hearing.cancel()
        with suppress(asyncio.CancelledError):
            await hearing
        await stream.aclose()
        await session.refresh()
        assert session.state.listeners == 0, moment
    assert session.version > STREAMS, "some got so far as to be counted"


async def test_many_streams_of_one_session_are_counted_each(sessions: ClientSessions, wire: Wire) -> None:
    session = await sessions.begin(Facts("2025-11-25"), "owner")
    streams = [Upward(wire, sessions, await sessions.find(session.name)).listen() for _ in range(STREAMS)]
    await asyncio.gather(*(anext(each) for each in streams))
    await session.refresh()
    assert session.state.listeners == STREAMS
    await asyncio.gather(*(each.aclose() for each in streams))
    await session.refresh()
    assert session.state.listeners == 0

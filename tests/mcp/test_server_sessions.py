"""Sessions with servers, kept for clients that have none: when one is replaced, and when it is ended."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from routeiq_plugin.errors import BackendError
from routeiq_plugin.mcp.credentials import Credential
from routeiq_plugin.mcp.http.carrier import Carrier
from routeiq_plugin.mcp.http.facts import Facts
from routeiq_plugin.mcp.http.wire import SessionLost, Wire
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.relay.mailbox import Mailbox
from routeiq_plugin.mcp.relay.translation import server_sessions
from routeiq_plugin.mcp.relay.translation.server_sessions import AGE_SECONDS, MOST_OF_ONE, ServerSession, ServerSessions
from routeiq_plugin.outbound import Clients, Guard
from routeiq_plugin.settings import OutboundSettings
from routeiq_plugin.store.mcp_relay import RelayStore
from tests.mcp.conformance.reference.generations import SESSIONS
from tests.mcp.scripted import Exchange, Scripted, scripted
from tests.store.parts import SEALER, opened

pytestmark = pytest.mark.requirement("MCP-21")

OWNER: Final = "owner"
PING: Final = {"jsonrpc": "2.0", "id": "ping", "method": "ping"}


@pytest.fixture
def server() -> Iterator[Scripted]:
    """A server with sessions."""
    with scripted(SESSIONS) as running:
        running.script["ping"] = lambda exchange: exchange.answer({})
        yield running


@pytest.fixture
async def sessions(tmp_path: Path, wire: Wire) -> AsyncIterator[ServerSessions]:
    """Those of one worker, which end before the way there does."""
    assert wire
    async with opened(f"sqlite:///{tmp_path}/routeiq.db") as database:
        found = ServerSessions(Mailbox(RelayStore(database, SEALER)))
        yield found
        await found.aclose()


@pytest.fixture
async def wire(server: Scripted) -> AsyncIterator[Wire]:
    """The way to the server."""
    settings = OutboundSettings(allowed_hosts=("127.0.0.1",))
    clients = Clients(settings, Guard(settings.allowed_hosts))
    yield Wire(Carrier(clients), Server({"server_id": "s", "url": server.url}, 1), Credential("gateway"), 10)
    await clients.aclose()


def _of(sessions: ServerSessions, wire: Wire, name: str = "client") -> asyncio.Future[ServerSession]:
    return asyncio.ensure_future(sessions.of(wire, OWNER, "gateway", Facts("2026-07-28", {"name": name})))


def _ends(server: Scripted) -> int:
    return [each.method for each in server.seen].count("DELETE")


async def test_a_session_that_grows_old_in_use_ends_after_that(
    server: Scripted, sessions: ServerSessions, wire: Wire
) -> None:
    session = await _of(sessions, wire)
    with session.request():
        sessions.sweep(time.monotonic() + AGE_SECONDS + 1)
        for _ in range(3):
            await wire.once(PING, session.headers)
        assert _ends(server) == 0
        assert await _of(sessions, wire) is not session
    await sessions.aclose()
    assert _ends(server) == 2


async def test_who_listens_on_an_old_session_is_told_to_listen_anew(sessions: ServerSessions, wire: Wire) -> None:
    session = await _of(sessions, wire)
    async with session.listening([]) as (heard, _):
        while not heard.empty():
            heard.get_nowait()  # this server has no stream of its own, and says so
        sessions.sweep(time.monotonic() + AGE_SECONDS + 1)
        assert await heard.get() is None


async def test_sessions_that_did_not_begin_take_nobody_s_place(
    server: Scripted, sessions: ServerSessions, wire: Wire
) -> None:
    server.script["initialize"] = lambda exchange: exchange.nothing(500)
    for number in range(MOST_OF_ONE):
        with pytest.raises(BackendError):
            await _of(sessions, wire, str(number))
    del server.script["initialize"]
    assert (await _of(sessions, wire, "last")).introduction


@pytest.mark.parametrize("script", ["GET", "resources/subscribe"])
async def test_a_listener_hears_that_the_server_has_forgotten_its_session(
    server: Scripted, sessions: ServerSessions, wire: Wire, script: str
) -> None:
    session = await _of(sessions, wire)
    server.script |= {script: _forgotten, "ping": _forgotten}
    with pytest.raises(SessionLost):
        async with session.listening(["memo://a"]):
            pass
    sessions.lost(session)
    assert await _of(sessions, wire) is not session


async def test_a_server_without_a_stream_has_forgotten_nothing(
    server: Scripted, sessions: ServerSessions, wire: Wire
) -> None:
    """Many answer GET with 404 as well."""
    server.script["GET"] = _forgotten
    session = await _of(sessions, wire)
    async with session.listening([]):
        assert await _of(sessions, wire) is session


async def test_a_server_that_says_nothing_of_its_stream_is_listened_to(
    server: Scripted, sessions: ServerSessions, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_sessions, "OPENED_SECONDS", 0.01)
    over = threading.Event()
    with ExitStack() as stack:
        stack.callback(over.set)
        server.script["GET"] = lambda exchange: _silent(exchange, over)
        session = await _of(sessions, wire)
        async with asyncio.timeout(30), session.listening([]):
            pass


def _forgotten(exchange: Exchange) -> None:
    exchange.nothing(404)


def _silent(exchange: Exchange, over: threading.Event) -> None:
    over.wait(60)
    exchange.nothing(405)

"""Single messages to a server: streams that it ends, headers that describe them, and addresses that are refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from routeiq_plugin.errors import AddressRefused, BackendError
from routeiq_plugin.mcp.credentials import Credential
from routeiq_plugin.mcp.http import places
from routeiq_plugin.mcp.http.carrier import Carrier
from routeiq_plugin.mcp.http.wire import SessionLost, Wire
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.outbound import Clients, Guard
from routeiq_plugin.settings import OutboundSettings
from tests.mcp.conformance.reference.generations import SESSIONS
from tests.mcp.scripted import SESSION, Exchange, Scripted, scripted

pytestmark = pytest.mark.requirement("MCP-21")

CALL: Final = {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "one", "arguments": {}}}
HEADERS: Final = {"mcp-session-id": SESSION, "mcp-protocol-version": "2025-11-25"}
RESULT: Final[Mapping[str, Any]] = {"jsonrpc": "2.0", "id": 5, "result": {"content": []}}


@pytest.fixture
def server() -> Iterator[Scripted]:
    """A server with sessions."""
    with scripted(SESSIONS) as running:
        yield running


@asynccontextmanager
async def wire_to(url: str, shown: Mapping[str, str] = {}, guard: Guard | None = None) -> AsyncIterator[Wire]:
    """The way to it."""
    clients = Clients(OutboundSettings(), guard or Guard(("127.0.0.1",)))
    carrier = Carrier(clients)
    yield Wire(carrier, Server({"server_id": "x", "url": url, "transport": "http"}, 1), Credential("c", shown), 30)
    await carrier.aclose()
    await clients.aclose()


def ends_early(exchange: Exchange) -> None:
    """Begin a stream, and end it before the answer."""
    exchange.stream()
    exchange.wfile.write(b"id: e0\nretry: 20\ndata: \n\n")


def resumptions(server: Scripted) -> list[str]:
    """After which events the stream was asked for."""
    return [each.headers["last-event-id"] for each in server.seen if "last-event-id" in each.headers]


@pytest.mark.parametrize("way", ["at once", "empty twice", "503"])
async def test_a_stream_that_the_server_ends_is_taken_up_again(
    monkeypatch: pytest.MonkeyPatch, server: Scripted, way: str
) -> None:
    monkeypatch.setattr(places, "RETRY_SECONDS", 60.0)  # what the server says counts

    def resume(exchange: Exchange) -> None:
        times = len(resumptions(server))
        if way == "503" and times == 1:
            exchange.nothing(503)
            return
        exchange.stream()
        if way != "empty twice" or times > 2:
            exchange.event(RESULT)

    server.script |= {"tools/call": ends_early, "GET": resume}
    async with wire_to(server.url) as wire:
        assert [each async for each in wire.ask(CALL, HEADERS)] == [RESULT]
    assert set(resumptions(server)) == {"e0"}


@pytest.mark.parametrize("status", [404, 405, 503])
async def test_a_stream_that_cannot_be_taken_up_again_is_no_session_that_was_lost(
    server: Scripted, status: int
) -> None:
    """Who hears that a session was lost calls once more: the call may have been carried out."""
    server.script |= {"tools/call": ends_early, "GET": lambda exchange: exchange.nothing(status)}
    async with wire_to(server.url) as wire:
        with pytest.raises(BackendError, match="without a result") as ended:
            [each async for each in wire.ask(CALL, HEADERS)]
    assert not isinstance(ended.value, SessionLost)
    assert len(resumptions(server)) == places.MOST_FAILURES


async def test_an_id_that_is_null_is_none(server: Scripted) -> None:
    told = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}

    def answer(exchange: Exchange) -> None:
        exchange.stream()
        exchange.event({**told, "id": None})
        exchange.event(RESULT)

    server.script["tools/call"] = answer
    async with wire_to(server.url) as wire:
        assert [each async for each in wire.ask(CALL, HEADERS)] == [told, RESULT]


async def test_a_rows_own_headers_describe_no_message(server: Scripted) -> None:
    server.script["tools/call"] = lambda exchange: exchange.answer(RESULT["result"])
    shown = {"Accept": "text/plain", "Content-Type": "text/plain", "Mcp-Session-Id": "wrong", "X-Own": "1"}
    async with wire_to(server.url, shown) as wire:
        assert [each async for each in wire.ask(CALL, {**HEADERS, "x-city": "Zürich"})] == [RESULT]

    headers = server.seen[-1].headers
    assert headers["accept"] == "application/json, text/event-stream"
    assert headers["content-type"] == "application/json"
    assert headers["mcp-session-id"] == SESSION
    assert headers["x-own"] == "1"
    assert headers["x-city"].encode("latin-1").decode() == "Zürich"


async def test_a_name_that_leads_to_a_private_address_is_the_servers_failure(server: Scripted) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["169.254.169.254"]

    url = f"http://server.example:{server.server_address[1]}/mcp"
    async with wire_to(url, guard=Guard((), resolve)) as wire:
        with pytest.raises(BackendError) as refused:
            [each async for each in wire.ask(CALL, HEADERS)]
        assert not isinstance(refused.value, AddressRefused)
        await wire.cancel(5, HEADERS)
        await wire.end(HEADERS)
    assert "169.254" not in str(refused.value)
    assert server.seen == []

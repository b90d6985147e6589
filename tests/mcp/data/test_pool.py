"""The pool by itself: what it makes, keeps, closes and never connects to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx2
import pytest

from routeiq_plugin.errors import BackendError, Unavailable
from routeiq_plugin.mcp import requests
from routeiq_plugin.mcp.catalog import Catalog, Offer
from routeiq_plugin.mcp.credentials import Credential
from routeiq_plugin.mcp.http.carrier import Carrier
from routeiq_plugin.mcp.http.facts import Facts
from routeiq_plugin.mcp.http.stateless import enveloped, routing_headers
from routeiq_plugin.mcp.http.wire import Wire
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.relay.translation import shapes
from routeiq_plugin.mcp.sessions import AGE_SECONDS, IDLE_SECONDS, Sessions
from routeiq_plugin.mcp.slots import Policy
from routeiq_plugin.outbound import Clients, Guard, draining2, transports2
from routeiq_plugin.settings import OutboundSettings
from tests.mcp.data.conftest import HTTP, NETWORK, OwnBackend, Shared
from tests.support.mcp_backends import McpBackend, Speaks

pytestmark = pytest.mark.requirement("MCP-20")

GATEWAY = Credential("gateway")
ADD = requests.call_tool("add", {"a": 1, "b": 2}, {})


def server_of(backend: McpBackend, **fields: Any) -> Server:
    """Describe a backend as a registered server."""
    return Server(
        {"server_id": backend.options.name, "alias": "x", "url": backend.url, "transport": backend.transport, **fields},
        1,
    )


@pytest.fixture
async def clients() -> AsyncIterator[Clients]:
    """Clients that may call loopback."""
    settings = OutboundSettings(allowed_hosts=("127.0.0.1",))
    made = Clients(settings, Guard(settings.allowed_hosts))
    yield made
    await made.aclose()


@pytest.fixture
async def sessions(clients: Clients) -> AsyncIterator[Sessions]:
    """A pool that may call loopback."""
    pool = Sessions(clients, Policy(10, 32, stdio=False), lambda *_: None)
    yield pool
    await pool.aclose()


@pytest.mark.parametrize("speaks", HTTP)
async def test_calls_make_no_client_and_no_tls_context(
    monkeypatch: pytest.MonkeyPatch, sessions: Sessions, backend_that: Shared, speaks: Speaks
) -> None:
    server = server_of(backend_that(speaks))
    await sessions.call(server, GATEWAY, ADD)
    made: list[str] = []
    original_client, original_context = httpx2.AsyncClient.__init__, ssl.SSLContext.__new__

    def client(self: httpx2.AsyncClient, *arguments: Any, **options: Any) -> None:
        made.append("client")
        original_client(self, *arguments, **options)

    def context(cls: type[ssl.SSLContext], *arguments: Any, **options: Any) -> ssl.SSLContext:
        made.append("context")
        return original_context(cls, *arguments, **options)

    monkeypatch.setattr(httpx2.AsyncClient, "__init__", client)
    monkeypatch.setattr(ssl.SSLContext, "__new__", context)
    for _ in range(100):
        assert (await sessions.call(server, GATEWAY, ADD)).structured_content == {"result": 3}
    assert made == []
    await sessions.call(server, Credential("another"), ADD)
    assert made == ["client"], "what counts must be able to count"


@pytest.mark.parametrize("speaks", HTTP)
async def test_calls_in_turn_share_one_connection(
    monkeypatch: pytest.MonkeyPatch, sessions: Sessions, own_backend: OwnBackend, speaks: Speaks
) -> None:
    """The SDK closes each call's events at their answer, before their end; that must not cost the connection."""
    server = server_of(own_backend(speaks))
    monkeypatch.setattr(draining2, "END_SECONDS", 60)
    await sessions.call(server, GATEWAY, ADD)
    await all_ended()
    dialled = dials(monkeypatch)
    for _ in range(20):
        await sessions.call(server, GATEWAY, ADD)
        await all_ended()
    assert dialled == []
    await sessions.call(server, Credential("another"), ADD)
    assert speaks is Speaks.STATELESS or dialled, "what counts must be able to count"


@pytest.mark.parametrize("speaks", HTTP)
async def test_messages_in_turn_share_one_connection(
    monkeypatch: pytest.MonkeyPatch, clients: Clients, own_backend: OwnBackend, speaks: Speaks
) -> None:
    """The relay's own way to a server, too, is done with a stream at its answer."""
    wire = Wire(Carrier(clients), server_of(own_backend(speaks)), GATEWAY, 30)
    monkeypatch.setattr(draining2, "END_SECONDS", 60)
    facts = Facts("2026-07-28", {"name": "test", "version": "1"})
    headers: dict[str, str] = {}
    if speaks is Speaks.SESSIONS:
        begun = await wire.once(shapes.initialize(facts), {})
        headers = {"mcp-session-id": begun.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}
        await wire.tell({"jsonrpc": "2.0", "method": "notifications/initialized"}, headers)
    dialled = dials(monkeypatch)
    for number in range(20):
        call = {
            "jsonrpc": "2.0",
            "id": number,
            "method": "tools/call",
            "params": {"name": "add", "arguments": {"a": 1, "b": 2}},
        }
        sent = call if headers else enveloped(call, facts)
        messages = [each async for each in wire.ask(sent, headers or routing_headers(sent))]
        assert messages[-1]["result"]["structuredContent"] == {"result": 3}
        await all_ended()
    assert dialled == [] if headers else len(dialled) == 1


def dials(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Write down which connections are made from now on."""
    dialled: list[str] = []
    original = transports2.PinnedBackend.connect_tcp

    async def dial(self: transports2.PinnedBackend, host: str, port: int, *rest: Any, **options: Any) -> Any:
        dialled.append(host)
        return await original(self, host, port, *rest, **options)

    monkeypatch.setattr(transports2.PinnedBackend, "connect_tcp", dial)
    return dialled


async def all_ended() -> None:
    """Wait until no answered stream of events is open."""
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() == draining2.END))


async def test_each_credential_has_a_session_of_its_own(sessions: Sessions, own_backend: OwnBackend) -> None:
    backend = own_backend(Speaks.SESSIONS)
    server = server_of(backend)
    for user in ("ada", "bob", "ada"):
        await sessions.call(server, Credential(user, {"X-User": user}), ADD)

    calls = [each for each in backend.seen() if each.rpc_method == "tools/call"]
    ids = [each.headers["mcp-session-id"] for each in calls]
    assert [each.headers["x-user"] for each in calls] == ["ada", "bob", "ada"]
    assert ids[0] == ids[2] != ids[1]
    assert sessions.facts()["sessions"] == 2


async def test_a_renewed_token_is_shown_on_the_same_session(sessions: Sessions, own_backend: OwnBackend) -> None:
    backend = own_backend(Speaks.SESSIONS)
    for token in ("old", "new"):
        await sessions.call(server_of(backend), Credential("ada", {"X-Token": token}), ADD)

    calls = [each for each in backend.seen() if each.rpc_method == "tools/call"]
    assert [each.headers["x-token"] for each in calls] == ["old", "new"]
    assert len({each.headers["mcp-session-id"] for each in calls}) == 1


@pytest.mark.parametrize("seconds", [IDLE_SECONDS + 1, AGE_SECONDS + 1])
async def test_sessions_that_are_idle_or_old_are_closed(
    sessions: Sessions, own_backend: OwnBackend, seconds: float
) -> None:
    backend = own_backend(Speaks.SESSIONS)
    await sessions.call(server_of(backend), GATEWAY, ADD)
    loop = asyncio.get_running_loop()

    sessions.sweep(loop.time())
    assert sessions.facts()["sessions"] == 1
    sessions.sweep(loop.time() + seconds)

    assert sessions.facts()["sessions"] == 0
    await sessions.call(server_of(backend), GATEWAY, ADD)
    assert backend.posts().count("initialize") == 2
    assert "DELETE" in [each.method for each in backend.seen()]


async def test_a_server_that_was_written_anew_is_connected_to_anew(sessions: Sessions, own_backend: OwnBackend) -> None:
    backend = own_backend(Speaks.SESSIONS)
    await sessions.call(server_of(backend), GATEWAY, ADD)
    await sessions.forget(backend.options.name)
    await sessions.call(server_of(backend), GATEWAY, ADD)

    assert backend.posts().count("initialize") == 2


@pytest.mark.parametrize("speaks", NETWORK)
async def test_the_pool_closes_within_seconds_and_fails_what_is_under_way(
    own_backend: OwnBackend, speaks: Speaks
) -> None:
    settings = OutboundSettings(allowed_hosts=("127.0.0.1",))
    clients = Clients(settings, Guard(settings.allowed_hosts))
    pool = Sessions(clients, Policy(60, 32, stdio=False), lambda *_: None)
    backend = own_backend(speaks)
    server = server_of(backend)
    await pool.call(server, GATEWAY, ADD)
    waiting = asyncio.create_task(pool.call(server, GATEWAY, requests.call_tool("wait", {"gate": "never"}, {})))
    while not (await asyncio.to_thread(backend.calls)).get("wait"):  # noqa: ASYNC110  another process
        await asyncio.sleep(0.05)

    async with asyncio.timeout(20):
        await pool.aclose()
        with pytest.raises(BackendError):
            await waiting
    with pytest.raises(Unavailable):
        await pool.call(server, GATEWAY, ADD)
    await clients.aclose()


async def test_a_name_that_leads_to_a_private_address_is_never_connected_to(backend_that: Shared) -> None:
    backend = backend_that(Speaks.STATELESS)
    before = len(backend.seen())

    async def resolver(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    settings = OutboundSettings()
    clients = Clients(settings, Guard((), resolver))
    pool = Sessions(clients, Policy(5, 32, stdio=False), lambda *_: None)
    for transport, path in (("http", "mcp"), ("sse", "sse")):
        url = f"http://rebound.example:{backend.port}/{path}"
        server = Server({"server_id": transport, "url": url, "transport": transport}, 1)
        with pytest.raises(BackendError) as refused:
            await pool.call(server, GATEWAY, ADD)
        assert "127.0.0.1" not in str(refused.value)
        with pytest.raises(BackendError):
            await Catalog(pool).list(server, GATEWAY, Offer.TOOLS)
    await pool.aclose()
    await clients.aclose()
    assert len(backend.seen()) == before


async def test_lists_are_asked_for_once_by_all_who_ask_together(sessions: Sessions, own_backend: OwnBackend) -> None:
    backend = own_backend(Speaks.STATELESS)
    catalog = Catalog(sessions)
    server = server_of(backend)

    lists = await asyncio.gather(*(catalog.list(server, GATEWAY, Offer.TOOLS) for _ in range(20)))

    assert len({id(each) for each in lists}) == 1
    assert backend.posts().count("tools/list") == 1
    catalog.changed(server.server_id, "gateway", "tools")
    await catalog.list(server, GATEWAY, Offer.TOOLS)
    assert backend.posts().count("tools/list") == 2

"""Calls beside the SDK: what servers may do meanwhile, and what they must not be able to."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date
from typing import Any, Final

import pytest

from routeiq_plugin.errors import AddressRefused, BackendError
from routeiq_plugin.mcp import posts, requests, upstream
from routeiq_plugin.mcp.credentials import Credential
from routeiq_plugin.mcp.failures import ServerRefused
from routeiq_plugin.mcp.http import places
from routeiq_plugin.mcp.http.events import Event, events
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.sessions import Sessions
from routeiq_plugin.mcp.slots import Policy
from routeiq_plugin.outbound import Clients, Guard
from routeiq_plugin.outbound.headers import added
from routeiq_plugin.settings import OutboundSettings
from tests.mcp.conformance.reference.generations import SESSIONS, STATELESS
from tests.mcp.scripted import SESSION, Exchange, Say, Scripted, refuse, scripted, usual
from tests.support.processes import wait_until

pytestmark = pytest.mark.requirement("MCP-20")

SECONDS: Final = 20.0
GATEWAY: Final = Credential("gateway")
CALL: Final = requests.call_tool("one", {"a": 1}, {"type": "object"})
OK: Final = {"content": [{"type": "text", "text": "ok"}]}
LIST_CHANGED: Final = "notifications/tools/list_changed"


@pytest.fixture
def with_sessions() -> Iterator[Scripted]:
    """A server of 2025-11-25, which answers calls."""
    with scripted(SESSIONS) as running:
        running.script["tools/call"] = lambda exchange: exchange.answer(OK)
        yield running


@pytest.fixture(params=[SESSIONS, STATELESS])
def server(request: pytest.FixtureRequest) -> Iterator[Scripted]:
    """A server of each generation in turn, which answers calls."""
    with scripted(request.param) as running:
        running.script["tools/call"] = lambda exchange: exchange.answer(_result(running))
        yield running


@asynccontextmanager
async def pool(changed: Callable[..., None] = lambda *_: None, *, megabytes: int = 16) -> AsyncIterator[Sessions]:
    """A pool that may call loopback."""
    settings = OutboundSettings(allowed_hosts=("127.0.0.1",), max_response_mb=megabytes)
    clients = Clients(settings, Guard(settings.allowed_hosts))
    sessions = Sessions(clients, Policy(SECONDS, 32, stdio=False), changed)
    try:
        yield sessions
    finally:
        await sessions.aclose()
        await clients.aclose()


def described(running: Scripted) -> Server:
    """The server as it would be registered."""
    return Server({"server_id": "x", "alias": "x", "url": running.url, "transport": "http"}, 1)


def told(running: Scripted, method: str) -> list[Mapping[str, Any]]:
    """Every message of a method that the server got."""
    return [each.message for each in running.seen if each.message.get("method") == method]


def called(running: Scripted) -> Mapping[str, str]:
    """The headers of the last call."""
    return [each.headers for each in running.seen if each.message.get("method") == "tools/call"][-1]


async def happened(condition: Callable[[], Any]) -> None:
    """Wait for what the server's threads do."""
    await asyncio.to_thread(wait_until, lambda: bool(condition()), SECONDS, "what the server hears")


def deaf(is_over: threading.Event) -> Say:
    """Take a message, and say so only when all is over."""

    def take(exchange: Exchange) -> None:
        is_over.wait(SECONDS)
        exchange.nothing(202)

    return take


def text_of(result: Any) -> str:
    """What a tool said first."""
    return str(result.content[0].text)


def _result(running: Scripted, **rest: Any) -> dict[str, Any]:
    return {**OK, **({"resultType": "complete"} if running.generation == STATELESS else {}), **rest}


# The session


async def test_no_call_comes_before_the_server_was_told_that_all_is_ready(with_sessions: Scripted) -> None:
    is_let_in = threading.Event()

    def ready(exchange: Exchange) -> None:
        assert is_let_in.wait(SECONDS)
        exchange.nothing(202)

    with_sessions.script["notifications/initialized"] = ready
    async with pool() as sessions:
        calls = asyncio.gather(*(sessions.call(described(with_sessions), GATEWAY, CALL) for _ in range(3)))
        await happened(lambda: told(with_sessions, "notifications/initialized"))
        for _ in range(20):
            await asyncio.sleep(0.01)
            assert not told(with_sessions, "tools/call")
        is_let_in.set()
        assert len(await calls) == 3


async def test_a_session_that_is_lost_in_other_words_is_not_used_again(with_sessions: Scripted) -> None:
    """The SDK for TypeScript shows servers that answer so in place of 404; such an answer proves nothing."""
    known = {SESSION}

    def answer(exchange: Exchange) -> None:
        if exchange.headers.get("mcp-session-id") in known:
            exchange.answer(OK)
            return
        error = {"code": -32000, "message": "Bad Request: No valid session ID provided"}
        exchange.body(json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode(), 400)

    with_sessions.script["tools/call"] = answer
    async with pool() as sessions:
        await sessions.call(described(with_sessions), GATEWAY, CALL)
        known.clear()
        with pytest.raises(BackendError):
            await sessions.call(described(with_sessions), GATEWAY, CALL)
        known.add(SESSION)
        await sessions.call(described(with_sessions), GATEWAY, CALL)
    assert len(told(with_sessions, "initialize")) == 2
    assert len(told(with_sessions, "tools/call")) == 3


async def test_the_session_is_what_initialize_was_answered_with(with_sessions: Scripted) -> None:
    said = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}}

    def refuse(exchange: Exchange) -> None:
        exchange.answer(status=400, error={"code": -32600, "message": "no"}, headers={"mcp_session_id": "of-nothing"})

    with_sessions.script |= {"refusal": refuse, "initialize": lambda exchange: exchange.answer(said)}
    async with pool() as sessions:
        await sessions.call(described(with_sessions), GATEWAY, CALL)
    assert "mcp-session-id" not in called(with_sessions)


# Headers and arguments


async def test_a_rows_own_headers_describe_no_message(server: Scripted) -> None:
    wrong = {"Accept": "text/plain", "Content-Type": "text/plain", "MCP-Protocol-Version": "1", "Mcp-Method": "ping"}
    async with pool() as sessions:
        await sessions.call(described(server), Credential("g", {**wrong, "X-Own": "1"}), CALL)

    headers = called(server)
    assert headers["x-own"] == "1"
    assert headers["content-type"] == "application/json"
    assert headers["accept"] == "application/json, text/event-stream"
    assert headers["mcp-protocol-version"] == ("2025-11-25" if server.generation == SESSIONS else "2026-07-28")
    assert server.generation == SESSIONS or headers["mcp-method"] == "tools/call"


async def test_what_hooks_leave_is_sent_as_well_as_it_can_be(server: Scripted) -> None:
    """A hook is the operator's own code: what it makes of a call may be anything."""
    made = {"day": date(2026, 1, 2), "number": float("nan"), "text": "ü"}
    token = added.set({"X-City": "Zürich"})
    try:
        async with pool() as sessions:
            await sessions.call(described(server), GATEWAY, requests.call_tool("one", made, {}))
    finally:
        added.reset(token)

    arguments = told(server, "tools/call")[-1]["params"]["arguments"]
    assert arguments == {"day": "2026-01-02", "number": None, "text": "ü"}
    assert called(server)["x-city"].encode("latin-1").decode() == "Zürich"


# What a server says in the course of a call


async def test_a_change_of_a_list_that_comes_in_a_call_is_heard(server: Scripted) -> None:
    heard: list[tuple[str, ...]] = []

    def answer(exchange: Exchange) -> None:
        exchange.stream()
        exchange.event({"jsonrpc": "2.0", "method": LIST_CHANGED})
        exchange.event({"jsonrpc": "2.0", "id": None, "method": LIST_CHANGED})  # some write down what they leave out
        exchange.event({"jsonrpc": "2.0", "id": exchange.message["id"], "result": _result(server)})

    server.script["tools/call"] = answer
    async with pool(lambda *change: heard.append(change)) as sessions:
        await sessions.call(described(server), GATEWAY, CALL)
    assert heard[:2] == [("x", "gateway", "tools")] * 2
    assert not [each for each in server.seen if "error" in each.message]


async def test_a_question_that_nobody_hears_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch, with_sessions: Scripted
) -> None:
    monkeypatch.setattr(posts, "REPLY_SECONDS", 0.2)
    is_over = threading.Event()

    def answer(exchange: Exchange) -> None:
        exchange.stream()
        exchange.event({"jsonrpc": "2.0", "id": 7, "method": "ping"})
        exchange.event({"jsonrpc": "2.0", "id": 8, "method": "roots/list"})
        exchange.event({"jsonrpc": "2.0", "id": exchange.message["id"], "result": OK})

    with_sessions.script |= {"tools/call": answer, "answer": deaf(is_over)}
    async with pool() as sessions:
        await sessions.call(described(with_sessions), GATEWAY, CALL)
        await happened(lambda: len(_answers(with_sessions)) == 2)
        is_over.set()
    by_id = {each["id"]: each for each in _answers(with_sessions)}
    assert by_id[7]["result"] == {}
    assert by_id[8]["error"]["code"] == -32601


def _answers(running: Scripted) -> list[Mapping[str, Any]]:
    return [each.message for each in running.seen if each.method == "POST" and "method" not in each.message]


async def test_a_server_that_asks_and_asks_is_answered_one_by_one_and_not_without_end(with_sessions: Scripted) -> None:
    is_over = threading.Event()

    def answer(exchange: Exchange) -> None:
        exchange.stream()
        for number in range(500):
            exchange.event({"jsonrpc": "2.0", "id": number, "method": "ping"})
        exchange.event({"jsonrpc": "2.0", "id": exchange.message["id"], "result": OK})

    with_sessions.script |= {"tools/call": answer, "answer": deaf(is_over)}
    async with pool() as sessions:
        await sessions.call(described(with_sessions), GATEWAY, CALL)
        await happened(lambda: _answers(with_sessions))
        words = [task for task in asyncio.all_tasks() if task.get_name() == posts.WORD]
        assert len(words) == 1
        assert len(_answers(with_sessions)) == 1
        is_over.set()
        await asyncio.wait(words)
    assert 1 < len(_answers(with_sessions)) <= posts.MOST_REPLIES + 1


@pytest.mark.parametrize("id_", [None, "1000000000", 7])
async def test_an_answer_on_a_calls_own_stream_is_its_answer(server: Scripted, id_: Any) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.stream()
        exchange.event({"jsonrpc": "2.0", "id": id_, "result": _result(server)})

    server.script["tools/call"] = answer
    async with pool() as sessions:
        assert text_of(await sessions.call(described(server), GATEWAY, CALL)) == "ok"


async def test_a_server_that_leads_on_is_followed_on_its_own_host(server: Scripted) -> None:
    """As servers do that are mounted at `/mcp/`."""

    def led_on(say: Say) -> Say:
        def answer(exchange: Exchange) -> None:
            if exchange.path == "/mcp":
                exchange.body(b"", 307, location=f"{server.url}/")
            else:
                say(exchange)

        return answer

    said = {name: led_on(usual) for name in ("server/discover", "initialize", "notifications/initialized")}
    server.script |= {**said, "tools/call": led_on(server.script["tools/call"]), "refusal": led_on(refuse)}
    async with pool() as sessions:
        for _ in range(2):
            assert text_of(await sessions.call(described(server), GATEWAY, CALL)) == "ok"
    assert len(told(server, "tools/call")) == 2, "one request a call"


async def test_only_messages_are_messages(server: Scripted) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.stream()
        wrong = json.dumps({"jsonrpc": "2.0", "id": exchange.message["id"], "result": {"content": "wrong"}})
        exchange.wfile.write(b"event: progress\ndata: " + wrong.encode() + b"\n\n")
        for noise in (
            b": keep",
            b"data: ping",
            b"data: []",
            b'data: {"id": 1}',
            b'data: {"method": []}',
            b"data: \xff",
        ):
            exchange.wfile.write(noise + b"\n\n")
        exchange.event({"jsonrpc": "2.0", "id": exchange.message["id"], "result": _result(server)})

    server.script["tools/call"] = answer
    async with pool() as sessions:
        assert text_of(await sessions.call(described(server), GATEWAY, CALL)) == "ok"


@pytest.mark.parametrize(
    "answer",
    [
        {"result": []},
        {"result": {"content": "wrong"}},
        {"error": "text"},
        {"error": {"code": "x", "message": "text"}},
        {"error": {"code": 1}},
    ],
)
async def test_what_is_no_answer_is_told_in_plain_words(server: Scripted, answer: Mapping[str, Any]) -> None:
    def stream(exchange: Exchange) -> None:
        exchange.stream()
        exchange.event({"jsonrpc": "2.0", "id": exchange.message["id"], **answer})

    server.script["tools/call"] = stream
    async with pool() as sessions:
        with pytest.raises(BackendError, match="not what the protocol says"):
            await sessions.call(described(server), GATEWAY, CALL)


@pytest.mark.parametrize("text", ['"\\ud800"', "[" * 300 + "]" * 300])
@pytest.mark.parametrize("is_stream", [True, False])
async def test_what_no_answer_of_ours_could_repeat_is_no_answer(
    server: Scripted, text: str, *, is_stream: bool
) -> None:
    def answer(exchange: Exchange) -> None:
        start = json.dumps({"jsonrpc": "2.0", "id": exchange.message["id"], "result": _result(server)})
        said = (start[:-2] + f', "structuredContent": {{"x": {text}}}}}}}').encode()
        if is_stream:
            exchange.stream()
            exchange.event(said)
        else:
            exchange.body(said)

    server.script["tools/call"] = answer
    async with pool() as sessions:
        with pytest.raises(BackendError):
            await sessions.call(described(server), GATEWAY, CALL)


async def test_an_error_keeps_its_code_whatever_its_status_is(server: Scripted) -> None:
    server.script["tools/call"] = lambda exchange: exchange.answer(
        status=500, error={"code": -32602, "message": "bad argument"}
    )
    async with pool() as sessions:
        with pytest.raises(ServerRefused, match="bad argument") as refused:
            await sessions.call(described(server), GATEWAY, CALL)
    assert refused.value.code == -32602


@pytest.mark.parametrize("megabytes", [16, 32])
async def test_how_large_an_answer_may_be_is_the_operators_to_say(server: Scripted, megabytes: int) -> None:
    large = {"content": [{"type": "text", "text": "x" * 20 * 1024 * 1024}]}

    def answer(exchange: Exchange) -> None:
        exchange.stream()
        exchange.event({"jsonrpc": "2.0", "id": exchange.message["id"], "result": _result(server, **large)})

    server.script["tools/call"] = answer
    async with pool(megabytes=megabytes) as sessions:
        if megabytes == 16:
            with pytest.raises(BackendError, match="max_response_mb"):
                await sessions.call(described(server), GATEWAY, CALL)
        else:
            assert len(text_of(await sessions.call(described(server), GATEWAY, CALL))) == 20 * 1024 * 1024


# Streams that end before the answer


@pytest.mark.parametrize("way", ["at once", "empty twice", "503", "session-less"])
async def test_a_stream_that_the_server_ends_is_taken_up_again(
    monkeypatch: pytest.MonkeyPatch, with_sessions: Scripted, way: str
) -> None:
    monkeypatch.setattr(places, "RETRY_SECONDS", 60.0)  # what the server says counts
    asked: list[Any] = []

    def answer(exchange: Exchange) -> None:
        asked.append(exchange.message["id"])
        exchange.stream()
        exchange.wfile.write(b"id: e0\nretry: 20\ndata: \n\n")

    def resume(exchange: Exchange) -> None:
        if "last-event-id" not in exchange.headers:
            exchange.nothing(405)
            return
        times = len([each for each in with_sessions.seen if each.headers.get("last-event-id")])
        if way == "503" and times == 1:
            exchange.nothing(503)
            return
        exchange.stream()
        if way != "empty twice" or times > 2:
            exchange.event({"jsonrpc": "2.0", "id": asked[0], "result": OK})

    with_sessions.script |= {"tools/call": answer, "GET": resume}
    if way == "session-less":
        said = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}
        with_sessions.script["initialize"] = lambda exchange: exchange.answer(said)
    async with pool() as sessions:
        assert text_of(await sessions.call(described(with_sessions), GATEWAY, CALL)) == "ok"
    assert len(asked) == 1, "it is asked for again, never called again"
    resumed = [each.headers["last-event-id"] for each in with_sessions.seen if each.headers.get("last-event-id")]
    assert set(resumed) == {"e0"}


async def test_a_stream_that_brings_nothing_more_is_given_up(with_sessions: Scripted) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.stream()
        exchange.wfile.write(b"id: e0\nretry: 1\ndata: \n\n")

    with_sessions.script |= {"tools/call": answer, "GET": lambda exchange: exchange.nothing(404)}
    async with pool() as sessions:
        with pytest.raises(BackendError, match="without a result"):
            await sessions.call(described(with_sessions), GATEWAY, CALL)
    assert len([each for each in with_sessions.seen if each.headers.get("last-event-id")]) == places.MOST_FAILURES


async def test_without_sessions_a_stream_that_ends_is_over(server: Scripted) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.stream()
        exchange.event({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}})

    server.script["tools/call"] = answer
    async with pool() as sessions:
        with pytest.raises(BackendError, match="without a result"):
            await sessions.call(described(server), GATEWAY, CALL)


# The end of a call


async def test_a_call_that_is_given_up_is_cancelled_once(with_sessions: Scripted) -> None:
    is_over = threading.Event()

    def never(exchange: Exchange) -> None:
        is_over.wait(SECONDS)
        exchange.answer(OK)

    with_sessions.script["tools/call"] = never
    async with pool() as sessions:
        await sessions.call(described(with_sessions), GATEWAY, requests.list_tools(None))
        with pytest.raises(BackendError, match="in time"):
            await sessions.call(described(with_sessions), GATEWAY, CALL, timeout=3)
        await happened(lambda: told(with_sessions, "notifications/cancelled"))
        is_over.set()
    (cancelled,) = told(with_sessions, "notifications/cancelled")
    (call,) = told(with_sessions, "tools/call")
    assert cancelled["params"]["requestId"] == call["id"]


async def test_the_pool_closes_whatever_a_server_does(monkeypatch: pytest.MonkeyPatch, with_sessions: Scripted) -> None:
    monkeypatch.setattr(posts, "TOLD_SECONDS", 0.2)
    monkeypatch.setattr(upstream, "CLOSE_SECONDS", 0.2)
    is_over = threading.Event()

    with_sessions.script |= {"tools/call": deaf(is_over), "notifications/cancelled": deaf(is_over)}
    before = asyncio.all_tasks()
    async with pool() as sessions:
        await sessions.call(described(with_sessions), GATEWAY, requests.list_tools(None))
        calling = asyncio.create_task(sessions.call(described(with_sessions), GATEWAY, CALL))
        await happened(lambda: told(with_sessions, "tools/call"))
        await sessions.aclose()
        with pytest.raises(BackendError, match="lost"):
            await calling
    is_over.set()
    async with asyncio.timeout(SECONDS):
        while asyncio.all_tasks() - before:  # noqa: ASYNC110  tasks of others that end by themselves
            await asyncio.sleep(0.01)


async def test_a_server_that_was_deleted_ends_with_the_pool(with_sessions: Scripted) -> None:
    is_over = threading.Event()

    def never(exchange: Exchange) -> None:
        is_over.wait(SECONDS)
        exchange.answer(OK)

    with_sessions.script["tools/call"] = never
    async with pool() as sessions:
        calling = asyncio.create_task(sessions.call(described(with_sessions), GATEWAY, CALL))
        await happened(lambda: told(with_sessions, "tools/call"))
        await sessions.forget("x")
        await sessions.aclose()
        with pytest.raises(BackendError, match="lost"):
            await calling
        is_over.set()


async def test_a_name_that_later_leads_elsewhere_is_the_servers_failure(with_sessions: Scripted) -> None:
    found = ["127.0.0.1"]

    async def resolve(host: str, port: int) -> Sequence[str]:
        return list(found)

    def answer(exchange: Exchange) -> None:
        exchange.close_connection = True
        exchange.answer(OK, headers={"connection": "close"})

    with_sessions.script["tools/call"] = answer
    settings = OutboundSettings()
    clients = Clients(settings, Guard(("server.example",), resolve))
    sessions = Sessions(clients, Policy(SECONDS, 32, stdio=False), lambda *_: None)
    port = with_sessions.server_address[1]
    named = Server({"server_id": "x", "url": f"http://server.example:{port}/mcp", "transport": "http"}, 1)
    await sessions.call(named, GATEWAY, CALL)
    found[:] = ["169.254.169.254"]
    try:
        with pytest.raises(BackendError) as refused:
            await sessions.call(named, GATEWAY, CALL)
        assert not isinstance(refused.value, AddressRefused)
        assert "169.254" not in str(refused.value)
    finally:
        await sessions.aclose()
        await clients.aclose()


# Events


async def test_events_are_the_same_however_they_come() -> None:
    whole = b"id: 1\r\ndata: a\r\n\r\ndata: b\ndata: c\n\n: nothing\r\rretry: 10\nevent: x\ndata:\n\ndata: unfinished"
    expected = [Event(data=b"a", id="1"), Event(data=b"b\nc"), Event(), Event("x", b"", None, 0.01)]
    chance = random.Random(7)
    for _ in range(300):
        cuts = sorted(chance.sample(range(1, len(whole)), chance.randrange(0, 30)))
        pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        assert [Event.read(each) async for each in events(_each(pieces))] == expected


async def _each(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece

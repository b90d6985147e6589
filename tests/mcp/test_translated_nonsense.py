"""What clients and servers say that no protocol knows, translated: an error of the protocol's, and never a 500."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from tests.mcp import servers
from tests.mcp.conformance.reference.generations import SESSIONS, STATELESS
from tests.mcp.conformance.sessions import ACCEPT, RawSession, initialize, opened
from tests.mcp.relayed import Relayed, asked
from tests.mcp.scripted import SESSION, Exchange, Say, Scripted, scripted
from tests.support.proxy import Proxy

pytestmark = pytest.mark.requirement("MCP-21")

BACKEND_FAILED: Final = -32603
INVALID: Final = -32602


@dataclass(frozen=True)
class Behind:
    """A scripted server behind the relay, and one client of the other generation."""

    server: Scripted
    relayed: Relayed
    client: httpx.Client
    session: RawSession | None

    def ask(self, method: str, **params: Any) -> httpx.Response:
        """Send a request."""
        if self.session is not None:
            return self.session.send(method, params)
        return asked(self.client, self.relayed.path, method, params)


@pytest.fixture(scope="module")
def upward(relaying: Proxy) -> Iterator[Behind]:
    """A client with a session, and a server that has none."""
    with scripted(STATELESS) as server, relaying.client() as admin:
        relayed = Relayed(relaying, servers.created(admin, url=server.url))
        with relaying.client(relayed.key()) as client:
            yield Behind(server, relayed, client, opened(client, relayed.path))


@pytest.fixture(scope="module")
def downward(relaying: Proxy) -> Iterator[Behind]:
    """A client without a session, and a server that needs one."""
    with scripted(SESSIONS) as server, relaying.client() as admin:
        relayed = Relayed(relaying, servers.created(admin, url=server.url))
        with relaying.client(relayed.key()) as client:
            yield Behind(server, relayed, client, None)


@pytest.fixture(params=["upward", "downward"])
def behind(request: pytest.FixtureRequest) -> Iterator[Behind]:
    """Each in turn; scripts are forgotten after the test."""
    found: Behind = request.getfixturevalue(request.param)
    yield found
    found.server.script.clear()


@pytest.mark.parametrize(
    "changed",
    [
        {"method": {}},
        {"method": ["tools/list"]},
        {"method": 5},
        {"method": "prompts/get", "params": ["x"]},
        {"method": "resources/subscribe", "params": ["x"]},
        {"method": "logging/setLevel", "params": "x"},
        {"method": "prompts/get", "params": {"_meta": 5}},
        {"method": "tools/call", "params": {"name": "one", "_meta": 5}},
        {"method": "ping", "id": {}},
    ],
    ids=repr,
)
def test_a_request_of_another_shape_is_invalid(upward: Behind, changed: dict[str, Any]) -> None:
    assert upward.session is not None
    message = {"jsonrpc": "2.0", "id": 1, **changed}
    response = upward.client.post(upward.relayed.path, json=message, headers=upward.session.headers)
    assert response.status_code == 200, response.text
    assert response.json()["error"]["code"] == INVALID


@pytest.mark.parametrize("changed", [{"method": {}}, {"method": "notifications/cancelled", "params": ["x"]}], ids=repr)
def test_a_notification_of_another_shape_is_invalid(upward: Behind, changed: dict[str, Any]) -> None:
    assert upward.session is not None
    message = {"jsonrpc": "2.0", **changed}
    response = upward.client.post(upward.relayed.path, json=message, headers=upward.session.headers)
    assert response.status_code == 400, response.text


@pytest.mark.parametrize("method", ["grüße/alle", "a\r\nx-b: c", " ", ""])
def test_a_method_that_no_header_could_name_reaches_the_server(upward: Behind, method: str) -> None:
    assert upward.ask(method).json()["error"]["code"] == -32601
    assert upward.server.seen[-1].message["method"] == method
    assert "x-b" not in upward.server.seen[-1].headers


def _cut_off(exchange: Exchange) -> None:
    """Say one thing, and hang up in the middle of the next."""
    exchange.stream(length=10_000)
    exchange.event({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1}})


def _cut_short(exchange: Exchange) -> None:
    exchange.stream(length=10_000)


def _body(body: bytes) -> Say:
    return lambda exchange: exchange.body(_named(exchange, body))


def _event(data: bytes) -> Say:
    def say(exchange: Exchange) -> None:
        exchange.stream()
        exchange.event(_named(exchange, data))

    return say


def _answered(rest: str) -> bytes:
    return b'{"jsonrpc":"2.0","id":ASKED,' + rest.encode() + b"}"


def _named(exchange: Exchange, answer: bytes) -> bytes:
    return answer.replace(b"ASKED", json.dumps(exchange.message["id"]).encode())


NONSENSE: Final[dict[str, Say]] = {
    "cut off": _cut_off,
    "cut short": _cut_short,
    "too deep": _body(b"[" * 100_000),
    "too deep, as an event": _event(b"[" * 100_000),
    "not UTF-8": _body(b"\xff\xfe"),
    "no number": _body(_answered('"result":{"content":[],"x":NaN}')),
    "no number, as an event": _event(_answered('"result":{"content":[],"x":Infinity}')),
    "a number that is too large": _body(_answered('"result":{"content":[],"x":1e400}')),
    "a result that is a list": _body(_answered('"result":[1]')),
    "an error that is text": _body(_answered('"error":"no"')),
    "an error that is nothing": _body(_answered('"error":null')),
    "a code that is text": _body(_answered('"error":{"code":"ECONNREFUSED","message":"no"}')),
    "a code that is a list": _body(_answered('"error":{"code":[],"message":"no"}')),
    "a notification with a list": _event(b'{"jsonrpc":"2.0","method":"notifications/message","params":[1]}'),
    "progress with a list": _event(b'{"jsonrpc":"2.0","method":"notifications/progress","params":[1]}'),
    "a notification of nothing": _event(b'{"jsonrpc":"2.0","method":{},"params":{}}'),
    "a request of nothing": _event(b'{"jsonrpc":"2.0","id":5,"method":[],"params":{}}'),
    "_meta that is text": _event(b'{"jsonrpc":"2.0","method":"notifications/message","params":{"_meta":"x"}}'),
}


@pytest.mark.parametrize("say", NONSENSE.values(), ids=NONSENSE)
@pytest.mark.parametrize(("method", "name"), [("tools/call", "one"), ("prompts/get", "some")])
def test_nonsense_of_a_server_is_a_failure_of_the_server(behind: Behind, say: Say, method: str, name: str) -> None:
    behind.server.script[method] = say
    response = behind.ask(method, name=name)
    assert response.status_code == 200, response.text
    assert _answer(response)["error"]["code"] == BACKEND_FAILED


@pytest.mark.parametrize("asked_for", ["[1]", '{"a":5}', '{"a":{"method":{}}}', '{"a":{"method":"x","params":[]}}'])
def test_nonsense_that_a_server_asks_is_a_failure_of_the_server(upward: Behind, asked_for: str) -> None:
    said = _answered(f'"result":{{"resultType":"input_required","inputRequests":{asked_for}}}')
    upward.server.script["prompts/get"] = _body(said)
    assert _answer(upward.ask("prompts/get", name="some"))["error"]["code"] == BACKEND_FAILED


def test_a_result_that_is_none_of_a_call_is_a_failure_of_the_server(behind: Behind) -> None:
    behind.server.script["tools/call"] = _body(_answered('"result":{"content":"x"}'))
    assert _answer(behind.ask("tools/call", name="one"))["error"]["code"] == BACKEND_FAILED


def test_half_a_character_passes_as_it_was_written(behind: Behind) -> None:
    """Names of files may hold such."""
    for say in (_body, _event):
        behind.server.script["prompts/get"] = say(_answered('"result":{"messages":[],"description":"\\ud800"}'))
        response = behind.ask("prompts/get", name="some")
        assert _answer(response)["result"]["description"] == "\ud800"


def test_an_error_keeps_its_data(behind: Behind) -> None:
    error = {"code": -32050, "message": "no", "data": {"a": [1]}}
    behind.server.script["tools/call"] = lambda exchange: exchange.answer(error=error)
    assert _answer(behind.ask("tools/call", name="one"))["error"] == error


def _answer(response: httpx.Response) -> dict[str, Any]:
    """Return the answer, which may come as the last event."""
    text = response.text.strip().rpartition("data: ")[2]
    found: dict[str, Any] = json.loads(text)
    assert SESSION not in response.text
    return found


def test_a_level_that_no_log_knows_is_invalid(upward: Behind) -> None:
    assert upward.ask("logging/setLevel", level="loud").json()["error"]["code"] == INVALID
    assert upward.ask("logging/setLevel", level="info").json()["result"] == {}


def test_a_client_that_says_too_much_of_itself_begins_no_session(upward: Behind) -> None:
    message = initialize()
    message["params"]["clientInfo"]["name"] = "x" * 1_000_000
    response = upward.client.post(upward.relayed.path, json=message, headers=ACCEPT)
    assert response.json()["error"]["code"] == INVALID, response.text


@pytest.mark.parametrize("is_silent", [True, False])
def test_a_refusal_that_never_ends_is_a_failure_of_the_server(relaying: Proxy, is_silent: bool) -> None:
    over = threading.Event()

    def refuse(exchange: Exchange) -> None:
        exchange.begin(400, "application/json", 10_000)
        if is_silent:
            over.wait(60)

    with scripted(SESSIONS) as server, relaying.client() as admin:
        server.script["refusal"] = refuse
        relayed = Relayed(relaying, servers.created(admin, url=server.url, timeout=0.5))
        with relaying.client(relayed.key()) as client:
            for method in ("server/discover", "resources/list"):
                response = asked(client, relayed.path, method, {})
                assert response.json()["error"]["code"] == BACKEND_FAILED, response.text
        over.set()


@pytest.mark.parametrize("token", [0, "", "x"])
def test_progress_is_told_to_the_request_that_makes_it(downward: Behind, token: Any) -> None:
    """A session with the server carries several requests: what is told of one on the session's stream is not of all."""

    def say(exchange: Exchange) -> None:
        own = exchange.message["params"]["_meta"]["progressToken"]
        exchange.stream()
        for each in (own + 1000, own, "own"):
            progress = {"progressToken": each, "progress": 1}
            exchange.event({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress})
        exchange.event({"jsonrpc": "2.0", "id": exchange.message["id"], "result": {"messages": []}})

    downward.server.script["prompts/get"] = say
    response = asked(downward.client, downward.relayed.path, "prompts/get", {"name": "some"}, progressToken=token)
    downward.server.script.clear()
    heard = [json.loads(line.removeprefix("data: ")) for line in response.text.splitlines() if line[:5] == "data:"]
    assert [each["params"]["progressToken"] for each in heard[:-1]] == [token]

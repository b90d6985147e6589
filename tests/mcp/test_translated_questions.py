"""Questions of a server with sessions to a client without any: what its `requestState` is good for."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from routeiq_plugin.mcp.relay.translation.downward import MOST_KEPT
from tests.mcp import servers
from tests.mcp.conformance.reference.generations import SESSIONS
from tests.mcp.relayed import Relayed, asked
from tests.mcp.scripted import Exchange, Scripted, scripted
from tests.support.proxy import Proxy

pytestmark = pytest.mark.requirement("MCP-21")

QUESTION: Final = {"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {"message": "?"}}
INVALID: Final = -32602


class Asking:
    """Scripts: a call asks, and ends when the answer has come."""

    def __init__(self, server: Scripted) -> None:
        self._server = server
        self._answered = threading.Event()
        server.script |= {"tools/call": self.call, "prompts/get": self.call, "answer": self.answer}

    def call(self, exchange: Exchange) -> None:
        """Ask and wait."""
        exchange.stream()
        exchange.event(QUESTION)
        assert self._answered.wait(60)
        token = exchange.message["params"].get("_meta", {}).get("progressToken")
        for number in range(0 if token is None else MOST_KEPT + 100):
            progress = {"progressToken": token, "progress": number}
            exchange.event({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress})
        said = {"content": [{"type": "text", "text": "secret of the tool"}]}
        exchange.event({"jsonrpc": "2.0", "id": exchange.message["id"], "result": said})

    def answer(self, exchange: Exchange) -> None:
        """Hear the answer."""
        exchange.nothing(202)
        self._answered.set()


@pytest.fixture
def asking(relaying: Proxy) -> Iterator[Relayed]:
    """A server with sessions that asks before it answers."""
    with scripted(SESSIONS) as server, relaying.client() as admin:
        Asking(server)
        yield Relayed(relaying, servers.created(admin, url=server.url))


@pytest.fixture
def client(asking: Relayed) -> Iterator[httpx.Client]:
    """A client that may use it."""
    with asking.proxy.client(asking.key()) as opened:
        yield opened


def test_a_server_that_does_not_hear_the_answer_to_its_ping_goes_on(relaying: Proxy) -> None:
    is_over = threading.Event()

    def call(exchange: Exchange) -> None:
        exchange.stream()
        exchange.event({"jsonrpc": "2.0", "id": 1, "method": "ping"})
        exchange.event({"jsonrpc": "2.0", "id": exchange.message["id"], "result": {"content": []}})

    def deaf(exchange: Exchange) -> None:
        is_over.wait(120)
        exchange.nothing(202)

    with scripted(SESSIONS) as server, relaying.client() as admin:
        server.script |= {"tools/call": call, "answer": deaf}
        relayed = Relayed(relaying, servers.created(admin, url=server.url, timeout=100))
        with relaying.client(relayed.key()) as client:
            answer = asked(client, relayed.path, "tools/call", {"name": "one", "arguments": {}}).json()
        is_over.set()
    assert answer["result"]["content"] == []


def _asked(client: httpx.Client, server: Relayed, **meta: Any) -> dict[str, Any]:
    """Begin a call, and return what continues it."""
    required = asked(client, server.path, "tools/call", {"name": "one", "arguments": {}}, **meta).json()["result"]
    (name,) = required["inputRequests"]
    given = {"action": "accept", "content": {}}
    return {"inputResponses": {name: given}, "requestState": required["requestState"]}


@pytest.mark.parametrize(
    ("method", "params"),
    [("prompts/get", {"name": "one"}), ("tools/call", {"name": "other", "arguments": {}}), ("resources/list", {})],
)
def test_a_state_is_good_for_the_request_that_it_is_of(
    asking: Relayed, client: httpx.Client, method: str, params: dict[str, Any]
) -> None:
    """The result of a call would come past what judges calls, of that tool."""
    state = _asked(client, asking)
    response = asked(client, asking.path, method, {**params, **state})
    assert response.json()["error"]["code"] == INVALID, response.text
    assert "secret" in asked(client, asking.path, "tools/call", {"name": "one", "arguments": {}, **state}).text


def test_a_state_is_answered_once(asking: Relayed, client: httpx.Client) -> None:
    state = _asked(client, asking)
    call = {"name": "one", "arguments": {}, **state}
    assert "secret" in asked(client, asking.path, "tools/call", call).text
    for _ in range(4):  # either worker
        response = asked(client, asking.path, "tools/call", call)
        assert response.json()["error"]["code"] == INVALID, response.text


def test_another_key_has_no_use_for_a_state(asking: Relayed, client: httpx.Client) -> None:
    state = _asked(client, asking)
    with asking.proxy.client(asking.key()) as another:
        response = asked(another, asking.path, "tools/call", {"name": "one", "arguments": {}, **state})
    assert response.json()["error"]["code"] == INVALID, response.text
    assert "secret" in asked(client, asking.path, "tools/call", {"name": "one", "arguments": {}, **state}).text


def test_what_is_told_while_its_client_is_away_is_kept_within_bounds(asking: Relayed, client: httpx.Client) -> None:
    """A tool may report all the time."""
    state = _asked(client, asking, progressToken=0)
    response = asked(client, asking.path, "tools/call", {"name": "one", "arguments": {}, **state}, progressToken=0)
    heard = [json.loads(line.removeprefix("data: ")) for line in response.text.splitlines() if line[:5] == "data:"]
    assert "secret" in json.dumps(heard.pop())
    assert {each["params"]["progressToken"] for each in heard} == {0}
    assert len(heard) == MOST_KEPT

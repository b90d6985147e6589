"""What clients and servers say that no protocol knows, translated: an error of the protocol's, and never a 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from tests.mcp import servers
from tests.mcp.conformance.reference.generations import SESSIONS, STATELESS
from tests.mcp.conformance.sessions import RawSession, opened
from tests.mcp.relayed import Relayed, asked
from tests.mcp.scripted import SESSION, Exchange, Scripted, scripted
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

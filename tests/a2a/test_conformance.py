"""What a client must not notice: errors keep the agent's own code and data, and clients that leave leave nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import pytest

from tests.a2a.calls import Wire, error_of, registered, request, sending
from tests.a2a.test_streaming import events_of, open_files
from tests.conftest import PLUGIN_CONFIG, BackendOf
from tests.support import processes
from tests.support.backends import VERSIONS, Version
from tests.support.proxy import PLUGIN, Proxy, inspected, merge, running_proxy
from tests.support.threaded import serving

pytestmark = pytest.mark.requirement("A2A-20")

ROUNDS: Final = 200
ERROR_INFO: Final = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "QUOTA",
    "domain": "example.com",
    "metadata": {"left": "0"},
}
ERRORS: Final = (
    pytest.param({"code": -32001, "message": "gone", "data": [ERROR_INFO]}, id="a known code with details"),
    pytest.param({"code": -32602, "message": "wrong", "data": {"field": "parts.0"}}, id="a known code with an object"),
    pytest.param({"code": -32050, "message": "my own", "data": [1, {"two": None}]}, id="a code of the agent's own"),
    pytest.param({"code": 7, "message": "positive", "data": "text"}, id="a positive code with text"),
    pytest.param({"code": -32004, "message": "no data"}, id="no data"),
)


class Refusing(ThreadingHTTPServer):
    """An agent that answers every call with one error, under one HTTP status."""

    daemon_threads = True
    error: Any = None
    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"

    def card(self, version: str) -> dict[str, Any]:
        interface = {"url": self.url, "protocolBinding": "JSONRPC", "protocolVersion": version}
        return {
            "name": "refusing",
            "description": "Says no.",
            "version": "1.0.0",
            "protocolVersion": version,
            "supportedInterfaces": [interface],
            "capabilities": {"streaming": True},
            "defaultInputModes": ["text/plain"],
            "defaultOutputModes": ["text/plain"],
            "skills": [{"id": "x", "name": "X", "description": "X.", "tags": ["x"]}],
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Refusing

    def do_GET(self) -> None:
        self._answer(404, b"")

    def do_POST(self) -> None:
        call = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body = {"jsonrpc": "2.0", "id": call["id"], "error": self.server.error}
        self._answer(self.server.status, json.dumps(body).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def refusing(error: Any, status: int = 200) -> Iterator[Refusing]:
    server = Refusing()
    server.error, server.status = error, status
    with serving(server):
        yield server


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("wire", ["0.3", "1.0"])
@pytest.mark.parametrize("spoken", ["0.3", "1.0"])
def test_an_agents_own_error_arrives_as_it_was_said(proxy: Proxy, error: Any, wire: Wire, spoken: str) -> None:
    with refusing(error) as backend, registered(proxy, backend.card(spoken)) as agent, proxy.client() as client:
        for body in (
            sending("hello", wire, call_id="mine"),
            sending("hello", wire, stream=True, call_id="mine"),
            request("tasks/get" if wire == "0.3" else "GetTask", {"id": "t"}, "mine"),
            request("tasks/resubscribe" if wire == "0.3" else "SubscribeToTask", {"id": "t"}, "mine"),
        ):
            response = client.post(agent.url, json=body)
            assert response.status_code == 200
            assert error_of(response, "mine") == error, body["method"]


@pytest.mark.parametrize("status", [400, 404, 500])
@pytest.mark.parametrize("spoken", ["0.3", "1.0"])
@pytest.mark.parametrize("stream", [False, True], ids=["send", "stream"])
def test_an_error_under_another_status_is_read_too(proxy: Proxy, status: int, spoken: str, stream: bool) -> None:
    error = {"code": -32050, "message": "my own", "data": {"a": 1}}
    with refusing(error, status) as backend, registered(proxy, backend.card(spoken)) as agent, proxy.client() as client:
        response = client.post(agent.url, json=sending("hello", stream=stream))
        assert response.status_code == 200
        assert error_of(response) == error


@pytest.mark.requirement("A2A-08")
@pytest.mark.parametrize("wire", ["0.3", "1.0"])
def test_an_error_is_passed_on_without_the_agents_address(proxy: Proxy, wire: Wire) -> None:
    error = {"code": -32050, "message": "", "data": {}}
    with refusing(error) as backend, registered(proxy, backend.card("1.0")) as agent, proxy.client() as client:
        where = backend.url.rstrip("/")
        error |= {"message": f"no route to {where}/x", "data": {"at": [where, {where: "127.0.0.1"}]}}
        response = client.post(agent.url, json=sending("hello", wire))
        assert error_of(response)["message"] == "no route to [agent]/x"
        assert "127.0.0.1" not in response.text
        assert str(backend.server_address[1]) not in response.text


@pytest.fixture(scope="module")
def inspectable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    workdir = tmp_path_factory.mktemp("inspectable")
    callbacks = {"litellm_settings": {"callbacks": [PLUGIN, inspected(workdir)]}}
    with running_proxy(workdir, config=merge(PLUGIN_CONFIG, callbacks)) as running:
        yield running


@pytest.mark.parametrize("version", VERSIONS)
def test_two_hundred_clients_that_leave_in_mid_stream_leave_nothing_behind(
    inspectable: Proxy, backend_of: BackendOf, version: Version
) -> None:
    backend = backend_of(version)
    with registered(inspectable, backend.card()) as agent, inspectable.client() as client:

        def leave(number: int) -> None:
            gate = f"leak {agent.agent_id} {number}"
            backend.release(gate)
            with client.stream("POST", agent.url, json=sending(f"gate:{gate}", stream=True)) as response:
                assert "result" in next(events_of(response))

        def tasks() -> int:
            return int(client.get("/_tasks").raise_for_status().json())

        gone = backend.cancelled().disconnects
        leave(0)
        backend.cancelled(at_least=gone + 1)
        files, running = open_files(inspectable), tasks()
        for number in range(1, ROUNDS):
            leave(number)
        assert backend.cancelled(at_least=gone + ROUNDS).disconnects == gone + ROUNDS
        processes.wait_until(lambda: open_files(inspectable) <= files, 30, f"return to {files} open files")
        processes.wait_until(lambda: tasks() <= running, 30, f"return to {running} tasks")

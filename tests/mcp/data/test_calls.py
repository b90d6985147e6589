"""One call of a tool: one request upstream, one execution, whatever the protocol and whatever goes wrong."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.mcp.data.calling import TIMEOUT, call, error, result
from tests.mcp.data.conftest import HTTP, NETWORK, OwnBackend, Register, Shared
from tests.support.mcp_backends import Speaks
from tests.support.processes import wait_until
from tests.support.proxy import Proxy

CALLS = 100

pytestmark = pytest.mark.requirement("MCP-08")


@pytest.mark.requirement("MCP-20")
@pytest.mark.parametrize("speaks", HTTP)
def test_a_hundred_calls_on_a_warm_pool_are_a_hundred_requests(
    client: httpx.Client, registered: Register, own_backend: OwnBackend, speaks: Speaks
) -> None:
    server = registered(own_backend(speaks), "counted")
    assert result(call(client, "add", {"a": 1, "b": 2}, server.server_id)) == 3
    before = len(server.backend.seen())

    sums = [result(call(client, "add", {"a": 1, "b": number}, server.server_id)) for number in range(CALLS)]

    assert sums == [1 + number for number in range(CALLS)]
    seen = server.backend.seen()[before:]
    assert [(each.method, each.rpc_method) for each in seen] == [("POST", "tools/call")] * CALLS
    assert server.backend.calls()["add"] == CALLS + 1


@pytest.mark.requirement("MCP-20")
@pytest.mark.parametrize("speaks", NETWORK)
def test_one_session_carries_calls_of_many_callers_at_once(
    calling_proxy: Proxy,
    client: httpx.Client,
    registered: Register,
    own_backend: OwnBackend,
    speaks: Speaks,
) -> None:
    server = registered(own_backend(speaks), "shared_session")
    result(call(client, "add", {"a": 1, "b": 2}, server.server_id))
    keys = [calling_proxy.add_key(object_permission={"mcp_servers": [server.server_id]}) for _ in range(8)]

    def one(key: str) -> Any:
        with calling_proxy.client(key) as own:
            return result(call(own, "wait", {"gate": "all"}, server.server_id))

    with ThreadPoolExecutor(len(keys)) as pool:
        answers = [pool.submit(one, key) for key in keys]
        wait_until(lambda: server.backend.calls().get("wait", 0) == len(keys), 30, "all calls to run at once")
        server.backend.release("all")
        assert {answer.result() for answer in answers} == {"all"}
    posts = server.backend.posts()
    assert posts.count("initialize") + posts.count("server/discover") <= 2


def test_a_server_s_own_limit_bounds_what_runs_at_once(
    client: httpx.Client, calling_proxy: Proxy, registered: Register, own_backend: OwnBackend
) -> None:
    server = registered(own_backend(Speaks.STATELESS), "narrow", max_concurrent_requests=1, timeout=30)
    result(call(client, "add", {"a": 1, "b": 2}, server.server_id))

    def one(gate: str) -> Any:
        with calling_proxy.client() as own:
            return result(call(own, "wait", {"gate": gate}, server.server_id))

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(one, "first")
        wait_until(lambda: server.backend.calls().get("wait", 0) == 1, 30, "the first call to run")
        second = pool.submit(one, "second")
        server.backend.release("second")
        assert not second.done()
        assert server.backend.calls()["wait"] == 1
        server.backend.release("first")
        assert (first.result(), second.result()) == ("first", "second")


@pytest.mark.requirement("MCP-20")
@pytest.mark.parametrize("speaks", NETWORK)
def test_a_server_that_was_killed_between_calls_is_called_again(
    client: httpx.Client, registered: Register, own_backend: OwnBackend, speaks: Speaks
) -> None:
    server = registered(own_backend(speaks), "reborn")
    assert result(call(client, "add", {"a": 1, "b": 2}, server.server_id)) == 3
    server.backend.kill()

    assert call(client, "add", {"a": 2, "b": 2}, server.server_id).status_code == 502

    again = server.backend.restart()
    try:
        assert result(call(client, "add", {"a": 3, "b": 2}, server.server_id)) == 5
        assert again.calls()["add"] == 1
    finally:
        again.stop()


@pytest.mark.requirement("MCP-20")
@pytest.mark.parametrize("speaks", NETWORK)
def test_a_server_that_is_killed_during_a_call_is_one_502_and_no_second_execution(
    client: httpx.Client,
    calling_proxy: Proxy,
    registered: Register,
    own_backend: OwnBackend,
    speaks: Speaks,
) -> None:
    server = registered(own_backend(speaks), "dying", timeout=30)
    result(call(client, "add", {"a": 1, "b": 2}, server.server_id))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(call, client, "wait", {"gate": "never"}, server.server_id)
        wait_until(lambda: server.backend.calls().get("wait", 0) == 1, 30, "the call to run")
        server.backend.kill()
        again = server.backend.restart()
        try:
            told = error(answer.result(), 502)
            assert "127.0.0.1" not in str(told)
            assert result(call(client, "add", {"a": 3, "b": 2}, server.server_id)) == 5
            assert "wait" not in again.calls()
        finally:
            again.stop()


@pytest.mark.parametrize(
    "kind", ["malformed", "page", "nonsense", "oversized", "redirect", "crash", "unauthorized", "hang"]
)
@pytest.mark.parametrize("speaks", HTTP)
def test_a_server_that_answers_nonsense_is_told_in_plain_words(
    client: httpx.Client, registered: Register, backend_that: Shared, speaks: Speaks, kind: str
) -> None:
    server = registered(backend_that(speaks), "nonsense")
    result(call(client, "add", {"a": 1, "b": 2}, server.server_id))
    executed = server.backend.calls()["add"]
    server.backend.misbehave(kind)
    try:
        answer = call(client, "add", {"a": 1, "b": 2}, server.server_id)
    finally:
        server.backend.misbehave(None)

    told = str(error(answer, 504 if kind == "hang" else 502))
    for secret in ("127.0.0.1", str(server.backend.port), "hunter2", "elsewhere", "Traceback"):
        assert secret not in told
    assert result(call(client, "add", {"a": 1, "b": 2}, server.server_id)) == 3
    assert server.backend.calls()["add"] == executed + 1


def test_one_call_that_fails_leaves_the_others_of_its_session_alone(
    calling_proxy: Proxy, client: httpx.Client, registered: Register, own_backend: OwnBackend
) -> None:
    server = registered(own_backend(Speaks.SESSIONS), "isolated", timeout=30)
    result(call(client, "add", {"a": 1, "b": 2}, server.server_id))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(call, client, "wait", {"gate": "other"}, server.server_id)
        wait_until(lambda: server.backend.calls().get("wait", 0) == 1, 30, "the call to run")
        with calling_proxy.client() as another:
            assert call(another, "huge", {}, server.server_id).status_code == 502
        server.backend.release("other")
        assert result(waiting.result()) == "other"
    assert server.backend.posts().count("initialize") == 1


@pytest.mark.parametrize("speaks", HTTP)
async def test_a_client_that_leaves_cancels_what_runs_for_it(
    calling_proxy: Proxy,
    client: httpx.Client,
    registered: Register,
    own_backend: OwnBackend,
    speaks: Speaks,
) -> None:
    server = registered(own_backend(speaks), "left", timeout=60)
    result(call(client, "add", {"a": 1, "b": 2}, server.server_id))
    async with calling_proxy.async_client() as leaving:
        body = {"name": "wait", "arguments": {"gate": "never"}, "server_id": server.server_id}
        asking = asyncio.create_task(leaving.post("/mcp/tools/call", json=body))
        await asyncio.to_thread(wait_until, lambda: server.backend.calls().get("wait", 0) == 1, 30, "the call to run")
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert await asyncio.to_thread(lambda: server.backend.cancelled(at_least=1)) == 1


def test_errors_of_tools_names_access_and_time_are_told_apart(
    calling_proxy: Proxy, client: httpx.Client, registered: Register, own_backend: OwnBackend
) -> None:
    server = registered(own_backend(Speaks.STATELESS), "told_apart", allowed_tools=["add", "boom", "wait", "ask"])
    stranger = calling_proxy.add_key()

    failed = call(client, "boom", {}, server.server_id)
    assert failed.status_code == 200
    assert failed.json()["isError"] is True
    assert error(call(client, "no_such_tool", {}, server.server_id), 404)["error"] == "tool_not_found"
    assert error(call(client, "add", {}, "no-such-server"), 404)
    assert "not allowed" in error(call(client, "echo", {"text": "x"}, server.server_id), 403)["error"]
    with calling_proxy.client(stranger) as other:
        assert call(other, "add", {"a": 1, "b": 2}, server.server_id).status_code == 403
        assert call(other, "told_apart-add", {"a": 1, "b": 2}).status_code == 404
    timeout = error(call(client, "wait", {"gate": "never"}, server.server_id), 504)
    assert timeout["error"] == "timeout"
    assert str(TIMEOUT) in timeout["message"]
    server.backend.kill()
    assert error(call(client, "add", {"a": 1, "b": 2}, server.server_id), 502)["error"] == "upstream_error"


@pytest.mark.parametrize("speaks", NETWORK)
def test_what_a_server_asks_back_is_refused(
    client: httpx.Client, registered: Register, own_backend: OwnBackend, speaks: Speaks
) -> None:
    server = registered(own_backend(speaks), "curious")

    answer = call(client, "ask", {}, server.server_id)

    assert answer.status_code == 502 or answer.json()["isError"] is True
    assert result(call(client, "add", {"a": 1, "b": 2}, server.server_id)) == 3


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"a": 1}, "arguments.b"),
        ({"a": "one", "b": 2}, "arguments.a"),
        ({"a": 1.5, "b": 2}, "arguments.a"),
    ],
)
def test_arguments_that_do_not_fit_never_reach_the_server(
    client: httpx.Client,
    registered: Register,
    backend_that: Shared,
    arguments: dict[str, Any],
    field: str,
) -> None:
    server = registered(backend_that(Speaks.STATELESS), "strict")
    before = server.backend.calls().get("add", 0)

    told = error(call(client, "add", arguments, server.server_id), 400)

    assert told["field"] == field
    assert "add" in told["message"]
    assert server.backend.calls().get("add", 0) == before


def test_what_a_regular_expression_says_is_left_to_the_server(
    client: httpx.Client, registered: Register, backend_that: Shared
) -> None:
    server = registered(backend_that(Speaks.STATELESS), "picky")

    assert error(call(client, "picky", {"count": 6}, server.server_id), 400)["field"] == "arguments.count"
    evil = call(client, "picky", {"count": 1, "kind": "a" * 40 + "b"}, server.server_id)
    assert evil.status_code == 200
    assert evil.json()["isError"] is True


@pytest.mark.parametrize(
    "body",
    ["[]", '"x"', "{", "{}", '{"name": 5}', '{"name": "add", "arguments": []}', '{"name": "add", "server_id": {}}'],
)
def test_a_body_that_is_no_call_is_refused(client: httpx.Client, body: str) -> None:
    answer = client.post("/mcp/tools/call", content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize("path", ["tools/call", "resources/read", "prompts/get"])
def test_nobody_calls_without_a_key(calling_proxy: Proxy, path: str) -> None:
    with calling_proxy.client(None) as anonymous:
        assert anonymous.post(f"/mcp/{path}", json={}).status_code == 401

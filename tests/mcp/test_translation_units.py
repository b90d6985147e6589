"""What a message of one generation becomes in the other, and what is remembered of servers."""

from __future__ import annotations

from typing import Any

import pytest

from routeiq_plugin.mcp.http.facts import Facts
from routeiq_plugin.mcp.http.stateless import enveloped, routing_headers
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.relay.generations import TTL_SECONDS, Generation, Generations
from routeiq_plugin.mcp.relay.translation import inbound, shapes

pytestmark = pytest.mark.requirement("MCP-21")

FACTS = Facts("2025-11-25", {"name": "c", "version": "1"}, {"sampling": {}, "tasks": {}}, "info")
CALL = {
    "jsonrpc": "2.0",
    "id": 7,
    "method": "tools/call",
    "params": {"name": "grüß", "arguments": {"a": 1}, "_meta": {"progressToken": 3, "x.y/z": True}},
}


def test_a_request_goes_to_a_server_without_sessions_and_back_with_all_that_is_common() -> None:
    sent = enveloped(CALL, FACTS)
    meta = sent["params"]["_meta"]
    assert meta["io.modelcontextprotocol/clientCapabilities"] == {"sampling": {}}
    assert meta["io.modelcontextprotocol/logLevel"] == "info"
    headers = routing_headers(sent)
    assert headers["mcp-name"] == "=?base64?Z3LDvMOf?="
    assert inbound.rejection(sent, headers) is None
    assert shapes.bare(sent) == CALL


def test_an_answer_loses_only_what_the_other_generation_does_not_know() -> None:
    result = {"content": [{"type": "image", "data": "AA=="}], "structuredContent": {"n": 1}, "_meta": {"a": 1}, "x": 2}
    answer = {"jsonrpc": "2.0", "id": 7, "result": result}
    modern = shapes.completed("tools/list", answer)
    assert modern["result"] == {"resultType": "complete", "ttlMs": 0, "cacheScope": "private", **result}
    assert shapes.plain(modern) == answer
    own = {**answer, "result": {"ttlMs": 5, "cacheScope": "public", "resultType": "complete"}}
    assert shapes.completed("tools/list", own) == own


def test_the_code_of_an_unknown_resource_is_that_of_the_generation() -> None:
    answer = {"jsonrpc": "2.0", "id": 7, "error": {"code": -32002, "message": "no", "data": {"uri": "a:b"}}}
    assert shapes.completed("resources/read", answer)["error"] == {**answer["error"], "code": -32602}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("asked", "told"), [("2024-11-05", "2024-11-05"), ("2025-11-25", "2025-11-25"), ("2099-01-01", "2025-11-25")]
)
def test_a_version_that_the_client_knows_is_agreed_on(asked: str, told: str) -> None:
    found = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "instructions": "Be kind."}
    said = shapes.initialized(found, asked)
    assert (said["protocolVersion"], said["capabilities"], said["instructions"]) == (told, {"tools": {}}, "Be kind.")


def test_a_question_with_an_address_gets_the_id_that_older_clients_ask_for() -> None:
    asked: dict[str, Any] = {"method": "elicitation/create", "params": {"mode": "url", "url": "u", "message": "m"}}
    question = shapes.question(asked, "q")
    assert question["params"]["elicitationId"] == "q"
    assert shapes.asked(question) == asked


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"method": "ping"}, -32601),
        ({"method": "initialize"}, -32601),
        ({"method": "logging/setLevel"}, -32601),
        ({"params": {}}, -32602),
    ],
)
def test_what_a_server_without_sessions_would_refuse_is_refused(change: dict[str, Any], code: int) -> None:
    sent = {**enveloped(CALL, FACTS), **change}
    refused = inbound.rejection(sent, {**routing_headers(sent)})
    assert refused is not None
    assert refused["error"]["code"] == code


def test_a_header_that_contradicts_the_message_is_refused() -> None:
    sent = enveloped(CALL, FACTS)
    for wrong in ({"mcp-method": "tools/list"}, {"mcp-name": "other"}, {"mcp-protocol-version": "2025-11-25"}):
        refused = inbound.rejection(sent, {**routing_headers(sent), **wrong})
        assert refused is not None
        assert refused["error"]["code"] == -32020


def test_what_is_known_of_a_server_is_forgotten_in_time_and_when_it_changes() -> None:
    now = 0.0
    generations = Generations(lambda: now)
    server = Server({"server_id": "s", "url": "http://a"}, 1)
    assert generations.speaks(server, Generation.SESSIONS) is None
    generations.learn(server, Generation.SESSIONS, speaks=False)
    assert generations.speaks(server, Generation.SESSIONS) is False
    assert generations.speaks(server, Generation.STATELESS) is None
    assert generations.speaks(Server(server.fields, 2), Generation.SESSIONS) is None
    now = TTL_SECONDS + 1
    assert generations.speaks(server, Generation.SESSIONS) is None

"""Backends that fail: the caller gets a JSON-RPC error in time, and never learns where the backend lives."""

from __future__ import annotations

import json
from typing import Final

import httpx
import pytest

from tests.a2a import guarded as guarded_proxy
from tests.a2a.calls import Wire, answers, error_of, granted, registered, sending, text_of
from tests.a2a.registry import path
from tests.a2a.scripted import CARD_WAYS, SECRET, Scripted
from tests.support import processes
from tests.support.backends import agent as running_agent
from tests.support.proxy import Proxy

INTERNAL: Final = -32603

BAD_ANSWERS: Final = {
    "http-500": "HTTP status 500",
    "http-401": "HTTP status 401",
    "http-404": "HTTP status 404",
    "http-204": "",
    "html": "",
    "html-called-json": "",
    "not-utf-8": "",
    "empty": "",
    "deep": "",
    "json-array": "",
    "json-number": "",
    "json-null": "",
    "no-result": "",
    "error-text": "",
    "result-number": "",
    "result-empty": "",
    "result-of-another-protocol": "",
    "task-number": "",
    "drop": "",
    "not-http": "does not speak HTTP",
    "redirect": "HTTP status 302",
    "too-large": "max_response_mb",
    "hang": "in time",
}
"""What the agent does, and a word of what the caller is told."""

BAD_STREAMS: Final = {
    "sse-not-json": "",
    "sse-number": "",
    "sse-html": "",
    "sse-empty": "",
    "sse-error-event": "",
    "sse-result-number": "",
    "sse-result-empty": "",
    "sse-cut": "",
    "sse-endless-event": "max_response_mb",
}

GOOD_STREAM_ENDINGS: Final = {"sse-html", "sse-empty"}
"""A stream without events is a stream: the caller sees it end."""


def assert_silent_about(response: httpx.Response, *secrets: str) -> None:
    """Fail when an answer, its headers included, holds anything of the backend's address."""
    told = f"{response.headers!r}\n{response.text}".replace(f"127.0.0.1:{response.url.port}", "gateway")
    for secret in ("127.0.0.1", "localhost", SECRET, *secrets):
        assert secret not in told, told


def called(guarded: Proxy, card: dict[str, object], body: dict[str, object]) -> httpx.Response:
    """Register, call with a granted key of a user, and delete."""
    with (
        registered(guarded, card, admin=guarded_proxy.client(guarded)) as agent,
        guarded_proxy.client(guarded, granted(guarded, agent)) as user,
    ):
        return user.post(agent.url, json=body)


@pytest.mark.requirement("A2A-08", "A2A-09")
@pytest.mark.parametrize("wire", ["0.3", "1.0"])
@pytest.mark.parametrize("stream", [False, True], ids=["send", "stream"])
@pytest.mark.parametrize("way", sorted(BAD_ANSWERS))
def test_a_bad_answer_is_an_internal_error_without_an_address(
    guarded: Proxy, script: Scripted, canary: Scripted, *, way: str, wire: Wire, stream: bool
) -> None:
    before = len(script.seen(way))
    response = called(guarded, script.card(way), sending("hello", wire, stream=stream, call_id="mine"))
    assert len(script.seen(way)) == before + 1
    assert response.status_code == 200
    error = error_of(response, "mine")
    assert error["code"] == INTERNAL
    assert BAD_ANSWERS[way] in error["message"]
    assert_silent_about(response, str(script.port), str(canary.port))
    assert canary.connections == 0


@pytest.mark.requirement("A2A-10")
@pytest.mark.parametrize("wire", ["0.3", "1.0"])
@pytest.mark.parametrize("way", sorted(BAD_STREAMS))
def test_a_bad_stream_ends_in_an_internal_error_without_an_address(
    guarded: Proxy, script: Scripted, way: str, wire: Wire
) -> None:
    response = called(guarded, script.card(way), sending("hello", wire, stream=True, call_id="mine"))
    assert response.status_code == 200
    assert_silent_about(response, str(script.port))
    if way in GOOD_STREAM_ENDINGS:
        assert answers(response) == []
        return
    error = error_of(response, "mine")
    assert error["code"] == INTERNAL
    assert BAD_STREAMS[way] in error["message"]


@pytest.mark.requirement("A2A-08", "A2A-10")
@pytest.mark.parametrize("wire", ["0.3", "1.0"])
@pytest.mark.parametrize("stream", [False, True], ids=["send", "stream"])
def test_the_agents_own_error_arrives_as_it_is(guarded: Proxy, script: Scripted, wire: Wire, stream: bool) -> None:
    response = called(guarded, script.card("own-error"), sending("hello", wire, stream=stream, call_id=9))
    error = error_of(response, 9)
    assert (response.status_code, error["code"], error["message"]) == (200, -32001, "no such task here")
    if wire == "1.0":
        assert error["data"][0]["reason"] == "TASK_NOT_FOUND"


@pytest.mark.requirement("A2A-08")
@pytest.mark.parametrize("way", sorted(CARD_WAYS))
def test_a_backend_whose_own_card_is_bad_is_called_by_the_registered_one_or_fails_cleanly(
    guarded: Proxy, script: Scripted, canary: Scripted, way: str
) -> None:
    response = called(guarded, script.card(way), sending("hello", call_id="mine"))
    assert response.status_code == 200
    assert_silent_about(response, str(script.port))
    [answer] = answers(response)
    assert answer["id"] == "mine"
    if "error" in answer:
        assert answer["error"]["code"] == INTERNAL
    else:
        assert text_of(answer) == "well behaved"
    assert canary.connections == 0


@pytest.mark.requirement("A2A-08", "A2A-10")
@pytest.mark.parametrize("wire", ["0.3", "1.0"])
@pytest.mark.parametrize("stream", [False, True], ids=["send", "stream"])
def test_a_refused_connection_is_told_without_its_address(
    proxy: Proxy, script: Scripted, wire: Wire, stream: bool
) -> None:
    port = processes.free_port()
    card = json.loads(json.dumps(script.card("good")).replace(str(script.port), str(port)))
    with registered(proxy, card) as agent, proxy.client(granted(proxy, agent)) as user:
        response = user.post(agent.url, json=sending("hello", wire, stream=stream, call_id="mine"))
    assert response.status_code == 200
    error = error_of(response, "mine")
    assert (error["code"], error["message"]) == (INTERNAL, "the backend could not be reached")
    assert_silent_about(response, str(port))


@pytest.mark.requirement("A2A-08")
def test_a_backend_that_comes_back_is_called_again(proxy: Proxy) -> None:
    with running_agent("1.0") as backend, registered(proxy, backend.card()) as agent, proxy.client() as client:
        assert text_of(answers(client.post(agent.url, json=sending("hello")))[0]) == "echo: hello"
        backend.stop()
        assert error_of(client.post(agent.url, json=sending("hello")))["message"] == "the backend could not be reached"
        revived = backend.restart()
        try:
            assert text_of(answers(client.post(agent.url, json=sending("hello")))[0]) == "echo: hello"
        finally:
            revived.stop()


@pytest.mark.requirement("A2A-01", "A2A-03", "A2A-11")
def test_no_read_of_a_user_holds_the_address(guarded: Proxy, script: Scripted) -> None:
    card = script.card("good") | {
        "url": script.url("good"),
        "additionalInterfaces": [{"url": script.url("html"), "transport": "JSONRPC"}],
        "signatures": [{"protected": "e30", "signature": SECRET}],
        "documentationUrl": "https://docs.example.com/",
    }
    params = {"api_base": script.url("good"), "api_key": "of the backend"}
    with (
        registered(guarded, card, admin=guarded_proxy.client(guarded), litellm_params=params) as agent,
        guarded_proxy.client(guarded, granted(guarded, agent)) as user,
    ):
        for where in (
            "/v1/agents",
            "/a2a/agents",
            path(agent.agent_id),
            path(agent.agent_id, "/a2a/agents"),
            path(agent.agent_id, "/a2a/agents") + "/card",
            path(agent.agent_id, "/a2a") + "/.well-known/agent-card.json",
            path(agent.name, "/a2a") + "/.well-known/agent.json",
        ):
            response = user.get(where)
            assert response.status_code == 200, where
            assert_silent_about(response, str(script.port), "of the backend")


@pytest.mark.requirement("A2A-08")
@pytest.mark.parametrize(
    "card",
    [
        {"capabilities": {"streaming": "yes"}},
        {"skills": [{"id": 5}]},
        {"provider": "me"},
        {"securitySchemes": {"a": {"type": "nonsense"}}},
        {"supportedInterfaces": "everywhere"},
        {"supportedInterfaces": [5]},
        {"supportedInterfaces": [{"url": "GRPC only", "protocolBinding": "GRPC"}]},
        {"additionalInterfaces": [{"transport": 5}]},
        {"name": None},
    ],
    ids=lambda card: next(iter(card)),
)
def test_a_card_that_is_none_breaks_neither_its_reading_nor_its_agent(
    guarded: Proxy, script: Scripted, card: dict[str, object]
) -> None:
    """Refused at registration is best; what is taken must not be a 500 later."""
    with guarded_proxy.client(guarded) as admin:
        body = {"agent_name": "odd", "agent_card_params": {"url": script.url("card-http-500"), **card}}
        answer = admin.post("/v1/agents", json=body)
        assert answer.status_code in (200, 400, 422), answer.text
        if answer.status_code != 200:
            assert next(iter(card)) in answer.text
            return
        try:
            for where in ("/v1/agents", "/v1/agents/odd"):
                assert admin.get(where).status_code == 200
            assert admin.get("/a2a/odd/.well-known/agent-card.json").status_code in (200, 502)
            response = admin.post("/a2a/odd", json=sending("hello", call_id="mine"))
            assert response.status_code == 200
            assert answers(response)[0]["id"] == "mine"
        finally:
            assert admin.delete("/v1/agents/odd").status_code == 200

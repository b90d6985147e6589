"""JSON-RPC 2.0 at its edges: each wrong call gets the code the specification names, its id back, and never a 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.a2a.calls import (
    SEND,
    STREAM,
    VERSION,
    Registered,
    Wire,
    answers,
    error_of,
    message,
    registered,
    request,
    sending,
    text_of,
)
from tests.conftest import BackendOf
from tests.support.proxy import Proxy

PARSE, INVALID_REQUEST, NO_METHOD, INVALID_PARAMS = -32700, -32600, -32601, -32602
TASK_NOT_FOUND, WRONG_CONTENT_TYPE, WRONG_VERSION = -32001, -32005, -32009


@pytest.fixture(scope="module")
def agent(proxy: Proxy, backend_of: BackendOf) -> Iterator[Registered]:
    with registered(proxy, backend_of("1.0").card()) as each:
        yield each


@pytest.fixture
def client(proxy: Proxy) -> Iterator[httpx.Client]:
    with proxy.client() as opened:
        yield opened


def post(client: httpx.Client, agent: Registered, body: bytes | str, kind: str = "application/json") -> httpx.Response:
    return client.post(agent.url, content=body, headers={"Content-Type": kind})


@pytest.mark.requirement("A2A-08")
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{nope", id="not JSON"),
        pytest.param(b"{'id': 1}", id="not JSON but Python"),
        pytest.param(b"\x00", id="a zero byte"),
        pytest.param(b'{"id": "\xff"}', id="not UTF-8"),
        pytest.param(b"[" * 200_000, id="too deep an array"),
        pytest.param(b'{"a":' * 200_000, id="too deep an object"),
        pytest.param(b'{"jsonrpc": "2.0", "id": ' + b"9" * 5000 + b', "method": "message/send"}', id="a huge number"),
        pytest.param(
            rb'{"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"x": "\ud800"}}', id="half a character"
        ),
        pytest.param(b'{"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"x": 1e999}}', id="infinity"),
        pytest.param(b'{"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"x": NaN}}', id="no number"),
        pytest.param(b"a=b&c=d", id="a form"),
    ],
)
def test_what_is_no_json_is_a_parse_error(client: httpx.Client, agent: Registered, body: bytes) -> None:
    response = post(client, agent, body)
    assert response.status_code == 200
    assert error_of(response, None)["code"] == PARSE


@pytest.mark.requirement("A2A-08")
def test_half_a_character_beside_a_whole_one_is_told_apart(client: httpx.Client, agent: Registered) -> None:
    [answer] = answers(client.post(agent.url, json=sending("reply:\N{GRINNING FACE}")))
    assert text_of(answer) == "echo: \N{GRINNING FACE}"


@pytest.mark.requirement("A2A-08")
@pytest.mark.parametrize("body", ["[]", "null", "true", "5", '"text"', json.dumps([sending("hello")] * 2)])
def test_batches_and_bare_values_are_invalid_requests(client: httpx.Client, agent: Registered, body: str) -> None:
    response = post(client, agent, body)
    assert response.status_code == 200
    assert error_of(response, None)["code"] == INVALID_REQUEST


@pytest.mark.requirement("A2A-08")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"jsonrpc": "1.0"}, INVALID_REQUEST, id="another version"),
        pytest.param({"jsonrpc": 2.0}, INVALID_REQUEST, id="version as number"),
        pytest.param({"jsonrpc": None}, INVALID_REQUEST, id="version null"),
        pytest.param({"jsonrpc": ...}, INVALID_REQUEST, id="no version"),
        pytest.param({"method": ...}, INVALID_REQUEST, id="no method"),
        pytest.param({"method": None}, INVALID_REQUEST, id="method null"),
        pytest.param({"method": 7}, INVALID_REQUEST, id="method as number"),
        pytest.param({"method": ["message/send"]}, INVALID_REQUEST, id="method as list"),
        pytest.param({"method": ""}, INVALID_REQUEST, id="empty method"),
        pytest.param({"method": "message/forget"}, NO_METHOD, id="unknown method"),
        pytest.param({"method": "sendmessage"}, NO_METHOD, id="method in another case"),
        pytest.param({"method": "message/send\x00"}, NO_METHOD, id="method with a zero byte"),
        pytest.param({"method": "rpc.discover"}, INVALID_REQUEST, id="reserved method"),
        pytest.param({"params": "text"}, INVALID_REQUEST, id="params as text"),
    ],
)
@pytest.mark.parametrize("wire", ["0.3", "1.0"])
def test_a_malformed_request_gets_its_code_and_its_id(
    client: httpx.Client, agent: Registered, wire: Wire, change: dict[str, Any], code: int
) -> None:
    body = {**sending("hello", wire, call_id="mine"), **change}
    response = client.post(agent.url, json={name: value for name, value in body.items() if value is not ...})
    assert response.status_code == 200
    assert error_of(response, "mine")["code"] == code


@pytest.mark.requirement("A2A-08")
@pytest.mark.parametrize(
    "params",
    [
        pytest.param({}, id="empty"),
        pytest.param([], id="a list"),
        pytest.param(None, id="null"),
        pytest.param({"message": None}, id="message null"),
        pytest.param({"message": 5}, id="message as number"),
        pytest.param({"message": {}}, id="message empty"),
        pytest.param({"message": {"messageId": "m", "role": "user", "parts": 3}}, id="parts as number"),
        pytest.param({"message": {"messageId": "m", "role": "nobody", "parts": []}}, id="unknown role"),
    ],
)
@pytest.mark.parametrize(
    "method",
    [SEND["1.0"], STREAM["1.0"], SEND["0.3"], STREAM["0.3"]],
)
def test_wrong_params_are_invalid_params(client: httpx.Client, agent: Registered, method: str, params: Any) -> None:
    response = client.post(agent.url, json=request(method, params, 3))
    assert response.status_code == 200
    assert error_of(response, 3)["code"] == INVALID_PARAMS


@pytest.mark.requirement("A2A-08")
@pytest.mark.parametrize("call_id", [None, 7, 0, -1, 2**40, 10**30, "seven", "", "7", "\u00e9\U0001f600", "x" * 1000])
@pytest.mark.parametrize("wire", ["0.3", "1.0"])
def test_the_id_comes_back_as_it_was_sent(client: httpx.Client, agent: Registered, wire: Wire, call_id: Any) -> None:
    [answer] = answers(client.post(agent.url, json=sending("reply:hello", wire, call_id=call_id)))
    assert answer["id"] == call_id
    assert type(answer["id"]) is type(call_id)
    [event] = answers(client.post(agent.url, json=sending("reply:hello", wire, call_id=call_id, stream=True)))
    assert event["id"] == call_id
    assert type(event["id"]) is type(call_id)


@pytest.mark.requirement("A2A-08")
@pytest.mark.parametrize("call_id", [{"a": 1}, [1], True, False, 1.5], ids=repr)
@pytest.mark.parametrize("wire", ["0.3", "1.0"])
@pytest.mark.parametrize("stream", [False, True], ids=["send", "stream"])
def test_an_id_of_another_type_is_an_invalid_request(
    client: httpx.Client, agent: Registered, wire: Wire, stream: bool, call_id: Any
) -> None:
    response = client.post(agent.url, json=sending("hello", wire, stream=stream, call_id=call_id))
    assert response.status_code == 200
    assert error_of(response, None)["code"] == INVALID_REQUEST


@pytest.mark.requirement("A2A-08")
@pytest.mark.parametrize("method", ["SendMessage", "SendStreamingMessage"])
@pytest.mark.parametrize("version", ["99", "99.0", "2.0", "0.2", "newest"])
def test_a_version_that_nobody_speaks_is_refused_as_such(
    client: httpx.Client, agent: Registered, method: str, version: str
) -> None:
    response = client.post(agent.url, json=request(method, message("hello"), 4), headers={VERSION: version})
    assert response.status_code == 200
    assert error_of(response, 4)["code"] == WRONG_VERSION


@pytest.mark.requirement("A2A-08")
@pytest.mark.parametrize(("wire", "version"), [("0.3", "1.0"), ("0.3", "99.0"), ("1.0", "0.3")])
def test_names_of_one_version_under_the_header_of_another_are_an_error(
    client: httpx.Client, agent: Registered, wire: Wire, version: str
) -> None:
    response = client.post(agent.url, json=sending("hello", wire, call_id=5), headers={VERSION: version})
    assert response.status_code == 200
    assert error_of(response, 5)["code"] == WRONG_VERSION


@pytest.mark.requirement("A2A-08")
@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("tasks/get", TASK_NOT_FOUND),
        ("tasks/cancel", TASK_NOT_FOUND),
        ("tasks/resubscribe", TASK_NOT_FOUND),
        ("GetTask", TASK_NOT_FOUND),
        ("CancelTask", TASK_NOT_FOUND),
        ("SubscribeToTask", TASK_NOT_FOUND),
        ("tasks/list", NO_METHOD),
        ("tasks/pushNotificationConfig/list", TASK_NOT_FOUND),
        ("ListTaskPushNotificationConfigs", TASK_NOT_FOUND),
    ],
)
def test_other_methods_answer_in_the_words_of_the_protocol(
    client: httpx.Client, agent: Registered, method: str, code: int
) -> None:
    response = client.post(agent.url, json=request(method, {"id": "no-such-task", "taskId": "no-such-task"}))
    assert response.status_code == 200
    assert error_of(response)["code"] == code


@pytest.mark.requirement("A2A-08")
@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", "application/a2a+json", ""])
def test_json_may_be_called_so_in_several_ways(client: httpx.Client, agent: Registered, kind: str) -> None:
    response = post(client, agent, json.dumps(sending("hello")), kind)
    assert text_of(answers(response)[0]) == "echo: hello"
    assert error_of(post(client, agent, b"a=b", kind), None)["code"] == PARSE


@pytest.mark.requirement("A2A-08")
@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", "application/xml", "x"])
@pytest.mark.parametrize("wire", ["0.3", "1.0"])
def test_what_is_called_something_else_is_refused(
    client: httpx.Client, agent: Registered, wire: Wire, kind: str
) -> None:
    response = post(client, agent, json.dumps(sending("hello", wire, call_id=6)), kind)
    assert response.status_code == 200
    assert error_of(response, 6)["code"] == WRONG_CONTENT_TYPE


@pytest.mark.requirement("A2A-08")
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_huge_body_is_413_and_is_not_read_to_its_end(client: httpx.Client, agent: Registered, declared: bool) -> None:
    whole = b" " * (17 * 1024 * 1024)
    body = whole if declared else iter([whole[i : i + 65536] for i in range(0, len(whole), 65536)])
    response = client.post(agent.url, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    assert "16 MiB" in response.text


@pytest.mark.requirement("A2A-08")
def test_a_large_message_passes_in_both_directions(client: httpx.Client, agent: Registered) -> None:
    text = "x" * 2_000_000
    [answer] = answers(client.post(agent.url, json=sending(f"reply:{text}")))
    assert text_of(answer) == f"echo: {text}"


@pytest.mark.requirement("A2A-08")
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_only_post_calls_an_agent(client: httpx.Client, agent: Registered, method: str) -> None:
    assert client.request(method, agent.url).status_code == 405


@pytest.mark.requirement("A2A-08")
@pytest.mark.parametrize("key", [None, "sk-nobody-knows-this-one", ""])
def test_without_a_known_key_it_is_401_whatever_the_body_says(proxy: Proxy, agent: Registered, key: str | None) -> None:
    with proxy.client(key or None) as client:
        for body in (b"{nope", json.dumps(sending("hello")).encode()):
            assert post(client, agent, body).status_code == 401

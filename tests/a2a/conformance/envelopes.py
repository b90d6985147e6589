"""What carries a call: JSON-RPC (9), HTTP+JSON (11), versions (3.6), extensions (4.6) and errors (9.5, 11.6)."""

from __future__ import annotations

import json
from typing import Any, Final

from tests.a2a.calls import VERSION
from tests.a2a.conformance.peers import ERROR_INFO, Answer, Peer, Wire, state_of
from tests.a2a.conformance.table import JSONRPC, MODERN, check, each
from tests.a2a.conformance.tasks import NOBODYS, done

EXTENSION: Final = "urn:example:required"
_REST: Final = (Wire.REST,)
_NO_ID: Final = {Wire.LEGACY: "leaves the id out where it is null"}
_AS_TEXT: Final = dict.fromkeys(JSONRPC, "reads whatever the content is called")


def sending(peer: Peer, **changes: Any) -> dict[str, Any]:
    """Build a JSON-RPC request; `...` leaves a member out."""
    method = "message/send" if peer.is_legacy else "SendMessage"
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"message": peer.message()}, **changes}
    return {name: value for name, value in body.items() if value is not ...}


def _body(error: str, **changes: Any) -> Any:
    def run(peer: Peer) -> None:
        assert peer.raw(sending(peer, **changes)).error == error

    return run


def _bytes(error: str, content: bytes) -> Any:
    def run(peer: Peer) -> None:
        answer = peer.raw(content)
        assert answer.error == error
        assert answer.result["id"] is None

    return run


each(
    "9.5",
    "what is no JSON",
    {
        "an object without its end": _bytes(
            "parse", b'{"jsonrpc": "2.0", "method": "message/send", "params": {"a": 1}'
        ),
        "nothing": _bytes("parse", b""),
        "words": _bytes("parse", b"hello"),
        "bytes that are not UTF-8": _bytes("parse", b'{"id": "\xff"}'),
    },
    JSONRPC,
    bare_fails=_NO_ID,
    bare_fails_at={"bytes that are not UTF-8": {Wire.JSONRPC: "calls it an internal error"}},
)
each(
    "9.1",
    "what is no request",
    {
        "a batch": _bytes("invalid request", b'[{"jsonrpc": "2.0", "id": 1, "method": "GetTask"}]'),
        "an empty batch": _bytes("invalid request", b"[]"),
        "a number": _bytes("invalid request", b"5"),
        "a string": _bytes("invalid request", b'"x"'),
        "null": _bytes("invalid request", b"null"),
        "version 1.0 of JSON-RPC": _body("invalid request", jsonrpc="1.0"),
        "no version of JSON-RPC": _body("invalid request", jsonrpc=...),
        "a version as number": _body("invalid request", jsonrpc=2.0),
        "no method": _body("invalid request", method=...),
        "an empty method": _body("invalid request", method=""),
        "a method as number": _body("invalid request", method=1),
        "a method as null": _body("invalid request", method=None),
        "an object as id": _body("invalid request", id={"a": 1}),
        "a list as id": _body("invalid request", id=[1]),
        "a boolean as id": _body("invalid request", id=True),
        "params as text": _body("invalid request", params="x"),
    },
    JSONRPC,
    bare_fails_at={
        **dict.fromkeys(
            ("a batch", "an empty batch", "a number", "a string", "null", "an object as id", "a list as id"), _NO_ID
        ),
        "no version of JSON-RPC": {Wire.LEGACY: "does not miss it"},
        "an empty method": {Wire.LEGACY: "looks for a method of that name"},
        "a boolean as id": {Wire.LEGACY: "takes it for a number"},
    },
)
each(
    "9.5",
    "a method of nobody",
    {name: _body("no method", method=name) for name in ("NoSuchMethod", "message/nothing", "sendmessage", "tasks")},
    JSONRPC,
)


def _params(method: str, params: Any) -> Any:
    def run(peer: Peer) -> None:
        assert peer.call(method, params).error == "invalid params"

    return run


def _message(**changes: Any) -> Any:
    def run(peer: Peer) -> None:
        message = {name: value for name, value in {**peer.message(), **changes}.items() if value is not ...}
        assert peer.call("SendMessage", {"message": message}).error == "invalid params"
        assert peer.call("SendStreamingMessage", {"message": message}).error == "invalid params"

    return run


each(
    "9.5",
    "params that are none",
    {
        "a message as text": _params("SendMessage", {"message": "x"}),
        "a message as list": _params("SendMessage", {"message": []}),
        "an empty message": _params("SendMessage", {"message": {}}),
        "params as list": _params("SendMessage", ["x"]),
        "an unknown name alone": _params("SendMessage", {"": "not_a_dict"}),
        "an id as number": _params("GetTask", {"id": 5}),
        "an id as object": _params("CancelTask", {"id": {}}),
        "a history as text": _params("GetTask", {"id": "x", "historyLength": "many"}),
        "no message id": _message(messageId=...),
        "no role": _message(role=...),
        "no parts": _message(parts=...),
        "parts as text": _message(parts="invalid"),
        "parts of text": _message(parts=["x"]),
        "a role of nobody": _message(role="nobody"),
        "metadata as text": _message(metadata="x"),
        "a message id as object": _message(messageId={}),
    },
    JSONRPC,
    bare_fails_at={
        "params as list": {Wire.LEGACY: "calls it an invalid request"},
        "parts of text": {Wire.JSONRPC: "takes each for an empty part"},
    },
)
each(
    "9.5",
    "params that are none in 1.0",
    {
        "no parts at all": _message(parts=[]),
        "a part of nothing": _message(parts=[{}]),
        "a part of metadata alone": _message(parts=[{"text": "x"}, {"metadata": {}}]),
        "a role by its number in text": _message(role="7"),
    },
    (Wire.JSONRPC,),
    bare_fails_at={
        "a part of nothing": {Wire.JSONRPC: "takes it for an empty text"},
        "a part of metadata alone": {Wire.JSONRPC: "takes it for an empty text"},
        "a role by its number in text": {Wire.JSONRPC: "lets the executor see a role that does not exist"},
    },
)


def _echoed(call_id: Any) -> Any:
    def run(peer: Peer) -> None:
        good = peer.raw(sending(peer, id=call_id)).response.json()
        assert (good["id"], type(good["id"])) == (call_id, type(call_id))
        assert "result" in good
        bad = peer.raw(sending(peer, id=call_id, method="NoSuchMethod")).response.json()
        assert (bad["id"], type(bad["id"])) == (call_id, type(call_id))
        assert "error" in bad

    return run


each(
    "9.1",
    "an id comes back as it was sent",
    {
        "a number": _echoed(7),
        "zero": _echoed(0),
        "a negative number": _echoed(-1),
        "a number in text": _echoed("7"),
        "an empty text": _echoed(""),
        "a text": _echoed("\u00e9\U0001f600 x"),
        "a large number": _echoed(2**53 - 1),
    },
    JSONRPC,
)
each(
    "9.1",
    "an id comes back as it was sent",
    {"null": _echoed(None)},
    JSONRPC,
    bare_fails={Wire.LEGACY: "refuses it"},
)


@check("9.1", JSONRPC)
def the_same_id_twice_is_answered_twice(peer: Peer) -> None:
    body = sending(peer, id="same")
    for _ in range(2):
        assert peer.raw({**body, "params": {"message": peer.message()}}).response.json()["id"] == "same"


@check("9.1", JSONRPC)
def an_answer_is_application_json(peer: Peer) -> None:
    assert peer.send().kind == "application/json"
    assert peer.call("GetTask", {"id": NOBODYS}).kind == "application/json"


@check("3.3.2", JSONRPC, bare_fails=_AS_TEXT)
def json_rpc_as_plain_text_is_refused(peer: Peer) -> None:
    answer = peer.raw(sending(peer), **{"Content-Type": "text/plain"})
    assert answer.error == "content type"


@check("9.1", JSONRPC)
def a_charset_beside_the_type_is_no_matter(peer: Peer) -> None:
    assert peer.raw(sending(peer), **{"Content-Type": "application/json; charset=UTF-8"}).task


# Versions


def _version(error: str | None, *stated: str) -> Any:
    def run(peer: Peer) -> None:
        for version in stated:
            answer = peer.call("SendMessage", {"message": peer.message()}, **{VERSION: version})
            assert answer.error == error, version

    return run


each(
    "3.6.2",
    "a version that nobody speaks",
    {version: _version("version not supported", version) for version in ("99.0", "99", "0.1", "2.0", "x")},
    MODERN,
)
each("3.6.2", "a version that is spoken", {version: _version(None, version) for version in ("1.0", "1.0.0")}, MODERN)


def _legacy_version(headers: dict[str, str]) -> Any:
    def run(peer: Peer) -> None:
        assert state_of(peer.raw(sending(peer), **headers).task) == "completed"

    return run


each(
    "3.6.2",
    "0.3 under its header",
    {"none": _legacy_version({}), "empty": _legacy_version({VERSION: ""}), "0.3": _legacy_version({VERSION: "0.3"})},
    (Wire.LEGACY,),
)


@check("3.6.2", MODERN)
def an_empty_version_is_answered_somehow(peer: Peer) -> None:
    answer = peer.call("SendMessage", {"message": peer.message()}, **{VERSION: ""})
    assert answer.response.status_code < 500


@check("3.6.2", MODERN)
def every_method_refuses_a_version_that_nobody_speaks(peer: Peer) -> None:
    for method, params in {
        "GetTask": {"id": NOBODYS},
        "CancelTask": {"id": NOBODYS},
        "ListTasks": {},
        "SubscribeToTask": {"id": NOBODYS},
        "SendStreamingMessage": {"message": peer.message()},
        "GetExtendedAgentCard": {},
    }.items():
        assert peer.call(method, params, **{VERSION: "99.0"}).error == "version not supported", method


# Extensions


@check("3.2.6", MODERN)
def extensions_that_the_agent_does_not_know_are_no_error(peer: Peer) -> None:
    named = {"A2A-Extensions": "https://x.example/v1,https://x.example/v2"}
    assert peer.call("SendMessage", {"message": peer.message()}, **named).task


@check("3.3.4", MODERN, agent="extended")
def an_extension_that_the_agent_asks_for_is_missed(peer: Peer) -> None:
    assert peer.send().error == "extension required"


@check("3.3.4", MODERN, agent="extended")
def an_extension_that_the_agent_asks_for_reaches_it(peer: Peer) -> None:
    for header in (EXTENSION, f"urn:example:other, {EXTENSION}", f"{EXTENSION},urn:example:other"):
        answer = peer.call("SendMessage", {"message": peer.message()}, **{"A2A-Extensions": header})
        assert state_of(answer.task) == "completed"


@check("3.2.6", MODERN, agent="extended")
def extensions_in_two_headers_are_both_heard(peer: Peer) -> None:
    body: Any = {"message": peer.message()}
    url = peer.url.rstrip("/") + "/message:send" if peer.wire is Wire.REST else peer.url
    if peer.wire is Wire.JSONRPC:
        body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": body}
    said = [("A2A-Extensions", EXTENSION), ("A2A-Extensions", "urn:example:other")]
    headers = [(VERSION, "1.0"), *peer.headers.items(), *said]
    response = peer.http.post(url, json=body, headers=headers)
    assert response.status_code == 200, response.text
    assert "error" not in response.json(), response.text


# Errors


def _info(answer: Answer) -> dict[str, Any]:
    details = answer.details
    assert isinstance(details, list), details
    (info,) = [each for each in details if each.get("@type") == ERROR_INFO]
    found: dict[str, Any] = info
    return found


@check("9.5", MODERN)
def an_error_of_a2a_has_its_reason_and_domain(peer: Peer) -> None:
    for method in ("GetTask", "CancelTask", "SubscribeToTask"):
        info = _info(peer.call(method, {"id": NOBODYS}))
        assert (info["reason"], info["domain"]) == ("TASK_NOT_FOUND", "a2a-protocol.org"), method
    info = _info(peer.call("CancelTask", {"id": done(peer)["id"]}))
    assert info["reason"] == "TASK_NOT_CANCELABLE"


@check("9.5", MODERN)
def an_unknown_version_has_its_reason(peer: Peer) -> None:
    answer = peer.call("SendMessage", {"message": peer.message()}, **{VERSION: "99.0"})
    assert _info(answer)["reason"] == "VERSION_NOT_SUPPORTED"


# HTTP+JSON


@check("11.1", _REST)
def answers_are_of_the_media_type_of_a2a(peer: Peer) -> None:
    assert peer.send().kind in ("application/a2a+json", "application/json")
    assert peer.call("GetTask", {"id": done(peer)["id"]}).kind in ("application/a2a+json", "application/json")


@check("11.6", _REST)
def errors_are_of_application_json_and_their_code_is_the_status(peer: Peer) -> None:
    answer = peer.call("GetTask", {"id": NOBODYS})
    assert answer.kind == "application/json"
    assert answer.response.status_code == 404
    assert answer.response.json()["error"]["status"] == "NOT_FOUND"


def _status(status: int, verb: str, path: str, **sent: Any) -> Any:
    def run(peer: Peer) -> None:
        answer = peer.rest_raw(verb, path, **sent)
        assert answer.response.status_code == status
        assert answer.error is not None

    return run


each(
    "11.6",
    "a request that is none",
    {
        "an empty object": _status(400, "POST", "/message:send", json={}),
        "no JSON": _status(400, "POST", "/message:send", content=b"{"),
        "a message as text": _status(400, "POST", "/message:send", json={"message": "x"}),
        "a list": _status(400, "POST", "/message:send", json=[]),
        "an empty stream": _status(400, "POST", "/message:stream", json={}),
        "a history as text": _status(400, "GET", "/tasks/x?historyLength=many"),
        "a page size as text": _status(400, "GET", "/tasks?pageSize=many"),
    },
    _REST,
)


@check("3.3.2", _REST)
def http_json_as_plain_text_is_refused_or_read(peer: Peer) -> None:
    content = json.dumps({"message": peer.message()}).encode()
    answer = peer.rest_raw("POST", "/message:send", {"Content-Type": "text/plain"}, content=content)
    assert answer.error in (None, "content type")


@check("11.1", _REST)
def requests_of_the_media_type_of_a2a_are_read(peer: Peer) -> None:
    content = json.dumps({"message": peer.message()}).encode()
    assert peer.rest_raw("POST", "/message:send", {"Content-Type": "application/a2a+json"}, content=content).task


@check("11.3", _REST)
def subscribing_is_by_get_too(peer: Peer) -> None:
    assert peer.rest_raw("GET", f"/tasks/{NOBODYS}:subscribe").error == "task not found"


@check("11.3", _REST)
def cancelling_needs_no_body(peer: Peer) -> None:
    task = peer.send("ask:hello").task["id"]
    assert state_of(peer.rest_raw("POST", f"/tasks/{task}:cancel").task) == "canceled"


@check("11.7", _REST)
def an_event_of_http_json_is_a_bare_stream_response(peer: Peer) -> None:
    for event in peer.stream().events:
        assert len(event) == 1
        assert set(event) <= {"task", "message", "statusUpdate", "artifactUpdate"}

"""Messages and tasks: sections 3 and 4 of the specification, in every binding."""

from __future__ import annotations

import re
import secrets
from typing import Any, Final

from tests.a2a.conformance.peers import Peer, Wire, inside, kind_of, state_of
from tests.a2a.conformance.table import JSONRPC, MODERN, check, each

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_TIME_03: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
NOBODYS: Final = "00000000-0000-4000-8000-000000000000"
TEXTS: Final = {
    "umlauts and an emoji": "\u00e9\u00df\u4e16\U0001f600",
    "line breaks of every kind": "a\nb\r\nc\u2028d\u2029e\x85f",
    "control characters": "a\x00\x01\x1f\x7fb",
    "what looks like an event": "data: {}\n\nevent: error\n\n",
    "quotes and backslashes": "\"\\'\\u0041</script>",
    "right to left": "\u05e9\u05dc\u05d5\u05dd \u202eabc",
    "a combining mark": "e\u0301",
    "a large text": "x" * 1_000_000,
}


def done(peer: Peer, text: str = "hello", **more: Any) -> dict[str, Any]:
    """Begin a task that completes at once."""
    task = peer.send(text, **more).task
    assert state_of(task) == "completed", task
    return task


def asked(peer: Peer) -> dict[str, Any]:
    """Begin a task that waits for more."""
    task = peer.send("ask:hello").task
    assert state_of(task) == "input-required", task
    return task


def keys_of(value: Any) -> set[str]:
    """Every key of a JSON value, at any depth."""
    if isinstance(value, dict):
        return set(value) | {key for each in value.values() for key in keys_of(each)}
    return {key for each in value for key in keys_of(each)} if isinstance(value, list) else set()


def texts_of(parts: list[dict[str, Any]]) -> str:
    """The text of an artifact or a message."""
    return "".join(part.get("text", "") for part in parts)


# Sending


@check("3.1.1")
def sending_answers_a_task_with_its_artifacts(peer: Peer) -> None:
    task = done(peer)
    assert task["id"]
    assert task["contextId"]
    assert texts_of(task["artifacts"][0]["parts"]) == "echo: hello"


@check("3.1.1")
def sending_may_answer_a_bare_message(peer: Peer) -> None:
    result = peer.send("reply:hello").result
    said = result if peer.is_legacy else result["message"]
    assert texts_of(said["parts"]) == "echo: hello"
    assert said["role"] == ("agent" if peer.is_legacy else "ROLE_AGENT")
    assert said["messageId"]


def _ends(text: str, state: str) -> Any:
    def run(peer: Peer) -> None:
        assert state_of(peer.send(text).task) == state

    return run


each(
    "4.1.3",
    "a state arrives as the agent set it",
    {
        state: _ends(text, state)
        for text, state in {
            "hello": "completed",
            "fail:x": "failed",
            "refuse:x": "rejected",
            "ask:x": "input-required",
            "login:x": "auth-required",
        }.items()
    },
)


@check("3.4.1")
def a_context_that_the_client_names_is_kept(peer: Peer) -> None:
    context = secrets.token_hex(8)
    assert done(peer, contextId=context)["contextId"] == context


@check("3.4.1")
def two_messages_without_a_context_have_two(peer: Peer) -> None:
    assert done(peer)["contextId"] != done(peer)["contextId"]


@check("3.4.2")
def a_second_message_continues_its_task(peer: Peer) -> None:
    first = asked(peer)
    second = done(peer, taskId=first["id"], contextId=first["contextId"])
    assert (second["id"], second["contextId"]) == (first["id"], first["contextId"])


@check("3.4.3")
def a_task_without_its_context_is_found(peer: Peer) -> None:
    first = asked(peer)
    second = done(peer, taskId=first["id"])
    assert second["contextId"] == first["contextId"]


@check("3.4.3")
def a_task_under_another_context_is_an_error(peer: Peer) -> None:
    first = asked(peer)
    assert peer.send(taskId=first["id"], contextId=secrets.token_hex(8)).error in ("invalid params", "task not found")


@check("3.1.1")
def a_message_to_a_finished_task_is_refused(peer: Peer) -> None:
    task = done(peer)
    refused = peer.send(taskId=task["id"], contextId=task["contextId"])
    assert refused.error in (
        ("invalid params", "unsupported operation") if peer.is_legacy else ("unsupported operation",)
    )


@check("3.4.2")
def a_message_to_a_task_of_nobody_is_refused(peer: Peer) -> None:
    assert peer.send(taskId=NOBODYS).error == "task not found"


@check("3.1.1", MODERN)
def a_part_that_the_agent_cannot_read_is_refused(peer: Peer) -> None:
    part = {"raw": "dGNr", "mediaType": "application/x-unreadable"}
    assert peer.send(parts=[part]).error == "content type"


def _said(text: str) -> Any:
    def run(peer: Peer) -> None:
        task = done(peer, text)
        assert texts_of(task["artifacts"][0]["parts"]) == f"echo: {text}"
        assert texts_of(task["history"][0]["parts"]) == text

    return run


each("4.1.6", "a text arrives as it was said", {name: _said(text) for name, text in TEXTS.items()})


def _streamed(text: str) -> Any:
    def run(peer: Peer) -> None:
        events = peer.stream(text).events
        said = "".join(
            texts_of(inside(event)["artifact"]["parts"]) for event in events if kind_of(event) == "artifactUpdate"
        )
        assert said == f"echo: {text}"

    return run


each("3.1.2", "a text streams as it was said", {name: _streamed(text) for name, text in TEXTS.items()})


@check("4.1.6")
def every_kind_of_part_comes_back_whole(peer: Peer) -> None:
    artifact = done(peer, "parts:hello")["artifacts"][0]
    text, data, raw, linked = artifact["parts"]
    assert artifact["name"] == "all kinds"
    assert artifact["metadata"] == {"n": 1}
    assert text["text"] == "hello"
    assert text["metadata"] == {"lang": "en"}
    assert data["data"] == {"a": [1, None, {"b": "hello"}]}
    if peer.is_legacy:
        assert raw["file"] == {"bytes": "AP9oZWxsbw==", "name": "x.bin", "mimeType": "application/octet-stream"}
        assert linked["file"] == {"uri": "https://files.example/x.png", "name": "x.png", "mimeType": "image/png"}
    else:
        assert raw == {"raw": "AP9oZWxsbw==", "filename": "x.bin", "mediaType": "application/octet-stream"}
        assert linked == {"url": "https://files.example/x.png", "filename": "x.png", "mediaType": "image/png"}


@check("4.1.4", MODERN)
def every_kind_of_part_reaches_the_agent(peer: Peer) -> None:
    parts = [
        {"text": "hello", "metadata": {"a": [1, {"b": None}]}},
        {"data": {"x": [True, 1.5, "y"]}},
        {"raw": "AP8=", "filename": "x.bin", "mediaType": "application/octet-stream"},
        {"url": "https://files.example/x.png", "mediaType": "image/png"},
    ]
    history = peer.send(parts=parts, metadata={"m": {"deep": [1]}}).task["history"][0]
    assert history["parts"] == parts
    assert history["metadata"] == {"m": {"deep": [1]}}


@check("4.1.4")
def a_message_keeps_its_id_and_its_metadata(peer: Peer) -> None:
    said = peer.message(messageId="my own id", metadata={"a": [1, {"b": None}], "c": "\u00e9"})
    history = peer.call("SendMessage", {"message": said}).task["history"][0]
    assert history["messageId"] == "my own id"
    assert history["metadata"] == {"a": [1, {"b": None}], "c": "\u00e9"}
    assert history["role"] == ("user" if peer.is_legacy else "ROLE_USER")


@check("4.1.4", MODERN)
def a_message_keeps_its_extensions_and_references(peer: Peer) -> None:
    other = done(peer)["id"]
    said = peer.message(extensions=["https://x.example/e"], referenceTaskIds=[other])
    history = peer.call("SendMessage", {"message": said}).task["history"][0]
    assert history["extensions"] == ["https://x.example/e"]
    assert history["referenceTaskIds"] == [other]


# How data is written


@check("5.5")
def keys_are_camel_case(peer: Peer) -> None:
    for text in ("hello", "parts:hello"):
        assert not {key for key in keys_of(peer.send(text).result) if re.search(r"[a-z]_[a-z]", key)}


@check("5.6.1")
def times_are_iso_8601_in_utc(peer: Peer) -> None:
    written = done(peer)["status"]["timestamp"]
    assert (_TIME_03 if peer.is_legacy else _TIME).fullmatch(written), written


@check("5.5")
def enums_are_their_names(peer: Peer) -> None:
    task = done(peer)
    roles = {message["role"] for message in task["history"]}
    if peer.is_legacy:
        assert task["status"]["state"] == "completed"
        assert roles <= {"user", "agent"}
    else:
        assert task["status"]["state"] == "TASK_STATE_COMPLETED"
        assert roles <= {"ROLE_USER", "ROLE_AGENT"}


@check("0.3 6.1", (Wire.LEGACY,))
def objects_of_0_3_name_their_kind(peer: Peer) -> None:
    task = done(peer)
    assert task["kind"] == "task"
    assert {message["kind"] for message in task["history"]} == {"message"}
    assert [part["kind"] for part in peer.send("parts:x").task["artifacts"][0]["parts"]] == [
        "text", "data", "file", "file",
    ]  # fmt: skip


@check("5.7")
def unknown_fields_are_ignored(peer: Peer) -> None:
    message = peer.message(unknownField={"a": 1})
    params = {"message": message, "anotherOne": 42, "configuration": {"yetAnother": [None]}}
    assert state_of(peer.call("SendMessage", params).task) == "completed"


# Configuration


@check("3.2.2", MODERN)
def sending_waits_unless_told_otherwise(peer: Peer) -> None:
    assert state_of(peer.send(configuration={"returnImmediately": False}).task) == "completed"
    assert state_of(peer.send(configuration={}).task) == "completed"


@check("3.2.2", MODERN)
def sending_returns_at_once_when_told_to(peer: Peer) -> None:
    task = peer.send(configuration={"returnImmediately": True}).task
    assert state_of(task) in ("submitted", "working", "completed")
    assert peer.call("GetTask", {"id": task["id"]}).task["id"] == task["id"]


@check("3.2.2")
def accepted_modes_are_passed_on(peer: Peer) -> None:
    assert state_of(peer.send(configuration={"acceptedOutputModes": ["text/plain"]}).task) == "completed"


@check("3.2.4", MODERN)
def sending_with_a_history_of_nothing_answers_none(peer: Peer) -> None:
    assert not peer.send(configuration={"historyLength": 0}).task.get("history")


@check("3.2.4", MODERN)
def sending_with_a_negative_history_is_invalid(peer: Peer) -> None:
    assert peer.send(configuration={"historyLength": -1}).error == "invalid params"


# Getting


@check("3.1.3")
def getting_answers_the_task(peer: Peer) -> None:
    task = done(peer)
    again = peer.call("GetTask", {"id": task["id"]}).task
    assert (again["id"], again["contextId"], state_of(again)) == (task["id"], task["contextId"], "completed")
    assert again["artifacts"] == task["artifacts"]
    assert again["status"] == task["status"]


@check("3.1.3")
def getting_a_task_of_nobody_is_not_found(peer: Peer) -> None:
    assert peer.call("GetTask", {"id": NOBODYS}).error == "task not found"


def _history(length: int) -> Any:
    def run(peer: Peer) -> None:
        first = asked(peer)
        done(peer, taskId=first["id"], contextId=first["contextId"])
        every = peer.call("GetTask", {"id": first["id"]}).task["history"]
        assert len(every) >= 3
        some = peer.call("GetTask", {"id": first["id"], "historyLength": length}).task.get("history") or []
        assert some == (every[-length:] if length else [])

    return run


each("3.2.4", "getting so much of the history", {str(length): _history(length) for length in (1, 2, 100)})
each("3.2.4", "getting none of the history", {"0": _history(0)}, MODERN)


@check("3.2.4", MODERN)
def a_negative_history_is_invalid(peer: Peer) -> None:
    assert peer.call("GetTask", {"id": done(peer)["id"], "historyLength": -1}).error == "invalid params"


@check("3.1.3", JSONRPC)
def getting_without_an_id_is_invalid(peer: Peer) -> None:
    assert peer.call("GetTask", {}).error == "invalid params"


# Cancelling


@check("3.1.5")
def cancelling_answers_the_canceled_task(peer: Peer) -> None:
    task = asked(peer)
    canceled = peer.call("CancelTask", {"id": task["id"]}).task
    assert (canceled["id"], state_of(canceled)) == (task["id"], "canceled")
    assert state_of(peer.call("GetTask", {"id": task["id"]}).task) == "canceled"


def _uncancelable(text: str) -> Any:
    def run(peer: Peer) -> None:
        task = peer.send(text).task
        assert peer.call("CancelTask", {"id": task["id"]}).error == "task not cancelable"

    return run


each(
    "3.1.5",
    "a finished task is not cancelable",
    {"completed": _uncancelable("hello"), "failed": _uncancelable("fail:x"), "rejected": _uncancelable("refuse:x")},
)


@check("3.1.5")
def a_canceled_task_is_not_cancelable(peer: Peer) -> None:
    task = asked(peer)
    peer.call("CancelTask", {"id": task["id"]})
    assert peer.call("CancelTask", {"id": task["id"]}).error == "task not cancelable"


@check("3.1.5")
def cancelling_a_task_of_nobody_is_not_found(peer: Peer) -> None:
    assert peer.call("CancelTask", {"id": NOBODYS}).error == "task not found"


@check("3.1.5", JSONRPC)
def cancelling_without_an_id_is_invalid(peer: Peer) -> None:
    assert peer.call("CancelTask", {}).error == "invalid params"


# Listing


def listed(peer: Peer, **filters: Any) -> dict[str, Any]:
    """List tasks."""
    answer = peer.call("ListTasks", filters)
    assert answer.error is None, answer.message
    result: dict[str, Any] = answer.result
    return result


def context_of_three(peer: Peer) -> tuple[str, list[str]]:
    """Begin three tasks in a context of their own; returns it and their ids, the first one first."""
    context = secrets.token_hex(8)
    return context, [done(peer, contextId=context)["id"] for _ in range(3)]


@check("3.1.4", MODERN)
def listing_has_every_field(peer: Peer) -> None:
    page = listed(peer, contextId=secrets.token_hex(8))
    assert page == {"tasks": [], "nextPageToken": "", "pageSize": page["pageSize"], "totalSize": 0}
    assert page["pageSize"] >= 0


@check("3.1.4", MODERN)
def listing_is_by_context_and_newest_first(peer: Peer) -> None:
    context, ids = context_of_three(peer)
    page = listed(peer, contextId=context)
    assert [task["id"] for task in page["tasks"]] == ids[::-1]
    assert page["totalSize"] == 3
    assert page["nextPageToken"] == ""
    times = [task["status"]["timestamp"] for task in page["tasks"]]
    assert times == sorted(times, reverse=True)


@check("3.1.4", MODERN)
def listing_goes_from_page_to_page(peer: Peer) -> None:
    context, ids = context_of_three(peer)
    first = listed(peer, contextId=context, pageSize=2)
    assert [task["id"] for task in first["tasks"]] == ids[:0:-1]
    assert first["nextPageToken"]
    assert first["totalSize"] == 3
    assert first["pageSize"] == 2
    second = listed(peer, contextId=context, pageSize=2, pageToken=first["nextPageToken"])
    assert [task["id"] for task in second["tasks"]] == ids[:1]
    assert second["nextPageToken"] == ""


@check("3.1.4", MODERN)
def listing_is_by_state(peer: Peer) -> None:
    context = secrets.token_hex(8)
    waiting = peer.send("ask:x", contextId=context).task["id"]
    finished = done(peer, contextId=context)["id"]
    by_state = {
        state: [task["id"] for task in listed(peer, contextId=context, status=f"TASK_STATE_{state}")["tasks"]]
        for state in ("INPUT_REQUIRED", "COMPLETED", "FAILED")
    }
    assert by_state == {"INPUT_REQUIRED": [waiting], "COMPLETED": [finished], "FAILED": []}


@check("3.1.4", MODERN)
def listing_is_by_time(peer: Peer) -> None:
    context, ids = context_of_three(peer)
    middle = peer.call("GetTask", {"id": ids[1]}).task["status"]["timestamp"]
    assert [task["id"] for task in listed(peer, contextId=context, statusTimestampAfter=middle)["tasks"]] == ids[:0:-1]


@check("3.1.4", MODERN)
def listing_leaves_artifacts_out_unless_asked(peer: Peer) -> None:
    context, _ = context_of_three(peer)
    assert all("artifacts" not in task for task in listed(peer, contextId=context)["tasks"])
    asked_for: Any = True if peer.wire is Wire.JSONRPC else "true"
    assert all(task["artifacts"] for task in listed(peer, contextId=context, includeArtifacts=asked_for)["tasks"])


def _listed_history(length: int) -> Any:
    def run(peer: Peer) -> None:
        context, _ = context_of_three(peer)
        tasks = listed(peer, contextId=context, historyLength=length)["tasks"]
        assert all(len(task.get("history") or ()) <= length for task in tasks)

    return run


each("3.2.4", "listing so much of the history", {str(n): _listed_history(n) for n in (0, 1)}, MODERN)


def _unlisted(**filters: Any) -> Any:
    def run(peer: Peer) -> None:
        assert peer.call("ListTasks", filters).error == "invalid params"

    return run


each(
    "3.1.4",
    "a filter that means nothing is invalid",
    {
        "page size 0": _unlisted(pageSize=0),
        "page size -1": _unlisted(pageSize=-1),
        "page size 101": _unlisted(pageSize=101),
        "history -1": _unlisted(historyLength=-1),
        "a page token of nobody": _unlisted(pageToken="nobody's"),
    },
    MODERN,
)


@check("3.1.1", JSONRPC)
def sending_no_message_is_invalid(peer: Peer) -> None:
    assert peer.call("SendMessage", {}).error == "invalid params"
    assert peer.call("SendStreamingMessage", {}).error == "invalid params"

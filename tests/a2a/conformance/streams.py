"""Streams: sections 3.1.2, 3.1.6, 9.4.2 and 11.7."""

from __future__ import annotations

import json
from typing import Final

from tests.a2a.conformance.peers import Peer, Wire, inside, kind_of, state_of
from tests.a2a.conformance.table import check
from tests.a2a.conformance.tasks import NOBODYS, asked, done

_KINDS: Final = ("task", "statusUpdate", "artifactUpdate", "artifactUpdate", "statusUpdate")


@check("3.1.2")
def a_stream_begins_with_the_task_and_ends_with_its_end(peer: Peer) -> None:
    answer = peer.stream()
    assert answer.error is None
    assert tuple(map(kind_of, answer.events)) == _KINDS
    assert state_of(inside(answer.events[-1])) == "completed"


@check("3.1.2")
def every_event_names_its_task_and_context(peer: Peer) -> None:
    first, *updates = map(inside, peer.stream().events)
    assert {(each["taskId"], each["contextId"]) for each in updates} == {(first["id"], first["contextId"])}


@check("3.1.2")
def chunks_of_an_artifact_say_their_place(peer: Peer) -> None:
    one, two = (inside(event) for event in peer.stream().events if kind_of(event) == "artifactUpdate")
    assert (one.get("append", False), one.get("lastChunk", False)) == (False, False)
    assert (two["append"], two["lastChunk"]) == (True, True)
    assert one["artifact"]["artifactId"] == two["artifact"]["artifactId"]


@check("3.1.2")
def a_stream_of_a_bare_message_is_that_message(peer: Peer) -> None:
    (only,) = peer.stream("reply:hello").events
    assert kind_of(only) == "message"
    assert inside(only)["parts"][0]["text"] == "echo: hello"


@check("3.1.2")
def a_stream_ends_where_the_agent_waits(peer: Peer) -> None:
    assert state_of(inside(peer.stream("ask:hello").events[-1])) == "input-required"


@check("3.1.2")
def a_stream_that_fails_ends_in_a_failed_task(peer: Peer) -> None:
    assert state_of(inside(peer.stream("fail:hello").events[-1])) == "failed"


@check("3.1.2")
def a_stream_continues_a_task(peer: Peer) -> None:
    task = asked(peer)
    events = peer.stream(taskId=task["id"], contextId=task["contextId"]).events
    assert {inside(event).get("taskId", task["id"]) for event in events} == {task["id"]}
    assert state_of(inside(events[-1])) == "completed"


@check("0.3 7.2.2", (Wire.LEGACY,))
def the_last_event_of_0_3_says_so(peer: Peer) -> None:
    updates = [event for event in peer.stream().events if event["kind"] == "status-update"]
    assert [event.get("final", False) for event in updates] == [False, True]


@check("9.4.2")
def a_stream_is_of_server_sent_events(peer: Peer) -> None:
    response = peer.stream().response
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = [block for block in response.text.replace("\r\n", "\n").split("\n\n") if block.strip()]
    assert len(blocks) == len(_KINDS)
    for block in blocks:
        lines = block.split("\n")
        assert all(line.startswith(("data: ", "event: message", "id: ", ":")) for line in lines), block
        assert sum(line.startswith("data: ") for line in lines) == 1
    assert "no-cache" in response.headers.get("cache-control", "") or "no-store" in response.headers["cache-control"]


@check("9.4.2", (Wire.JSONRPC, Wire.LEGACY))
def every_event_is_an_answer_with_the_id(peer: Peer) -> None:
    said = {"message": peer.message()}
    response = peer.call("SendStreamingMessage", said, call_id="mine").response
    bodies = [json.loads(line[5:]) for line in response.text.splitlines() if line.startswith("data:")]
    assert len(bodies) == len(_KINDS)
    assert all(set(body) == {"jsonrpc", "id", "result"} and body["id"] == "mine" for body in bodies)


@check("3.1.2")
def streaming_to_a_task_of_nobody_is_not_found(peer: Peer) -> None:
    answer = peer.stream(taskId=NOBODYS)
    assert (answer.error, answer.events) == ("task not found", ())


@check("3.1.2")
def streaming_to_a_finished_task_is_refused(peer: Peer) -> None:
    task = done(peer)
    refused = peer.stream(taskId=task["id"], contextId=task["contextId"])
    allowed = ("invalid params", "unsupported operation") if peer.is_legacy else ("unsupported operation",)
    assert refused.error in allowed
    assert refused.events == ()


@check("3.1.6")
def subscribing_to_a_task_of_nobody_is_not_found(peer: Peer) -> None:
    answer = peer.call("SubscribeToTask", {"id": NOBODYS})
    assert (answer.error, answer.events) == ("task not found", ())


@check("3.1.6", (Wire.JSONRPC, Wire.REST))
def subscribing_to_a_finished_task_is_refused(peer: Peer) -> None:
    assert peer.call("SubscribeToTask", {"id": done(peer)["id"]}).error == "unsupported operation"


@check("3.1.6", (Wire.JSONRPC, Wire.LEGACY))
def subscribing_to_no_task_is_invalid(peer: Peer) -> None:
    assert peer.call("SubscribeToTask", {}).error == "invalid params"

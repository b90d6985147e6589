"""The test agents are what they claim, asked directly: the baseline that the gateway is compared with."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from a2a.client import A2AClientError
from a2a.types.a2a_pb2 import CancelTaskRequest, GetTaskRequest, SubscribeToTaskRequest, TaskState

from tests.support import clients, legacy
from tests.support.backends import Backend, Version, agent
from tests.support.processes import wait_until


@pytest.fixture(scope="module", params=["1.0", "both", "0.3"])
def private(request: pytest.FixtureRequest) -> Iterator[Backend]:
    version: Version = request.param
    with agent(version) as running:
        yield running


def is_followed(backend: Backend) -> bool:
    return {"SubscribeToTask", "tasks/resubscribe"} & {str(call.rpc_method) for call in backend.calls()} != set()


def speaks_03(backend: Backend) -> bool:
    return backend.version != "1.0"


async def test_the_current_client_sends_and_streams(private: Backend) -> None:
    (answer,) = await clients.send(private.url, "hello")
    assert answer.task.status.state == TaskState.TASK_STATE_COMPLETED
    events = await clients.stream(private.url, "hello")
    assert [event.WhichOneof("payload") for event in events] == [
        "task",
        "status_update",
        "artifact_update",
        "artifact_update",
        "status_update",
    ]
    assert clients.texts(events)[-1] == "echo: hello"


def test_the_legacy_client_sends_and_streams_where_0_3_is_spoken(private: Backend) -> None:
    if not speaks_03(private):
        with pytest.raises(legacy.LegacyClientError):
            legacy.call("send", private.url, "hello")
        return
    (task,) = legacy.call("send", private.url, "hello")
    assert task["status"]["state"] == "completed"
    kinds = [event["kind"] for event in legacy.call("stream", private.url, "hello")]
    assert kinds == ["task", "status-update", "artifact-update", "artifact-update", "status-update"]


async def test_gated_events_leave_one_by_one_and_a_hang_up_is_noticed(private: Backend) -> None:
    before = private.cancelled().disconnects
    async with clients.a2a_client(private.url) as client:
        events = client.send_message(clients.user_message("gate:slow"))
        for expected in ("task", "status_update", "artifact_update"):
            private.release("slow")
            assert (await anext(events)).WhichOneof("payload") == expected
    counts = await asyncio.to_thread(private.cancelled, at_least=before + 1)
    assert counts.disconnects == before + 1


async def test_a_task_is_read_followed_and_cancelled(private: Backend) -> None:
    async with clients.a2a_client(private.url) as client:
        events = client.send_message(clients.user_message("gate:long"))
        private.release("long", 2)
        task = (await anext(events)).task
        await anext(events)
        assert (await client.get_task(GetTaskRequest(id=task.id))).status.state == TaskState.TASK_STATE_WORKING
        followed = client.subscribe(SubscribeToTaskRequest(id=task.id))
        next_event = asyncio.ensure_future(anext(followed))
        await asyncio.to_thread(wait_until, lambda: is_followed(private), 20, "subscription")
        private.release("long")
        assert await next_event
        cancelled = await client.cancel_task(CancelTaskRequest(id=task.id))
        assert cancelled.status.state == TaskState.TASK_STATE_CANCELED
    assert private.cancelled().tasks >= 1


@pytest.mark.parametrize("version", ["1.0", "0.3"])
async def test_required_headers_are_required_and_reported(version: Version) -> None:
    with agent(version, require={"Authorization": "Bearer right"}) as backend:
        with pytest.raises(A2AClientError, match="401"):
            await clients.send(backend.url, "hello", "wrong")
        assert await clients.send(backend.url, "hello", "right")
        assert [call.headers["authorization"] for call in backend.calls()] == ["Bearer wrong", "Bearer right"]


def test_a_redirecting_agent_redirects() -> None:
    with agent(redirect_to="http://127.0.0.1:1/") as backend, httpx.Client(trust_env=False) as client:
        answer = client.post(backend.url, json={})
        assert (answer.status_code, answer.headers["location"]) == (302, "http://127.0.0.1:1/")


def test_a_stopped_agent_refuses_and_comes_back_on_its_port() -> None:
    with agent() as backend:
        backend.stop()
        with pytest.raises(httpx.ConnectError):
            backend.card()
        again = backend.restart()
        assert again.url == backend.url
        assert again.card()["name"] == "echo"
        again.stop()

"""HTTP+JSON: the same agents, keys and tasks as in JSON-RPC, in the words of that binding."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import pytest
from a2a.client import A2ACardResolver, Client, ClientConfig, ClientFactory
from a2a.types.a2a_pb2 import (
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    GetExtendedAgentCardRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTasksRequest,
    SubscribeToTaskRequest,
    TaskPushNotificationConfig,
    TaskState,
)
from a2a.utils.errors import TaskNotCancelableError, TaskNotFoundError

from tests.a2a.calls import Registered, granted, message, registered
from tests.a2a.rest import LEGACY, MODERN
from tests.conftest import BackendOf
from tests.support.backends import VERSIONS, Backend
from tests.support.clients import texts, user_message
from tests.support.proxy import Proxy

pytestmark = pytest.mark.requirement("A2A-20")

CALLERS: Final[Mapping[str, int]] = {"nobody": 401, "unknown": 401, "plain": 403, "viewer": 403}
"""Who may call no agent, and the status that says so."""


@pytest.fixture(params=VERSIONS)
def served(
    request: pytest.FixtureRequest, reachable: Proxy, backend_of: BackendOf
) -> Iterator[tuple[Registered, Backend]]:
    backend = backend_of(request.param)
    with registered(reachable, backend.card()) as each:
        yield each, backend


@pytest.fixture
def agent(reachable: Proxy, backend_of: BackendOf) -> Iterator[Registered]:
    with registered(reachable, backend_of("1.0").card()) as each:
        yield each


@pytest.fixture
def client(reachable: Proxy, agent: Registered) -> Iterator[httpx.Client]:
    with reachable.client(granted(reachable, agent)) as opened:
        yield opened


@asynccontextmanager
async def official(agent: Registered, key: str, *, streaming: bool) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(headers=headers, timeout=60, trust_env=False) as http:
        card = await A2ACardResolver(http, agent.url).get_agent_card()
        config = ClientConfig(httpx_client=http, streaming=streaming, supported_protocol_bindings=["HTTP+JSON"])
        async with ClientFactory(config).create(card) as client:
            yield client


async def test_the_official_client_calls_every_method(reachable: Proxy, served: tuple[Registered, Backend]) -> None:
    agent, backend = served
    key = granted(reachable, agent)
    async with official(agent, key, streaming=False) as plain:
        [event] = [event async for event in plain.send_message(user_message("ask:hello"))]
        task = event.task
        assert (await plain.get_task(GetTaskRequest(id=task.id, history_length=1))).id == task.id
        if backend.version != "0.3":
            found = await plain.list_tasks(ListTasksRequest(page_size=10, include_artifacts=True))
            assert [each.id for each in found.tasks] == [task.id]
        config = TaskPushNotificationConfig(task_id=task.id, id="mine", url="http://127.0.0.1:9/hook", token="t")
        assert await plain.create_task_push_notification_config(config) == config
        wanted = GetTaskPushNotificationConfigRequest(task_id=task.id, id="mine")
        assert await plain.get_task_push_notification_config(wanted) == config
        listed = await plain.list_task_push_notification_configs(
            ListTaskPushNotificationConfigsRequest(task_id=task.id)
        )
        assert list(listed.configs) == [config]
        gone = DeleteTaskPushNotificationConfigRequest(task_id=task.id, id="mine")
        await plain.delete_task_push_notification_config(gone)
        with pytest.raises(TaskNotFoundError):
            await plain.get_task_push_notification_config(wanted)
        canceled = await plain.cancel_task(CancelTaskRequest(id=task.id))
        assert canceled.status.state == TaskState.TASK_STATE_CANCELED
        with pytest.raises(TaskNotCancelableError):
            await plain.cancel_task(CancelTaskRequest(id=task.id))
        with pytest.raises(TaskNotFoundError):
            await plain.get_task(GetTaskRequest(id="no-such-task"))
        card = await plain.get_extended_agent_card(GetExtendedAgentCardRequest())
        assert [skill.id for skill in card.skills] == ["echo", "secret"]


async def test_the_official_client_streams_and_subscribes(reachable: Proxy, served: tuple[Registered, Backend]) -> None:
    agent, backend = served
    gate = secrets.token_hex(6)
    backend.release(gate)
    async with official(agent, granted(reachable, agent), streaming=True) as client:
        events = []
        subscriber: asyncio.Task[int] | None = None
        async for event in client.send_message(user_message(f"gate:{gate}")):
            events.append(event)
            if subscriber is None:
                subscriber = asyncio.create_task(heard(client, event.task.id))
                while not await asyncio.to_thread(subscribed, backend, event.task.id):
                    assert not subscriber.done()
                backend.release(gate, 4)
        assert texts(events)[-1] == f"echo: {gate}"
        assert subscriber is not None
        assert await subscriber >= 2


async def heard(client: Client, task_id: str) -> int:
    return len([event async for event in client.subscribe(SubscribeToTaskRequest(id=task_id))])


def subscribed(backend: Backend, task_id: str) -> bool:
    calls = [call for call in backend.calls() if call.rpc_method in ("SubscribeToTask", "tasks/resubscribe")]
    return any(call.body["params"]["id"] == task_id for call in calls)


def test_the_older_version_has_its_own_paths(client: httpx.Client, agent: Registered) -> None:
    said = {"request": {"messageId": "m", "role": "ROLE_USER", "content": [{"text": "ask:hello"}]}}
    answer = client.post(f"{agent.url}/v1/message:send", json=said)
    assert answer.status_code == 200, answer.text
    task = answer.json()["task"]
    assert client.get(f"{agent.url}/v1/tasks/{task['id']}").json()["id"] == task["id"]
    assert client.post(f"{agent.url}/v1/tasks/{task['id']}:cancel").json()["status"]["state"] == "TASK_STATE_CANCELLED"
    assert [each["id"] for each in client.get(f"{agent.url}/v1/card").json()["skills"]] == ["echo", "secret"]
    with client.stream("POST", f"{agent.url}/v1/message:stream", json=said) as response:
        events = [json.loads(line[5:]) for line in response.iter_lines() if line.startswith("data:")]
    assert len(events) == 3
    missing = client.post(f"{agent.url}/v1/tasks/no-such-task:subscribe")
    assert missing.status_code == 404
    assert missing.json()["error"]["status"] == "NOT_FOUND"


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize(("verb", "path"), [*MODERN, *LEGACY], ids=str)
def test_every_path_asks_for_a_key_that_may(
    reachable: Proxy, agent: Registered, verb: str, path: str, caller: str
) -> None:
    key = {
        "nobody": None,
        "unknown": "sk-nobody-knows-this",
        "plain": reachable.add_key(),
        "viewer": reachable.add_key(user_role="proxy_admin_viewer"),
    }[caller]
    with reachable.client(key) as client:
        url = agent.url + path.replace("{id}", "t").replace("{push_id}", "c")
        response = client.request(verb, url, json={} if verb == "POST" else None)
    assert response.status_code == CALLERS[caller], response.text


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/message:send", b"{nope", 400),
        ("/message:send", b"", 400),
        ("/message:send", b"[]", 400),
        ("/message:stream", b"{nope", 400),
        ("/message:send", b'{"message": {"metadata": {"x": 1e999}}}', 400),
        ("/tasks/x/pushNotificationConfigs", b"{nope", 400),
    ],
)
def test_what_is_no_request_is_a_status_of_google_rpc(
    client: httpx.Client, agent: Registered, *, prefix: str, path: str, content: bytes, status: int
) -> None:
    headers = {"Content-Type": "application/json"}
    response = client.post(agent.url + prefix + path, content=content, headers=headers)
    assert response.status_code == status, response.text
    assert response.json()["error"]["code"] == status
    assert response.json()["error"]["status"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize("length", ["x", "1.5", "\u00b2", "9" * 30])
def test_a_length_that_is_no_number_is_refused(
    client: httpx.Client, agent: Registered, *, prefix: str, length: str
) -> None:
    response = client.get(f"{agent.url}{prefix}/tasks/x", params={"historyLength": length})
    assert response.status_code == 400, response.text


def test_a_version_that_nobody_speaks_is_refused(client: httpx.Client, agent: Registered) -> None:
    response = client.post(f"{agent.url}/message:send", json=message("hello"), headers={"A2A-Version": "99"})
    assert response.status_code == 400
    assert response.json()["error"]["details"][0]["reason"] == "VERSION_NOT_SUPPORTED"


def test_a_backend_that_is_away_is_told_without_its_address(reachable: Proxy, backend_of: BackendOf) -> None:
    card = json.loads(json.dumps(backend_of("1.0").card()).replace(str(backend_of("1.0").port), "9"))
    with registered(reachable, card) as agent, reachable.client() as client:
        response = client.post(f"{agent.url}/message:send", json=message("hello"))
    assert response.status_code == 502
    assert response.json()["error"]["status"] == "UNAVAILABLE"
    assert "127.0.0.1" not in response.text


def test_an_unknown_agent_is_not_found(reachable: Proxy) -> None:
    with reachable.client() as client:
        response = client.get("/a2a/no-such-agent/tasks/x")
    assert response.status_code == 404
    assert response.json()["error"]["status"] == "NOT_FOUND"


def test_answers_are_called_what_they_are(client: httpx.Client, agent: Registered) -> None:
    answer: Any = client.post(f"{agent.url}/message:send", json=message("reply:hello"))
    assert answer.headers["content-type"].startswith("application/a2a+json")
    assert answer.json()["message"]["parts"] == [{"text": "echo: hello"}]

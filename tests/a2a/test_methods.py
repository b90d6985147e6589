"""Each method, by the official client of each version, through the gateway, to an agent of each version."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, Protocol, get_args

import httpx
import pytest
from a2a.client import Client
from a2a.client.errors import A2AClientError
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
)
from a2a.utils.errors import TaskNotFoundError, UnsupportedOperationError
from google.protobuf.json_format import MessageToDict

from tests.a2a.calls import VERSION, Registered, Wire, answers, error_of, message, registered, request
from tests.conftest import BackendOf
from tests.support import legacy
from tests.support.backends import VERSIONS, Backend, Version
from tests.support.clients import a2a_client, texts, user_message
from tests.support.proxy import Proxy

pytestmark = pytest.mark.requirement("A2A-20")

Method = Literal[
    "send",
    "stream",
    "get",
    "list",
    "cancel",
    "subscribe",
    "push set",
    "push get",
    "push list",
    "push delete",
    "extended",
]
WIRES: Final[tuple[Wire, ...]] = ("1.0", "0.3")
HOOK: Final = "http://127.0.0.1:9/hook"
COMPLETED: Final = ("TASK_STATE_COMPLETED", "completed")
CANCELED: Final = ("TASK_STATE_CANCELED", "canceled")


class Speaker(Protocol):
    """What a client can do; answers are JSON of its version."""

    async def send(self, text: str) -> Mapping[str, Any]: ...
    async def stream(self, text: str) -> list[str]: ...
    async def get(self, task_id: str) -> Mapping[str, Any]: ...
    async def cancel(self, task_id: str) -> Mapping[str, Any]: ...
    async def subscribe(self, task_id: str) -> int: ...
    async def push_set(self, task_id: str) -> Mapping[str, Any]: ...
    async def push_get(self, task_id: str) -> Mapping[str, Any]: ...
    async def push_list(self, task_id: str) -> list[Mapping[str, Any]]: ...
    async def push_delete(self, task_id: str) -> None: ...
    async def extended(self) -> Mapping[str, Any]: ...


class Modern:
    """The official 1.x client; configurations come back as 0.3 nests them."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def send(self, text: str) -> Mapping[str, Any]:
        [event] = [MessageToDict(event) async for event in self._client.send_message(user_message(text))]
        task: Mapping[str, Any] = event["task"]
        return task

    async def stream(self, text: str) -> list[str]:
        return texts([event async for event in self._client.send_message(user_message(text))])

    async def get(self, task_id: str) -> Mapping[str, Any]:
        return dict(MessageToDict(await self._client.get_task(GetTaskRequest(id=task_id))))

    async def own(self) -> list[Mapping[str, Any]]:
        answer = await self._client.list_tasks(ListTasksRequest(page_size=100))
        return [dict(MessageToDict(task)) for task in answer.tasks]

    async def cancel(self, task_id: str) -> Mapping[str, Any]:
        return dict(MessageToDict(await self._client.cancel_task(CancelTaskRequest(id=task_id))))

    async def subscribe(self, task_id: str) -> int:
        return len([event async for event in self._client.subscribe(SubscribeToTaskRequest(id=task_id))])

    async def push_set(self, task_id: str) -> Mapping[str, Any]:
        config = TaskPushNotificationConfig(task_id=task_id, url=HOOK, token="mine")
        return _nested(await self._client.create_task_push_notification_config(config))

    async def push_get(self, task_id: str) -> Mapping[str, Any]:
        wanted = GetTaskPushNotificationConfigRequest(task_id=task_id, id=task_id)
        return _nested(await self._client.get_task_push_notification_config(wanted))

    async def push_list(self, task_id: str) -> list[Mapping[str, Any]]:
        wanted = ListTaskPushNotificationConfigsRequest(task_id=task_id)
        answer = await self._client.list_task_push_notification_configs(wanted)
        return [_nested(config) for config in answer.configs]

    async def push_delete(self, task_id: str) -> None:
        wanted = DeleteTaskPushNotificationConfigRequest(task_id=task_id, id=task_id)
        await self._client.delete_task_push_notification_config(wanted)

    async def extended(self) -> Mapping[str, Any]:
        return dict(MessageToDict(await self._client.get_extended_agent_card(GetExtendedAgentCardRequest())))


def _nested(config: TaskPushNotificationConfig) -> Mapping[str, Any]:
    said = MessageToDict(config)
    return {"taskId": said.pop("taskId"), "pushNotificationConfig": said}


class Legacy:
    """The official 0.3 client in a process of its own; where it lacks a method, JSON-RPC as 0.3 writes it."""

    def __init__(self, agent: Registered, key: str, http: httpx.AsyncClient) -> None:
        self._agent = agent
        self._key = key
        self._http = http

    async def send(self, text: str) -> Mapping[str, Any]:
        [task] = await self._run("send", text)
        return task

    async def stream(self, text: str) -> list[str]:
        return [_legacy_text(event) for event in await self._run("stream", text)]

    async def get(self, task_id: str) -> Mapping[str, Any]:
        [task] = await self._run("get", task_id)
        return task

    async def cancel(self, task_id: str) -> Mapping[str, Any]:
        [task] = await self._run("cancel", task_id)
        return task

    async def subscribe(self, task_id: str) -> int:
        return len(await self._run("resubscribe", task_id))

    async def push_set(self, task_id: str) -> Mapping[str, Any]:
        [config] = await self._run("push-set", json.dumps({"id": task_id, "url": HOOK, "token": "mine"}))
        return config

    async def push_get(self, task_id: str) -> Mapping[str, Any]:
        [config] = await self._run("push-get", task_id)
        return config

    async def push_list(self, task_id: str) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = await self._raw("tasks/pushNotificationConfig/list", {"id": task_id})
        return found

    async def push_delete(self, task_id: str) -> None:
        params = {"id": task_id, "pushNotificationConfigId": task_id}
        assert await self._raw("tasks/pushNotificationConfig/delete", params) is None

    async def extended(self) -> Mapping[str, Any]:
        [card] = await self._run("extended")
        return card

    async def _run(self, method: str, argument: str = "") -> list[dict[str, Any]]:
        return await asyncio.to_thread(legacy.call, method, self._agent.url, argument, key=self._key)

    async def _raw(self, method: str, params: Mapping[str, Any]) -> Any:
        answer = (await self._http.post(self._agent.url, json=request(method, params))).json()
        assert answer.keys() == {"jsonrpc", "id", "result"}, answer
        return answer["result"]


def _legacy_text(event: Mapping[str, Any]) -> str:
    said = (event.get("status") or {}).get("message") or event.get("artifact") or {}
    return "".join(part.get("text", "") for part in said.get("parts", ()))


@pytest.fixture(scope="module")
def agents(reachable: Proxy, backend_of: BackendOf) -> Any:
    """Each kind of agent, registered once for this module."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield {version: stack.enter_context(registered(reachable, backend_of(version).card())) for version in VERSIONS}


@asynccontextmanager
async def speaking(wire: Wire, proxy: Proxy, agent: Registered, key: str) -> AsyncIterator[Speaker]:
    if wire == "0.3":
        async with proxy.async_client(key) as http:
            yield Legacy(agent, key, http)
        return
    async with a2a_client(agent.url, key) as client:
        yield Modern(client)


@asynccontextmanager
async def unary(proxy: Proxy, agent: Registered, key: str) -> AsyncIterator[Modern]:
    async with a2a_client(agent.url, key, streaming=False) as client:
        yield Modern(client)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("method", get_args(Method))
async def test_every_method_of_every_client_on_every_agent(
    reachable: Proxy,
    backend_of: BackendOf,
    agents: Mapping[Version, Registered],
    *,
    method: Method,
    wire: Wire,
    version: Version,
) -> None:
    agent, backend = agents[version], backend_of(version)
    key = reachable.add_key(object_permission={"agents": [agent.agent_id]})
    async with speaking(wire, reachable, agent, key) as speaker, unary(reachable, agent, key) as plain:
        sender: Speaker = plain if wire == "1.0" else speaker
        match method:
            case "send":
                assert (await sender.send("hello"))["status"]["state"] in COMPLETED
            case "stream":
                assert (await speaker.stream("hello"))[-1] == "echo: hello"
            case "get":
                task = await plain.send("hello")
                assert (await speaker.get(task["id"]))["id"] == task["id"]
            case "list":
                await listed(reachable, agent, key, plain, wire=wire, version=version)
            case "cancel":
                task = await plain.send("ask:hello")
                assert (await speaker.cancel(task["id"]))["status"]["state"] in CANCELED
            case "subscribe":
                assert await subscribed(reachable, agent, key, backend, speaker) >= 2
            case "extended":
                card = await speaker.extended()
                assert [skill["id"] for skill in card["skills"]] == ["echo", "secret"]
                assert str(backend.port) not in json.dumps(card)
            case _:
                await pushed(method, speaker, (await plain.send("ask:hello"))["id"])


async def listed(proxy: Proxy, agent: Registered, key: str, plain: Modern, *, wire: Wire, version: Version) -> None:
    if wire == "0.3":  # the version has no such method
        async with proxy.async_client(key) as http:
            response = await http.post(agent.url, json=request("tasks/list", {}))
        assert error_of(response)["code"] == -32601
    elif version == "0.3":
        with pytest.raises(UnsupportedOperationError):
            await plain.own()
    else:
        tasks = [await plain.send(f"hello {number}") for number in range(3)]
        assert {task["id"] for task in await plain.own()} == {task["id"] for task in tasks}


async def subscribed(proxy: Proxy, agent: Registered, key: str, backend: Backend, speaker: Speaker) -> int:
    """Begin a task that stands still, subscribe to it, let it go on, and count what the subscriber heard."""
    gate = secrets.token_hex(6)
    backend.release(gate, 2)
    params = {**message(f"gate:{gate}"), "configuration": {"returnImmediately": True}}
    async with proxy.async_client(key) as http:
        begun = await http.post(agent.url, json=request("SendMessage", params), headers={VERSION: "1.0"})
    [answer] = answers(begun)
    task_id = answer["result"]["task"]["id"]
    before = sum(call.rpc_method in ("SubscribeToTask", "tasks/resubscribe") for call in backend.calls())
    listening = asyncio.create_task(speaker.subscribe(task_id))
    while not listening.done():
        calls = await asyncio.to_thread(backend.calls)
        if sum(call.rpc_method in ("SubscribeToTask", "tasks/resubscribe") for call in calls) > before:
            break
    backend.release(gate, 3)
    return await listening


async def pushed(method: Method, speaker: Speaker, task_id: str) -> None:
    told = await speaker.push_set(task_id)
    expected = {"taskId": task_id, "pushNotificationConfig": {"id": task_id, "url": HOOK, "token": "mine"}}
    assert told == expected
    if method == "push get":
        assert await speaker.push_get(task_id) == expected
    if method == "push list":
        assert await speaker.push_list(task_id) == [expected]
    if method == "push delete":
        await speaker.push_delete(task_id)
        assert await speaker.push_list(task_id) == []
        with pytest.raises((TaskNotFoundError, legacy.LegacyClientError, A2AClientError)):
            await speaker.push_get(task_id)

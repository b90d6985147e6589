"""Push notifications through the gateway: the client's webhook hears, the agent never learns of it, nothing is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from tests.a2a import webhooks
from tests.a2a.calls import Registered, Wire, error_of, granted, message, registered, request
from tests.a2a.webhooks import TOKEN, Webhook
from tests.conftest import BackendOf, ProxyFactory
from tests.support.backends import VERSIONS, Backend, Version, agent
from tests.support.proxy import Proxy

pytestmark = pytest.mark.requirement("A2A-22")

DONE: Final = ("TASK_STATE_COMPLETED", "completed")
CALLBACK: Final = re.compile(r'http://[^"]*/routeiq/push/[^"]*')
NOT_SUPPORTED, INVALID_PARAMS, INTERNAL = -32003, -32602, -32603


@pytest.fixture
def backend(backend_of: BackendOf) -> Backend:
    return backend_of("1.0")


@pytest.fixture
def registration(reachable: Proxy, backend: Backend) -> Iterator[Registered]:
    with registered(reachable, backend.card()) as each:
        yield each


@pytest.fixture
def client(reachable: Proxy, registration: Registered) -> Iterator[httpx.Client]:
    with reachable.client(granted(reachable, registration)) as opened:
        yield opened


def call(client: httpx.Client, agent: Registered, method: str, params: Any) -> Any:
    answer = client.post(agent.url, json=request(method, params)).json()
    assert "error" not in answer, answer
    return answer["result"]


def standing(client: httpx.Client, agent: Registered, backend: Backend, gate: str, wire: Wire = "1.0") -> str:
    """Begin a task that goes on when the gate is released; returns its id."""
    backend.release(gate)
    quick = {"returnImmediately": True} if wire == "1.0" else {"blocking": False}
    params = {**message(f"gate:{gate}", wire), "configuration": quick}
    result = call(client, agent, "SendMessage" if wire == "1.0" else "message/send", params)
    task: dict[str, Any] = result.get("task") or result
    return str(task["id"])


def given(backend: Backend, task_id: str) -> list[str]:
    """Everything that the agent received about the task."""
    return [json.dumps(call.body) for call in backend.calls() if task_id in json.dumps(call.body)]


def callbacks(backend: Backend, text: str) -> list[str]:
    """Where the agent was told to call back, in requests that hold the text, oldest first."""
    found = (CALLBACK.search(each) for each in given(backend, text))
    return [each[0] for each in found if each]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("wire", ["1.0", "0.3"])
def test_the_webhook_hears_in_the_clients_version_with_the_clients_credentials(
    reachable: Proxy, backend_of: BackendOf, webhook: Webhook, version: Version, wire: Wire
) -> None:
    backend = backend_of(version)
    with registered(reachable, backend.card()) as agent, reachable.client(granted(reachable, agent)) as client:
        gate = f"push {wire} {version} {agent.agent_id}"
        task_id = standing(client, agent, backend, gate, wire)
        if wire == "1.0":
            config = {
                "taskId": task_id,
                "url": webhook.url,
                "token": "my-token",
                "authentication": {"scheme": "Bearer", "credentials": "my-credentials"},
            }
            call(client, agent, "CreateTaskPushNotificationConfig", config)
        else:
            authentication = {"schemes": ["Bearer"], "credentials": "my-credentials"}
            inner = {"url": webhook.url, "token": "my-token", "authentication": authentication}
            nested = {"taskId": task_id, "pushNotificationConfig": inner}
            call(client, agent, "tasks/pushNotificationConfig/set", nested)
        backend.release(gate, 4)
        calls = webhook.until_state(*DONE)
        assert all(each.headers[TOKEN.lower()] == "my-token" for each in calls)
        assert all(each.headers["authorization"] == "Bearer my-credentials" for each in calls)
        modern = {"task", "message", "statusUpdate", "artifactUpdate"}
        assert all(bool(modern & each.body.keys()) == (wire == "1.0") for each in calls), calls
        assert all(task_id in json.dumps(each.body) for each in calls)
        assert not any(str(backend.port) in json.dumps(each.body) for each in calls)
        told = "".join(given(backend, task_id))
        assert "my-token" not in told
        assert "my-credentials" not in told
        assert f"127.0.0.1:{webhook.server_address[1]}" not in told
        assert f"{reachable.base_url}/routeiq/push/" in told


@pytest.mark.parametrize("wire", ["1.0", "0.3"])
@pytest.mark.parametrize("stream", [False, True], ids=["send", "stream"])
def test_a_webhook_may_come_with_the_message(
    client: httpx.Client, registration: Registered, backend: Backend, webhook: Webhook, *, wire: Wire, stream: bool
) -> None:
    key = "taskPushNotificationConfig" if wire == "1.0" else "pushNotificationConfig"
    params = {**message("hello", wire), "configuration": {key: {"url": webhook.url, "token": "with-it"}}}
    methods = {"1.0": ("SendMessage", "SendStreamingMessage"), "0.3": ("message/send", "message/stream")}
    response = client.post(registration.url, json=request(methods[wire][stream], params))
    assert response.status_code == 200
    calls = webhook.until_state(*DONE)
    assert {each.headers[TOKEN.lower()] for each in calls} == {"with-it"}
    said = next(each.body for each in calls if "task" in each.body or each.body.get("kind") == "task")
    task_id = (said.get("task") or said)["id"]
    shown = call(client, registration, "ListTaskPushNotificationConfigs", {"taskId": task_id})
    assert shown == {"configs": [{"id": task_id, "taskId": task_id, "url": webhook.url, "token": "with-it"}]}
    assert "with-it" not in json.dumps([each.body for each in backend.calls()])


def test_a_client_that_left_before_the_answer_has_its_task_all_the_same(
    client: httpx.Client, registration: Registered, backend: Backend, webhook: Webhook, reachable: Proxy
) -> None:
    gate = f"left {registration.agent_id}"
    theirs = {"task": {"id": standing(client, registration, backend, f"theirs {gate}"), "contextId": "c"}}
    left = backend.cancelled().disconnects
    hook = {"taskPushNotificationConfig": {"url": webhook.url, "token": "t"}}
    params = {**message(f"gate:{gate}"), "configuration": hook}
    with reachable.client(granted(reachable, registration)) as leaving:
        with pytest.raises(httpx.ReadTimeout):
            leaving.post(registration.url, json=request("SendMessage", params), timeout=3)
        backend.cancelled(at_least=left + 1)
        [callback] = callbacks(backend, f"gate:{gate}")
        with reachable.client(None) as agent:
            assert agent.post(callback, json=theirs).status_code == 404
        backend.release(gate, 5)
        said = webhook.until_state(*DONE)[0].body
        task_id = said["task"]["id"]
        assert call(leaving, registration, "GetTask", {"id": task_id})["id"] == task_id
        shown = call(leaving, registration, "ListTaskPushNotificationConfigs", {"taskId": task_id})
        assert shown == {"configs": [{"id": task_id, "taskId": task_id, "url": webhook.url, "token": "t"}]}
        call(leaving, registration, "DeleteTaskPushNotificationConfig", {"taskId": task_id, "id": task_id})
        with reachable.client(None) as agent:
            assert agent.post(callback, json={"task": {"id": task_id}}).status_code == 404


def test_notifications_come_in_order(
    client: httpx.Client, registration: Registered, backend: Backend, webhook: Webhook
) -> None:
    gate = f"order {registration.agent_id}"
    task_id = standing(client, registration, backend, gate)
    call(client, registration, "CreateTaskPushNotificationConfig", {"taskId": task_id, "url": webhook.url})
    backend.release(gate, 4)
    states = [each.state for each in webhook.until_state(*DONE)]
    assert states == ["TASK_STATE_WORKING", None, None, "TASK_STATE_COMPLETED"]


def test_what_fails_is_tried_again(
    client: httpx.Client, registration: Registered, backend: Backend, webhook: Webhook
) -> None:
    webhook.answer(503)
    gate = f"retry {registration.agent_id}"
    task_id = standing(client, registration, backend, gate)
    call(client, registration, "CreateTaskPushNotificationConfig", {"taskId": task_id, "url": webhook.url})
    backend.release(gate, 4)
    first, second = webhook.until(2)[:2]
    assert first.body == second.body
    webhook.answer(204)
    states = [each.state for each in webhook.until_state(*DONE)]
    assert states[-1] == "TASK_STATE_COMPLETED"


def test_a_webhook_that_says_no_is_not_asked_again(
    client: httpx.Client, registration: Registered, backend: Backend, webhook: Webhook
) -> None:
    webhook.answer(403)
    gate = f"refused {registration.agent_id}"
    task_id = standing(client, registration, backend, gate)
    call(client, registration, "CreateTaskPushNotificationConfig", {"taskId": task_id, "url": webhook.url})
    backend.release(gate, 4)
    calls = webhook.until_state(*DONE)
    assert len({json.dumps(each.body) for each in calls}) == len(calls) == 4


@pytest.mark.parametrize("promised", [1, 1_000_000_000], ids=["slow", "large"])
def test_a_good_answer_counts_whatever_its_body(
    client: httpx.Client,
    registration: Registered,
    backend: Backend,
    webhook: Webhook,
    reachable: Proxy,
    *,
    promised: int,
) -> None:
    webhook.answer(200, promised=promised)
    task_id = standing(client, registration, backend, f"body {registration.agent_id}")
    call(client, registration, "CreateTaskPushNotificationConfig", {"taskId": task_id, "url": webhook.url})
    [callback] = callbacks(backend, task_id)
    events = [{"task": {"id": task_id, "contextId": f"c-{number}"}} for number in range(2)]
    with reachable.client(None) as agent:
        assert [agent.post(callback, json=event).status_code for event in events] == [204, 204]
    assert [each.body for each in webhook.until(2)] == events


@pytest.mark.parametrize("way", ["set", "message"])
def test_a_replaced_webhooks_notifications_go_to_the_new_one(
    client: httpx.Client, registration: Registered, backend: Backend, webhook: Webhook, reachable: Proxy, *, way: str
) -> None:
    webhook.answer(503)
    task_id = call(client, registration, "SendMessage", message("ask:more"))["task"]["id"]
    config = {"taskId": task_id, "id": "c", "url": webhook.url, "token": "old"}
    call(client, registration, "CreateTaskPushNotificationConfig", config)
    [callback] = callbacks(backend, task_id)
    event = {"task": {"id": task_id, "contextId": "c"}}
    with reachable.client(None) as agent:
        assert agent.post(callback, json=event).status_code == 204
        webhook.until(1)
        if way == "set":
            call(client, registration, "CreateTaskPushNotificationConfig", {**config, "token": "new"})
        else:
            hook = {"id": "c", "url": webhook.url, "token": "new"}
            params = {**message("more"), "configuration": {"taskPushNotificationConfig": hook}}
            params["message"]["taskId"] = task_id
            call(client, registration, "SendMessage", params)
        assert agent.post(callback, json=event).status_code == 404
    webhook.answer(204)
    webhook.until_told("new", event)
    [shown] = call(client, registration, "ListTaskPushNotificationConfigs", {"taskId": task_id})["configs"]
    assert shown["token"] == "new"


def test_a_webhook_that_the_agent_did_not_take_leaves_the_one_before(reachable: Proxy, webhook: Webhook) -> None:
    with (
        agent("1.0") as backend,
        registered(reachable, backend.card()) as known,
        reachable.client(granted(reachable, known)) as client,
        reachable.client(None) as caller,
    ):
        task_id = standing(client, known, backend, "untaken")
        config = {"taskId": task_id, "id": "c", "url": webhook.url, "token": "old"}
        call(client, known, "CreateTaskPushNotificationConfig", config)
        [callback] = callbacks(backend, task_id)
        backend.stop()
        params = {**config, "token": "new"}
        refused = client.post(known.url, json=request("CreateTaskPushNotificationConfig", params))
        assert error_of(refused)["code"] == INTERNAL
        assert call(client, known, "ListTaskPushNotificationConfigs", {"taskId": task_id}) == {"configs": [config]}
        event = {"task": {"id": task_id, "contextId": "c"}}
        assert caller.post(callback, json=event).status_code == 204
        webhook.until_told("old", event)


def test_a_message_that_fails_leaves_no_webhook_behind(reachable: Proxy, webhook: Webhook) -> None:
    with (
        agent("1.0") as backend,
        registered(reachable, backend.card()) as known,
        reachable.client(granted(reachable, known)) as client,
    ):
        task_id = standing(client, known, backend, "fails")
        config = {"taskId": task_id, "id": "before", "url": webhook.url}
        call(client, known, "CreateTaskPushNotificationConfig", config)
        backend.stop()
        params = {**message("more"), "configuration": {"taskPushNotificationConfig": {"url": webhook.url}}}
        params["message"]["taskId"] = task_id
        assert error_of(client.post(known.url, json=request("SendMessage", params)))["code"] == INTERNAL
        shown = call(client, known, "ListTaskPushNotificationConfigs", {"taskId": task_id})
        assert [each["id"] for each in shown["configs"]] == ["before"]


def test_a_deleted_webhook_hears_nothing_more(
    client: httpx.Client, registration: Registered, backend: Backend, webhook: Webhook
) -> None:
    gate = f"deleted {registration.agent_id}"
    task_id = standing(client, registration, backend, gate)
    for config_id in ("kept", "gone"):
        config = {"taskId": task_id, "id": config_id, "url": webhook.url, "token": config_id}
        call(client, registration, "CreateTaskPushNotificationConfig", config)
    call(client, registration, "DeleteTaskPushNotificationConfig", {"taskId": task_id, "id": "gone"})
    backend.release(gate, 4)
    assert {each.headers[TOKEN.lower()] for each in webhook.until_state(*DONE)} == {"kept"}


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://10.1.2.3/hook",
        "http://127.0.0.2:1/hook",
        "file:///etc/passwd",
        "http://user:secret@127.0.0.1:9/",
        "",
    ],
)
def test_a_webhook_that_may_not_be_called_is_refused(
    client: httpx.Client, registration: Registered, backend: Backend, url: str
) -> None:
    task_id = standing(client, registration, backend, f"guard {registration.agent_id}")
    wanted = {"taskId": task_id, "url": url}
    response = client.post(registration.url, json=request("CreateTaskPushNotificationConfig", wanted))
    assert error_of(response)["code"] == INVALID_PARAMS
    before = len(backend.calls())
    params = {**message("hello"), "configuration": {"taskPushNotificationConfig": {"url": url, "token": "t"}}}
    assert error_of(client.post(registration.url, json=request("SendMessage", params)))["code"] == INVALID_PARAMS
    assert len(backend.calls()) == before
    assert call(client, registration, "ListTaskPushNotificationConfigs", {"taskId": task_id}) == {}


@pytest.mark.parametrize("field", ["token", "credentials"])
def test_credentials_that_no_header_can_hold_are_refused(
    client: httpx.Client, registration: Registered, field: str
) -> None:
    config: dict[str, Any] = {"url": "http://127.0.0.1:9/", "token": "t"}
    bad = "a\r\nHost: elsewhere"
    config |= {"token": bad} if field == "token" else {"authentication": {"scheme": "Bearer", "credentials": bad}}
    params = {**message("hello"), "configuration": {"taskPushNotificationConfig": config}}
    assert error_of(client.post(registration.url, json=request("SendMessage", params)))["code"] == INVALID_PARAMS


def test_without_an_address_of_ours_it_is_not_supported(proxy: Proxy, backend: Backend, webhook: Webhook) -> None:
    with registered(proxy, backend.card()) as agent, proxy.client() as client:
        card = client.get(f"{agent.url}/.well-known/agent-card.json").json()
        assert "pushNotifications" not in card["capabilities"]
        params = {**message("hello"), "configuration": {"taskPushNotificationConfig": {"url": webhook.url}}}
        error = error_of(client.post(agent.url, json=request("SendMessage", params)))
        assert error["code"] == NOT_SUPPORTED
        assert "public_url" in error["message"]


def test_an_agent_that_cannot_push_is_not_asked_to(reachable: Proxy, script: Any, webhook: Webhook) -> None:
    with registered(reachable, script.card("good")) as agent, reachable.client() as client:
        card = client.get(f"{agent.url}/.well-known/agent-card.json").json()
        assert card["capabilities"] == {"streaming": True}
        params = {**message("hello"), "configuration": {"taskPushNotificationConfig": {"url": webhook.url}}}
        assert error_of(client.post(agent.url, json=request("SendMessage", params)))["code"] == NOT_SUPPORTED


def test_a_card_says_that_notifications_are_relayed(client: httpx.Client, registration: Registered) -> None:
    card = client.get(f"{registration.url}/.well-known/agent-card.json").json()
    assert card["capabilities"]["pushNotifications"] is True
    assert card["capabilities"]["extendedAgentCard"] is True


@pytest.mark.parametrize("key", [True, False], ids=["admin", "no key"])
@pytest.mark.parametrize("token", ["x", "0" * 43, "A" * 5000, "%00", "%ff"])
@pytest.mark.parametrize("body", [b"{}", b"{nope", b"x" * 5_000_000], ids=["json", "no json", "large"])
def test_a_callback_that_nobody_gave_out_is_not_found(reachable: Proxy, token: str, body: bytes, key: bool) -> None:
    with reachable.client(reachable.master_key if key else None) as client:
        response = client.post(f"/routeiq/push/{token}", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 404
    assert response.json() == {"detail": "Not Found"}


NO_NOTIFICATIONS: Final = (
    *(b"", b"[]", b"5", b"{}", b'{"kind": "x"}', b'{"task": 5}', b"[" * 100_000),
    b'{"task": {"id": "x", "status": {"state": 1e999}}}',
    b'{"task": {"id": "x", "\\ud800": 1}}',
    b'{"task": {"id": "x", "metadata": {"a": NaN}}}',
    b"x" * 5_000_000,
)
"""The last is too large."""


def test_what_is_no_notification_of_the_task_is_refused(
    client: httpx.Client, registration: Registered, backend: Backend, webhook: Webhook, reachable: Proxy
) -> None:
    gate = f"false {registration.agent_id}"
    task_id = standing(client, registration, backend, gate)
    call(client, registration, "CreateTaskPushNotificationConfig", {"taskId": task_id, "url": webhook.url})
    [told] = [json.loads(each) for each in given(backend, task_id) if "/routeiq/push/" in each]
    callback = told["params"]["url"]
    with reachable.client(None) as agent:
        statuses = [agent.post(callback, content=content).status_code for content in NO_NOTIFICATIONS]
        assert statuses == [400] * (len(NO_NOTIFICATIONS) - 1) + [413]
        assert agent.post(callback, json={"task": {"id": "another"}}).status_code == 404
        assert agent.post(callback, json={"task": {"id": task_id, "contextId": "c"}}).status_code == 204
    [only] = webhook.until(1)
    assert only.body["task"]["id"] == task_id


def test_what_was_acknowledged_survives_a_kill(own_proxy: ProxyFactory, webhook: Webhook) -> None:
    webhook.answer(503)
    with agent("1.0") as backend, own_proxy(**webhooks.options()) as proxy:
        with proxy.client() as client:
            body = {"agent_name": "echo", "agent_card_params": backend.card()}
            known = Registered(client.post("/v1/agents", json=body).json()["agent_id"], "echo", proxy.base_url)
            task_id = standing(client, known, backend, "kill")
            config = {"taskId": task_id, "url": webhook.url, "token": "canary-token"}
            call(client, known, "CreateTaskPushNotificationConfig", config)
            [told] = [json.loads(each) for each in given(backend, task_id) if "/routeiq/push/" in each]
            status = {"state": "TASK_STATE_COMPLETED"}
            event = {"statusUpdate": {"taskId": task_id, "contextId": "c", "status": status}}
            assert client.post(told["params"]["url"], json=event).status_code == 204
            webhook.until(1)
        proxy.kill()
        stored = b"".join(path.read_bytes() for path in proxy.workdir.glob("routeiq.db*"))
        assert b"canary-token" not in stored
        assert b"client=secret" not in stored
        before = len(webhook.calls)
        webhook.answer(204)
        again = proxy.restart()
        try:
            last = webhook.until(before + 1)[-1]
        finally:
            again.kill()
        assert last.body == event
        assert last.headers[TOKEN.lower()] == "canary-token"

"""A task is its owner's: two tenants of one agent never see each other's, in any method of any binding."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from tests.a2a import webhooks
from tests.a2a.calls import VERSION, Registered, Wire, answers, error_of, message, registered, request, sending
from tests.a2a.scripted import ONE_TASK, Scripted
from tests.conftest import BackendOf, ProxyFactory
from tests.store import parts
from tests.support.backends import Version
from tests.support.backends import agent as running_agent
from tests.support.proxy import Proxy

pytestmark = pytest.mark.requirement("A2A-22")

NOT_FOUND: Final = -32001
INVALID_PARAMS: Final = -32602
HOOK: Final = "http://127.0.0.1:9/hook"

JSONRPC: Final[Mapping[str, Mapping[str, Any]]] = {
    "GetTask": {"id": "{task}"},
    "CancelTask": {"id": "{task}"},
    "SubscribeToTask": {"id": "{task}"},
    "CreateTaskPushNotificationConfig": {"taskId": "{task}", "url": HOOK},
    "GetTaskPushNotificationConfig": {"taskId": "{task}", "id": "{task}"},
    "ListTaskPushNotificationConfigs": {"taskId": "{task}"},
    "DeleteTaskPushNotificationConfig": {"taskId": "{task}", "id": "{task}"},
    "tasks/get": {"id": "{task}"},
    "tasks/cancel": {"id": "{task}"},
    "tasks/resubscribe": {"id": "{task}"},
    "tasks/pushNotificationConfig/set": {"taskId": "{task}", "pushNotificationConfig": {"url": HOOK}},
    "tasks/pushNotificationConfig/get": {"id": "{task}"},
    "tasks/pushNotificationConfig/list": {"id": "{task}"},
    "tasks/pushNotificationConfig/delete": {"id": "{task}", "pushNotificationConfigId": "{task}"},
}
"""Every method that names a task."""

REST: Final = (
    ("GET", "/tasks/{task}"),
    ("POST", "/tasks/{task}:cancel"),
    ("GET", "/tasks/{task}:subscribe"),
    ("POST", "/tasks/{task}:subscribe"),
    ("POST", "/tasks/{task}/pushNotificationConfigs"),
    ("GET", "/tasks/{task}/pushNotificationConfigs"),
    ("GET", "/tasks/{task}/pushNotificationConfigs/{task}"),
    ("DELETE", "/tasks/{task}/pushNotificationConfigs/{task}"),
)
"""Every path of both versions that names one, below nothing and below `/v1`."""


@dataclass(frozen=True)
class Tenant:
    """A key and its client."""

    client: httpx.Client
    agent: Registered

    def call(self, method: str, params: Any, call_id: Any = 1) -> httpx.Response:
        return self.client.post(self.agent.url, json=request(method, params, call_id))

    def say(self, text: str, **fields: Any) -> dict[str, Any]:
        params = message(text)
        params["message"] |= fields
        answer: dict[str, Any] = self.call("SendMessage", params).json()
        return answer

    def begin(self, text: str = "ask:hello") -> dict[str, Any]:
        task: dict[str, Any] = self.say(text)["result"]["task"]
        return task

    def listed(self, **params: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.call("ListTasks", params).json()["result"]
        return found


@pytest.fixture
def agent(reachable: Proxy, backend_of: BackendOf) -> Iterator[Registered]:
    with registered(reachable, backend_of("1.0").card()) as each:
        yield each


class Tenants:
    """Makes keys for one agent."""

    def __init__(self, proxy: Proxy, agent: Registered, stack: ExitStack) -> None:
        self._proxy = proxy
        self._agent = agent
        self._stack = stack

    def __call__(self, **fields: Any) -> Tenant:
        key = self._proxy.add_key(object_permission={"agents": [self._agent.agent_id]}, **fields)
        return Tenant(self._stack.enter_context(self._proxy.client(key)), self._agent)

    def admin(self) -> Tenant:
        return Tenant(self._stack.enter_context(self._proxy.client()), self._agent)


@pytest.fixture
def tenant(reachable: Proxy, agent: Registered) -> Iterator[Tenants]:
    with ExitStack() as stack:
        yield Tenants(reachable, agent, stack)


def _hook(prefix: str, task_id: str) -> dict[str, Any]:
    """A configuration as HTTP+JSON of 1.0, or of 0.3 below /v1, writes it."""
    if not prefix:
        return {"url": HOOK}
    name = f"tasks/{task_id}/pushNotificationConfigs/c"
    return {
        "parent": f"tasks/{task_id}",
        "configId": "c",
        "config": {"name": name, "pushNotificationConfig": {"url": HOOK}},
    }


def filled(value: Any, task_id: str) -> Any:
    return json.loads(json.dumps(value).replace("{task}", task_id))


def test_no_answer_to_one_tenant_names_a_task_of_another(tenant: Tenants) -> None:
    """The scan: every method of every binding and version, asked with the other's id and without."""
    ours, theirs = tenant(), tenant()
    task = theirs.begin()
    theirs.call("CreateTaskPushNotificationConfig", {"taskId": task["id"], "url": "http://127.0.0.1:9/their-secret"})
    secrets = (task["id"], task["contextId"], "their-secret")
    seen: list[str] = []
    for method, params in JSONRPC.items():
        response = ours.call(method, filled(params, task["id"]))
        assert response.status_code == 200
        assert error_of(response)["code"] == NOT_FOUND, method
        seen.append(response.text)
    for prefix in ("", "/v1"):
        for verb, path in REST:
            if prefix and verb == "DELETE":
                continue
            url = ours.agent.url + prefix + filled(path, task["id"])
            response = ours.client.request(verb, url, json=_hook(prefix, task["id"]) if verb == "POST" else None)
            assert response.status_code == 404, (verb, url, response.text)
            seen.append(response.text)
    for path in ("/tasks", "/tasks?pageSize=1", "/extendedAgentCard", "/v1/card"):
        seen.append(ours.client.get(ours.agent.url + path).text)
    for wanted in ({}, {"pageSize": 1}, {"contextId": task["contextId"]}, {"includeArtifacts": True}):
        seen.append(ours.call("ListTasks", wanted).text)
    for fields in ({"taskId": task["id"]}, {"contextId": task["contextId"]}, {"referenceTaskIds": [task["id"]]}):
        for method in ("SendMessage", "SendStreamingMessage"):
            params = message("hello")
            params["message"] |= fields
            response = ours.call(method, params)
            assert error_of(response)["code"] == NOT_FOUND, (method, fields)
            seen.append(response.text)
    for text in seen:
        assert not any(secret in text for secret in secrets), text
    assert theirs.call("GetTask", {"id": task["id"]}).json()["result"]["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"


def test_a_task_that_nobody_began_reads_like_somebody_elses(tenant: Tenants) -> None:
    ours, theirs = tenant(), tenant()
    task = theirs.begin()
    for method, params in JSONRPC.items():
        unknown = ours.call(method, filled(params, "no-such-task")).text.replace("no-such-task", task["id"])
        assert ours.call(method, filled(params, task["id"])).text == unknown


def test_a_task_that_the_gateway_has_never_seen_is_for_admins(
    tenant: Tenants, agent: Registered, backend_of: BackendOf
) -> None:
    direct = httpx.post(backend_of("1.0").url, json=sending("ask:hello"), headers={VERSION: "1.0"}, trust_env=False)
    task = direct.json()["result"]["task"]
    assert error_of(tenant().call("GetTask", {"id": task["id"]}))["code"] == NOT_FOUND
    assert tenant.admin().call("GetTask", {"id": task["id"]}).json()["result"]["id"] == task["id"]


def test_the_owner_goes_on_with_its_conversation(tenant: Tenants) -> None:
    ours = tenant()
    task = ours.begin()
    again = ours.say("hello", taskId=task["id"], contextId=task["contextId"])["result"]["task"]
    assert again["id"] == task["id"]
    other = ours.say("hello", contextId=task["contextId"], referenceTaskIds=[task["id"]])["result"]["task"]
    assert other["contextId"] == task["contextId"]


def test_a_conversation_that_a_client_names_is_its_own_from_then_on(tenant: Tenants) -> None:
    ours, theirs = tenant(), tenant()
    assert "result" in ours.say("reply:hello", contextId="c-" + ours.agent.agent_id)
    assert theirs.say("reply:hello", contextId="c-" + ours.agent.agent_id)["error"]["code"] == NOT_FOUND
    assert "result" in ours.say("reply:hello", contextId="c-" + ours.agent.agent_id)


@pytest.mark.parametrize("wire", ["0.3", "1.0"])
@pytest.mark.parametrize("version", ["1.0", "0.3"])
def test_a_streamed_task_is_owned_before_its_first_event_is_read(
    reachable: Proxy, backend_of: BackendOf, version: Version, wire: Wire
) -> None:
    backend = backend_of(version)
    with registered(reachable, backend.card()) as agent, ExitStack() as stack:
        tenants = Tenants(reachable, agent, stack)
        ours, theirs = tenants(), tenants()
        backend.release(wire + version + agent.agent_id)
        gated = sending(f"gate:{wire}{version}{agent.agent_id}", wire, stream=True)
        with ours.client.stream("POST", agent.url, json=gated) as response:
            line = next(line for line in response.iter_lines() if line.startswith("data:"))
            result = json.loads(line.removeprefix("data:"))["result"]
            task_id = (result.get("task") or result)["id"]
            assert ours.call("tasks/get", {"id": task_id}).json()["result"]["id"] == task_id
            assert error_of(theirs.call("tasks/get", {"id": task_id}))["code"] == NOT_FOUND
        assert ours.call("tasks/get", {"id": task_id}).json()["result"]["id"] == task_id


def test_no_text_of_a_caller_leads_to_another_path_of_the_agent(reachable: Proxy) -> None:
    """Where calls are paths, a tenant or an id could name another's task, or anything else that is there."""
    with (
        running_agent("1.0", rest=True, binding="HTTP+JSON") as backend,
        registered(reachable, backend.card()) as agent,
        ExitStack() as stack,
    ):
        tenants = Tenants(reachable, agent, stack)
        ours, theirs = tenants(), tenants()
        mine, task = ours.begin("ask:mine"), theirs.begin("ask:secret")
        hook = {"taskId": task["id"], "id": "hook", "url": HOOK}
        assert "result" in theirs.call("CreateTaskPushNotificationConfig", hook).json()
        begun = len(backend.seen())
        for tenant in (f"tasks/{task['id']}?x=", f"tasks/{task['id']}:cancel?x=", "../elsewhere?x=", "other"):
            for method in ("GetTask", "CancelTask"):
                assert task["id"] not in ours.call(method, {"id": mine["id"], "tenant": tenant}).text
            read = ours.client.get(f"{agent.url}/tasks/{mine['id']}", params={"tenant": tenant})
            assert task["id"] not in read.text
        for push_id in (f"../../{task['id']}/pushNotificationConfigs/hook", "..", "a?b", "a#b", "a%2fb", "a\\b"):
            wanted = {"taskId": mine["id"], "id": push_id}
            assert error_of(ours.call("DeleteTaskPushNotificationConfig", wanted))["code"] == INVALID_PARAMS
        paths = {f"/tasks/{mine['id']}", f"/tasks/{mine['id']}:cancel"}
        assert {each.path for each in backend.seen()[begun:]} <= paths
        assert "result" in theirs.call("GetTaskPushNotificationConfig", {"taskId": task["id"], "id": "hook"}).json()
        state = theirs.call("GetTask", {"id": task["id"]}).json()["result"]["status"]["state"]
        assert state == "TASK_STATE_INPUT_REQUIRED"


def test_nobody_enters_a_conversation_while_nobody_can_tell_whose_it_is(
    own_proxy: ProxyFactory, backend_of: BackendOf
) -> None:
    with own_proxy(**webhooks.options()) as proxy:
        with proxy.client() as admin:
            body = {"agent_name": "echo", "agent_card_params": backend_of("1.0").card()}
            agent = Registered(admin.post("/v1/agents", json=body).json()["agent_id"], "echo", proxy.base_url)
        with ExitStack() as stack:
            tenants = Tenants(proxy, agent, stack)
            ours, theirs = tenants(), tenants()
            context = theirs.begin()["contextId"]
            again = proxy.restart()
            try:
                assert "result" in tenants().say("hello")  # everything is loaded
                with parts.outage(f"sqlite:///{again.workdir}/routeiq.db"):
                    for tenant in (ours, theirs):
                        assert "unavailable" in tenant.say("hello", contextId=context)["error"]["message"]
                        for path in ("/tasks/unknown", "/v1/tasks/unknown"):
                            read = tenant.client.get(f"{agent.url}{path}")
                            assert (read.status_code, read.json()["error"]["status"]) == (503, "UNAVAILABLE")
                            assert int(read.headers["Retry-After"]) > 0
                    new = ours.say("hello")["result"]["task"]
                    assert (
                        ours.say("hello", contextId=new["contextId"])["result"]["task"]["contextId"] == new["contextId"]
                    )
                assert ours.say("hello", contextId=context)["error"]["code"] == NOT_FOUND
                assert theirs.say("hello", contextId=context)["result"]["task"]["contextId"] == context
            finally:
                again.kill()


@pytest.mark.parametrize("wire", ["0.3", "1.0"])
@pytest.mark.parametrize("stream", [False, True], ids=["send", "stream"])
def test_an_agent_that_gives_two_callers_one_task_shows_it_to_the_first(
    reachable: Proxy, script: Scripted, wire: Wire, *, stream: bool
) -> None:
    with registered(reachable, script.card("one-task")) as agent, ExitStack() as stack:
        tenants = Tenants(reachable, agent, stack)
        ours, theirs = tenants(), tenants()
        for _ in range(2):
            first = theirs.client.post(agent.url, json=sending("hello", wire, stream=stream))
            assert ONE_TASK in first.text
            second = ours.client.post(agent.url, json=sending("hello", wire, stream=stream))
            assert error_of(second)["code"] == NOT_FOUND
            assert ONE_TASK not in second.text


def test_a_team_shares_and_so_do_the_keys_of_one_user(tenant: Tenants) -> None:
    first, second = tenant(team_id="team-a", user_id="one"), tenant(team_id="team-a", user_id="two")
    outsider = tenant(team_id="team-b", user_id="one")
    task_id = first.begin()["id"]
    assert second.call("GetTask", {"id": task_id}).json()["result"]["id"] == task_id
    assert error_of(outsider.call("GetTask", {"id": task_id}))["code"] == NOT_FOUND
    mine, too = tenant(user_id="three"), tenant(user_id="three")
    task_id = mine.begin()["id"]
    assert too.call("GetTask", {"id": task_id}).json()["result"]["id"] == task_id
    assert error_of(tenant(user_id="four").call("GetTask", {"id": task_id}))["code"] == NOT_FOUND


def test_a_key_of_nobody_is_alone(tenant: Tenants) -> None:
    one, other = tenant(user_id=None), tenant(user_id=None)
    task_id = one.begin()["id"]
    assert one.call("GetTask", {"id": task_id}).json()["result"]["id"] == task_id
    assert error_of(other.call("GetTask", {"id": task_id}))["code"] == NOT_FOUND


def test_lists_are_filtered_paged_and_counted(reachable: Proxy) -> None:
    from tests.support.backends import agent as backend_agent

    with (
        backend_agent("1.0") as backend,
        registered(reachable, backend.card()) as agent,
        ExitStack() as stack,
    ):
        tenants = Tenants(reachable, agent, stack)
        ours, theirs = tenants(), tenants()
        mine: set[str] = set()
        for number in range(12):
            theirs.begin("reply-task")
            if number % 2:
                mine.add(ours.begin("hello")["id"])
        for size in (1, 2, 4, 5, 6, 50):
            found: list[str] = []
            token = ""
            pages = 0
            while pages == 0 or token:
                page = ours.listed(pageSize=size, **({"pageToken": token} if token else {}))
                assert len(page["tasks"]) <= size
                assert page["totalSize"] == len(mine)
                assert page["pageSize"] == size
                found += [task["id"] for task in page["tasks"]]
                token = page["nextPageToken"]
                pages += 1
                if token:
                    assert error_of(theirs.call("ListTasks", {"pageSize": size, "pageToken": token}))["code"] == (
                        INVALID_PARAMS
                    )
            assert len(found) == len(set(found))
            assert set(found) == mine
        assert len(tenants.admin().listed(pageSize=100)["tasks"]) == 18
        assert ours.listed(contextId="nobody's")["tasks"] == []


@pytest.mark.parametrize("params", [{"pageToken": "forged"}, {"pageSize": 0}, {"pageSize": 101}, {"pageSize": -1}])
def test_wrong_pages_are_invalid_params(tenant: Tenants, params: Any) -> None:
    assert error_of(tenant().call("ListTasks", params))["code"] == INVALID_PARAMS


def test_two_workers_and_a_restart_know_the_owner(own_proxy: ProxyFactory, backend_of: BackendOf) -> None:
    with own_proxy(**webhooks.options(workers=2)) as proxy:
        with proxy.client() as admin:
            body = {"agent_name": "echo", "agent_card_params": backend_of("1.0").card()}
            agent = Registered(admin.post("/v1/agents", json=body).json()["agent_id"], "echo", proxy.base_url)
        keys = [proxy.add_key(object_permission={"agents": [agent.agent_id]}) for _ in range(2)]
        with proxy.client(keys[0]) as client:
            task_id = Tenant(client, agent).begin()["id"]
        for _ in range(12):  # each on a connection of its own, so on either worker
            assert _sees(proxy, agent, keys[0], task_id)
            assert not _sees(proxy, agent, keys[1], task_id)
        proxy.kill()
        again = proxy.restart()
        try:
            assert _sees(again, agent, keys[0], task_id)
            assert not _sees(again, agent, keys[1], task_id)
        finally:
            again.kill()


def _sees(proxy: Proxy, agent: Registered, key: str, task_id: str) -> bool:
    with proxy.client(key) as client:
        [answer] = answers(Tenant(client, agent).call("GetTask", {"id": task_id}))
    return "result" in answer

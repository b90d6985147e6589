"""One event of LiteLLM's per call, however it ends: what it says, what it costs, and what it must not hold."""

from __future__ import annotations

import secrets
from typing import Any, Final

import httpx
import pytest

from tests.a2a.calls import Wire, answers, granted, message, registered, request, sending
from tests.a2a.events import BLOCKING, FORBIDDEN, Events
from tests.a2a.registry import NOWHERE
from tests.conftest import BackendOf
from tests.support.proxy import Proxy

WIRES: Final[tuple[Wire, ...]] = ("0.3", "1.0")
ABORTED: Final = 20

pytestmark = pytest.mark.requirement("A2A-20")

V03: Final = {
    "SendMessage": "message/send",
    "SendStreamingMessage": "message/stream",
    "GetTask": "tasks/get",
    "CancelTask": "tasks/cancel",
    "SubscribeToTask": "tasks/resubscribe",
    "CreateTaskPushNotificationConfig": "tasks/pushNotificationConfig/set",
    "GetTaskPushNotificationConfig": "tasks/pushNotificationConfig/get",
    "ListTaskPushNotificationConfigs": "tasks/pushNotificationConfig/list",
    "DeleteTaskPushNotificationConfig": "tasks/pushNotificationConfig/delete",
    "GetExtendedAgentCard": "agent/getAuthenticatedExtendedCard",
}
METHODS: Final[tuple[tuple[Wire, str], ...]] = (
    *(("1.0", method) for method in (*V03, "ListTasks")),
    *(("0.3", method) for method in V03.values()),
)


def params_of(method: str, wire: Wire, task_id: str) -> dict[str, Any]:  # noqa: PLR0911  a table
    """Params with which an agent can answer the method."""
    hook = {"url": "https://hooks.example/a2a", "token": "push-token-secret", "id": "hook"}
    match V03.get(method, method) if wire == "1.0" else method:
        case "message/send" | "message/stream":
            return message("hello", wire)
        case "ListTasks" | "agent/getAuthenticatedExtendedCard":
            return {}
        case "tasks/get" | "tasks/cancel" | "tasks/resubscribe":
            return {"id": task_id}
        case "tasks/pushNotificationConfig/set" if wire == "1.0":
            return {"taskId": task_id, **hook}
        case "tasks/pushNotificationConfig/set":
            return {"taskId": task_id, "pushNotificationConfig": hook}
        case "tasks/pushNotificationConfig/list":
            return {"taskId": task_id} if wire == "1.0" else {"id": task_id}
        case _ if wire == "1.0":
            return {"taskId": task_id, "id": "hook"}
        case _:
            return {"id": task_id, "pushNotificationConfigId": "hook"}


@pytest.mark.parametrize(("wire", "method"), METHODS)
def test_every_method_ends_in_one_event(
    recorded: Proxy, told: Events, backend_of: BackendOf, wire: Wire, method: str
) -> None:
    with registered(recorded, backend_of("both").card()) as agent:
        key = granted(
            recorded, agent, user_id="the user", team_id="the team", team_object_permission={"agents": [agent.agent_id]}
        )
        with recorded.client(key) as client:
            task = answers(client.post(agent.url, json=sending("first", wire)))[0]["result"]
            task_id = (task.get("task") or task)["id"]
            told.ends(agent.agent_id)
            response = client.post(agent.url, json=request(method, params_of(method, wire, task_id)))
            assert response.status_code == 200, response.text
            failed = "error" in answers(response)[-1]
            told.ends(agent.agent_id, 2)
            client.post(agent.url, json=sending("the last", wire)).raise_for_status()
        told.ends(agent.agent_id, 3)
        _, end, _ = told.of_agent(agent.agent_id, "success", "failure")
        assert end["method"] == (method if wire == "0.3" else V03.get(method, "tasks/list"))
        assert end["event"] == ("failure" if failed else "success")
        assert end["agent_id"] == agent.agent_id
        assert end["call_type"] == "asend_message"
        assert end["model"] == f"a2a_agent/{agent.name}"
        assert (end["user"], end["team"]) == ("the user", "the team")
        assert len(end["key"]) == 64
        assert_no_secret(told, agent.agent_id, key, "push-token-secret")
        assert set(told.ends_per_call().values()) == {1}


def assert_no_secret(told: Events, agent_id: str, *hidden: str) -> None:
    """No payload of any event about the agent holds one of these."""
    payloads = [event["payload"] + str(event.get("answer")) for event in told.of_agent(agent_id)]
    assert payloads
    for each in hidden:
        assert not [payload for payload in payloads if each in payload], each


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("stream", [False, True])
def test_every_failure_ends_in_one_event(
    recorded: Proxy, told: Events, backend_of: BackendOf, wire: Wire, stream: bool
) -> None:
    """Refused before the agent, refused by the agent, bad params, and an agent that nobody reaches."""
    guarded = {"guardrails": [BLOCKING], "cost_per_query": 1.0}
    with registered(recorded, backend_of("both").card(), litellm_params=guarded) as agent, recorded.client() as client:
        method = sending("", wire, stream=stream)["method"]
        assert client.post(agent.url, json=sending(FORBIDDEN, wire, stream=stream)).status_code == 403
        nobodys = sending("hello", wire, stream=stream)
        nobodys["params"]["message"]["taskId"] = "nobody's"
        assert "error" in answers(client.post(agent.url, json=nobodys))[-1]
        assert "error" in answers(client.post(agent.url, json=request(method, {"message": 5})))[-1]
        ends = told.ends(agent.agent_id, 3)
    assert [end["event"] for end in ends] == ["failure"] * 3
    assert [end["logged_cost"] for end in ends] == [0.0] * 3
    with registered(recorded, {"name": "gone", "url": NOWHERE}) as gone, recorded.client() as client:
        assert "error" in answers(client.post(gone.url, json=sending("hello", wire, stream=stream)))[-1]
        (end,) = told.ends(gone.agent_id)
        assert end["event"] == "failure"
    assert set(told.ends_per_call().values()) == {1}


@pytest.mark.parametrize("wire", WIRES)
def test_streams_that_nobody_reads_to_the_end(recorded: Proxy, told: Events, backend_of: BackendOf, wire: Wire) -> None:
    """Each is a success, for the agent had answered, and says that the caller left."""
    backend = backend_of("both")
    gates = [f"left-{secrets.token_hex(6)}" for _ in range(ABORTED)]
    with registered(recorded, backend.card(), litellm_params={"cost_per_query": 0.5}) as agent:
        for gate in gates:
            backend.release(gate)
            body = sending(f"gate:{gate}", wire, stream=True)
            with recorded.client() as client, client.stream("POST", agent.url, json=body) as response:
                next(line for line in response.iter_lines() if line.startswith("data:"))
        with recorded.client() as client:
            client.post(agent.url, json=sending("hello", wire, stream=True)).raise_for_status()
        ends = told.ends(agent.agent_id, ABORTED + 1)
    assert [end["event"] for end in ends] == ["success"] * (ABORTED + 1)
    assert [end["client_disconnected"] for end in ends].count(True) == ABORTED
    assert {end["logged_cost"] for end in ends} == {0.5}
    assert set(told.ends_per_call().values()) == {1}


@pytest.mark.parametrize("wire", WIRES)
def test_a_call_whose_caller_does_not_wait(recorded: Proxy, told: Events, backend_of: BackendOf, wire: Wire) -> None:
    """The agent had not answered, so it is a failure."""
    backend = backend_of("both")
    with registered(recorded, backend.card()) as agent:
        heard = len(backend.calls())
        with recorded.client(timeout=httpx.Timeout(60, read=1.0)) as client, pytest.raises(httpx.ReadTimeout):
            client.post(agent.url, json=sending(f"gate:{secrets.token_hex(6)}", wire))
        (end,) = told.ends(agent.agent_id)
        assert len(backend.calls()) == heard + 1
    assert end["event"] == "failure"
    assert end["client_disconnected"] is True


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("params", "price"),
    [
        ({}, (0.0, 0.0, 0.0)),
        ({"cost_per_query": 0.25, "input_cost_per_token": 1.0}, (0.25, 0.0, 0.0)),
        ({"input_cost_per_token": 0.01, "output_cost_per_token": 0.1}, (0.0, 0.01, 0.1)),
    ],
)
def test_costs(  # noqa: PLR0917  fixtures and parameters
    recorded: Proxy,
    told: Events,
    backend_of: BackendOf,
    wire: Wire,
    stream: bool,
    params: dict[str, float],
    price: tuple[float, float, float],
) -> None:
    per_query, per_prompt, per_completion = price
    with registered(recorded, backend_of("1.0").card(), litellm_params=params) as agent, recorded.client() as client:
        client.post(agent.url, json=sending("how much is it", wire, stream=stream)).raise_for_status()
        (end,) = told.ends(agent.agent_id)
        prompt, completion = end["tokens"]
        assert (prompt > 0, completion > 0) == (bool(per_prompt), bool(per_completion))
        assert end["logged_cost"] == pytest.approx(per_query + prompt * per_prompt + completion * per_completion)
        poll = request({"0.3": "tasks/get", "1.0": "GetTask"}[wire], {"id": "nobody's"})
        client.post(agent.url, json=poll)
        assert [each["logged_cost"] for each in told.ends(agent.agent_id, 2)][1] == 0.0


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("stream", [False, True])
def test_events_hold_no_secret(recorded: Proxy, told: Events, backend_of: BackendOf, wire: Wire, stream: bool) -> None:
    hidden = {
        name: f"{name}-{secrets.token_hex(8)}" for name in ("static", "params", "passed", "named", "cookie", "push")
    }
    with registered(
        recorded,
        backend_of("both").card(),
        static_headers={"X-Static": hidden["static"]},
        extra_headers=["X-Passed"],
        litellm_params={"api_key": hidden["params"], "guardrails": [BLOCKING]},
    ) as agent:
        key = granted(recorded, agent)
        headers = {
            "X-Passed": hidden["passed"],
            f"x-a2a-{agent.agent_id}-authorization": f"Bearer {hidden['named']}",
            "Cookie": f"session={hidden['cookie']}",
        }
        with recorded.client(key, headers=headers) as client:
            for text in ("hello", FORBIDDEN, "crash:now"):
                body = sending(text, wire, stream=stream)
                webhook = {"url": "https://hooks.example/", "token": hidden["push"]}
                name = {"0.3": "pushNotificationConfig", "1.0": "taskPushNotificationConfig"}[wire]
                body["params"]["configuration"] = {name: webhook}
                client.post(f"{agent.url}?key={hidden['cookie']}", json=body)
        told.ends(agent.agent_id, 3)
        assert_no_secret(told, agent.agent_id, key, *hidden.values())

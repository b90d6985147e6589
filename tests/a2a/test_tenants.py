"""Two tenants: no id, name, URL, secret or task of the one in any answer to the other, whichever asks."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from tests.a2a import registry as agents
from tests.a2a.calls import Registered, granted, registered
from tests.a2a.conformance.peers import Answer, Peer, Wire
from tests.a2a.permissions import TABLE, World
from tests.conftest import BackendOf
from tests.support.proxy import Proxy

pytestmark = [pytest.mark.requirement("A2A-13"), pytest.mark.requirement("A2A-22")]

HIDDEN: Final = ("inner-path", "inner-base", "inner-switch", "inner-docs", "inner-secret")


@pytest.mark.parametrize("order", [("mine", "other"), ("other", "mine")], ids=["A of B", "B of A"])
def test_no_get_tells_a_tenant_of_another(reachable: Proxy, order: tuple[str, str]) -> None:
    """Every GET, about agents of both tenants: nothing of B comes to A, and nothing of any backend to either."""
    me, them = order
    with reachable.client() as admin:
        mine, other = (admin.post("/v1/agents", json=_tenant(name)).json() for name in order)
        secret = {other["agent_id"], other["agent_name"], *(f"{word}-{them}" for word in HIDDEN), f"group-{them}"}
        hidden = secret | {f"{word}-{me}" for word in HIDDEN}
        grants: list[dict[str, Any]] = [
            {"object_permission": {"agents": [mine["agent_id"]]}},
            {"object_permission": {"agent_access_groups": [f"group-{me}"]}},
            {"team_id": "tenant", "team_object_permission": {"agents": [mine["agent_id"]]}},
        ]
        for fields in grants:
            with reachable.client(reachable.add_key(**fields)) as tenant:
                _scan(tenant, mine, other, hidden)
        for agent in (mine, other):
            assert admin.delete(agents.path(agent["agent_id"])).status_code == 200


def _scan(tenant: httpx.Client, mine: dict[str, Any], other: dict[str, Any], hidden: set[str]) -> None:
    assert mine["agent_id"] in tenant.get("/v1/agents").text
    for operation in (each for each in TABLE if each.startswith("GET") and each != "GET /routeiq/audit"):
        for agent in (mine, other):
            for reference in (agent["agent_id"], agent["agent_name"]):
                answer = World(mine, "", {"tenant": tenant}).request("tenant", operation, reference)
                _tells_nothing(answer, hidden - {reference}, operation)
    dates = "start_date=2020-01-01&end_date=2035-01-01"
    asked = ("/model_group/info", "/v1/models", "/public/agent_hub", "/v1/agents?health_check=true")
    queries = [f"/v1/agents?query={query}&top_k=100" for query in (other["agent_name"], "inner-secret", "Echo")]
    days = [f"/agent/daily/activity?{dates}", f"/agent/daily/activity?{dates}&agent_ids={other['agent_id']}"]
    for path in (*asked, *queries, *days):
        _tells_nothing(tenant.get(path), hidden, path)
    chat = {"model": f"a2a/{other['agent_name']}", "messages": [{"role": "user", "content": "hello"}]}
    refused = tenant.post("/v1/chat/completions", json=chat)
    assert refused.status_code == 403
    _tells_nothing(refused, hidden - {other["agent_name"]}, "chat")


def _tenant(name: str) -> dict[str, Any]:
    origin = "http://127.0.0.1:9"
    return agents.body(
        f"{agents.unique()}-{name}",
        agent_card_params=agents.card(
            f"{origin}/inner-path-{name}",
            documentationUrl=f"{origin}/inner-docs-{name}",
            iconUrl=f"{origin}/inner-docs-{name}",
            provider={"organization": "Ours", "url": f"{origin}/inner-docs-{name}"},
        ),
        litellm_params={
            "api_key": f"inner-secret-{name}",
            "api_base": f"{origin}/inner-base-{name}",
            "agent_access_groups": [f"group-{name}"],
        },
        static_headers={"X-Tenant": f"inner-secret-{name}"},
        kill_switch={"url": f"{origin}/inner-switch-{name}"},
    )


def _tells_nothing(answer: httpx.Response, secret: set[str], where: str) -> None:
    told = answer.text + json.dumps(dict(answer.headers))
    assert {each for each in secret if each in told} == set(), where


# Every method


@dataclass(frozen=True)
class Tenant:
    """One of two, with an agent of its own, and a task and a webhook at the agent that both share."""

    peers: dict[str, tuple[Peer, Peer]]
    """By wire: at the shared agent, and at the other tenant's."""
    task: str
    context: str
    push: str
    marks: frozenset[str]
    """What no answer to the other may hold."""


@pytest.fixture
def tenants(reachable: Proxy, backend_of: BackendOf) -> Iterator[tuple[Tenant, Tenant]]:
    card = backend_of("1.0").card()
    with (
        registered(reachable, card) as shared,
        registered(reachable, card) as first,
        registered(reachable, card) as second,
        reachable.client(None) as http,
    ):
        yield (
            _made(http, granted(reachable, shared, first, user_id="tenant-first"), shared, first, second),
            _made(http, granted(reachable, shared, second, user_id="tenant-second"), shared, second, first),
        )


def _made(http: httpx.Client, key: str, shared: Registered, own: Registered, other: Registered) -> Tenant:
    headers = {"Authorization": f"Bearer {key}"}
    peers = {wire: (Peer(http, shared.url, wire, headers), Peer(http, other.url, wire, headers)) for wire in Wire}
    here = peers[Wire.JSONRPC][0]
    said, push = f"said-{secrets.token_hex(8)}", f"push-{secrets.token_hex(8)}"
    task = here.send(f"ask:{said}").task
    hook = f"http://127.0.0.1:9/{secrets.token_hex(8)}"
    assert here.webhook(task["id"], id=push, url=hook, token=f"token-{push}").error is None
    marks = {task["id"], task["contextId"], said, push, hook, own.agent_id, own.name}
    return Tenant(
        {str(wire): each for wire, each in peers.items()}, task["id"], task["contextId"], push, frozenset(marks)
    )


@pytest.mark.parametrize("wire", list(Wire))
@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["A of B", "B of A"])
def test_no_method_tells_a_tenant_of_another(
    tenants: tuple[Tenant, Tenant], wire: Wire, order: tuple[int, int]
) -> None:
    me, them = tenants[order[0]], tenants[order[1]]
    shared, theirs = me.peers[str(wire)]
    for peer in (shared, theirs):
        calls = _calls(peer, them)
        missing = {"ListTasks"} if wire is Wire.LEGACY else set()
        assert {name.split()[0] for name in calls} == METHODS - missing
        for name, call in calls.items():
            _answers_nothing(call(), {mark for mark in them.marks if mark not in peer.url}, name, peer is shared)
    assert me.peers[str(Wire.JSONRPC)][0].call("GetTask", {"id": me.task}).task["id"] == me.task
    still = them.peers[str(Wire.JSONRPC)][0].call("GetTask", {"id": them.task}).task
    assert still["status"]["state"] == "TASK_STATE_INPUT_REQUIRED", "and nothing was done to it"
    assert them.peers[str(Wire.JSONRPC)][0].of_webhook("GetTaskPushNotificationConfig", them.task, them.push).result


METHODS: Final = frozenset(
    {
        "SendMessage",
        "SendStreamingMessage",
        "GetTask",
        "ListTasks",
        "CancelTask",
        "SubscribeToTask",
        "CreateTaskPushNotificationConfig",
        "GetTaskPushNotificationConfig",
        "ListTaskPushNotificationConfigs",
        "DeleteTaskPushNotificationConfig",
        "GetExtendedAgentCard",
    }
)


def _calls(peer: Peer, them: Tenant) -> dict[str, Callable[[], Answer]]:
    """Every method, about what is theirs."""
    task, push, hook = them.task, them.push, "http://127.0.0.1:9/mine"
    calls: dict[str, Callable[[], Answer]] = {
        "SendMessage to their task": lambda: peer.send(taskId=task),
        "SendMessage in their context": lambda: peer.send(contextId=them.context),
        "SendMessage about their task": lambda: peer.send(referenceTaskIds=[task]),
        "SendStreamingMessage to their task": lambda: peer.stream(taskId=task),
        "SendStreamingMessage in their context": lambda: peer.stream(contextId=them.context),
        "GetTask": lambda: peer.call("GetTask", {"id": task}),
        "CancelTask": lambda: peer.call("CancelTask", {"id": task}),
        "SubscribeToTask": lambda: peer.call("SubscribeToTask", {"id": task}),
        "CreateTaskPushNotificationConfig": lambda: peer.webhook(task, id=push, url=hook),
        **{
            method: lambda method=method: peer.of_webhook(method, task, push)  # type: ignore[misc]
            for method in (
                "GetTaskPushNotificationConfig",
                "ListTaskPushNotificationConfigs",
                "DeleteTaskPushNotificationConfig",
            )
        },
        "GetExtendedAgentCard": lambda: peer.call("GetExtendedAgentCard", {}),
    }
    if not peer.is_legacy:
        calls |= {
            "ListTasks": lambda: peer.call("ListTasks", {}),
            "ListTasks of their context": lambda: peer.call("ListTasks", {"contextId": them.context}),
        }
    return calls


def _answers_nothing(answer: Answer, marks: set[str], name: str, at_shared: bool) -> None:
    told = answer.response.text + json.dumps(dict(answer.response.headers))
    assert {mark for mark in marks if mark in told} == set(), name
    if not at_shared:
        assert answer.error == "forbidden", name
    elif name.split(maxsplit=1)[0] not in ("ListTasks", "GetExtendedAgentCard"):
        assert answer.error == "task not found", name

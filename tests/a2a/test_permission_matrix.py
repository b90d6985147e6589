"""Who may do what: {none, unknown key, viewer, no grant, grant, team's grant, admin} x every route of agents.

The rows say what DESIGN 5 says; a route without a row fails (tests/test_routes.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from tests.a2a import registry as agents
from tests.a2a.calls import sending
from tests.conftest import BackendOf
from tests.support.proxy import Proxy

pytestmark = pytest.mark.requirement("A2A-13")

CALLERS: Final = ("nobody", "unknown", "viewer", "plain", "granted", "team", "admin")

Statuses = tuple[int, int, int, int, int, int, int]


def _calling(status: int = 200) -> Statuses:
    """Viewers look and do not call; `status` is what the agent answers to those who may."""
    return (401, 401, 403, 403, status, status, status)


PUBLIC: Final[Statuses] = (200, 200, 200, 200, 200, 200, 200)
ANY_KEY: Final[Statuses] = (401, 401, 200, 200, 200, 200, 200)
READ: Final[Statuses] = (401, 401, 200, 403, 200, 200, 200)
WRITE: Final[Statuses] = (401, 401, 403, 403, 403, 403, 200)
WRITE_NOTHING: Final[Statuses] = (401, 401, 403, 403, 403, 403, 422)
"""With a body that names nothing: who may write learns what is missing."""
NO_SUCH_PUSH: Final[Statuses] = (404, 404, 404, 404, 404, 404, 404)
"""A callback's token is its permission, and this is none."""
NO_DATES: Final[Statuses] = (401, 401, 400, 400, 400, 400, 400)
NO_TASK: Final = _calling(404)
NO_PUSH: Final = _calling(400)
"""This proxy was told no address of its own, so that no agent could call it back."""
NO_PUSH_OR_TASK: Final[Statuses] = (401, 401, 403, 403, 404, 404, 400)
"""The same for admins, who own every task; others are first told that this one is not theirs."""

TABLE: Final[Mapping[str, Statuses]] = {
    # the registry
    "GET /v1/agents": ANY_KEY,
    "GET /a2a/agents": ANY_KEY,
    "POST /v1/agents": WRITE_NOTHING,
    "POST /a2a/agents": WRITE_NOTHING,
    "GET /v1/agents/{agent_id}": READ,
    "GET /a2a/agents/{agent_id}": READ,
    "PUT /v1/agents/{agent_id}": WRITE,
    "PUT /a2a/agents/{agent_id}": WRITE,
    "PATCH /v1/agents/{agent_id}": WRITE,
    "PATCH /a2a/agents/{agent_id}": WRITE,
    "DELETE /v1/agents/{agent_id}": WRITE,
    "DELETE /a2a/agents/{agent_id}": WRITE,
    # what is public
    "GET /public/agent_hub": PUBLIC,
    "POST /v1/agents/make_public": WRITE_NOTHING,
    "POST /v1/agents/{agent_id}/make_public": WRITE,
    # cards
    "POST /v1/a2a/discover": WRITE_NOTHING,
    "GET /a2a/agents/{agent_id}/card": READ,
    "GET /a2a/{agent_id}/.well-known/agent-card.json": READ,
    "GET /a2a/{agent_id}/.well-known/agent.json": READ,
    # JSON-RPC
    "POST /a2a/{agent_id}": _calling(),
    "POST /a2a/{agent_id}/": _calling(),
    "POST /a2a/{agent_id}/message/send": _calling(),
    "POST /a2a/{agent_id}/message/stream": _calling(),
    "POST /v1/a2a/{agent_id}/message/send": _calling(),
    "POST /v1/a2a/{agent_id}/message/stream": _calling(),
    # HTTP+JSON 1.0
    "POST /a2a/{agent_id}/message:send": _calling(),
    "POST /a2a/{agent_id}/message:stream": _calling(),
    "GET /a2a/{agent_id}/tasks": _calling(),
    "GET /a2a/{agent_id}/tasks/{id}": NO_TASK,
    "POST /a2a/{agent_id}/tasks/{id}:cancel": NO_TASK,
    "GET /a2a/{agent_id}/tasks/{id}:subscribe": NO_TASK,
    "POST /a2a/{agent_id}/tasks/{id}:subscribe": NO_TASK,
    "POST /a2a/{agent_id}/tasks/{id}/pushNotificationConfigs": NO_PUSH_OR_TASK,
    "GET /a2a/{agent_id}/tasks/{id}/pushNotificationConfigs": NO_TASK,
    "GET /a2a/{agent_id}/tasks/{id}/pushNotificationConfigs/{push_id}": NO_TASK,
    "DELETE /a2a/{agent_id}/tasks/{id}/pushNotificationConfigs/{push_id}": NO_TASK,
    "GET /a2a/{agent_id}/extendedAgentCard": _calling(),
    # HTTP+JSON 0.3
    "POST /a2a/{agent_id}/v1/message:send": _calling(),
    "POST /a2a/{agent_id}/v1/message:stream": _calling(),
    "GET /a2a/{agent_id}/v1/tasks/{id}": NO_TASK,
    "POST /a2a/{agent_id}/v1/tasks/{id}:cancel": NO_TASK,
    "GET /a2a/{agent_id}/v1/tasks/{id}:subscribe": NO_TASK,
    "POST /a2a/{agent_id}/v1/tasks/{id}:subscribe": NO_TASK,
    "POST /a2a/{agent_id}/v1/tasks/{id}/pushNotificationConfigs": NO_PUSH,
    "GET /a2a/{agent_id}/v1/tasks/{id}/pushNotificationConfigs": NO_TASK,
    "GET /a2a/{agent_id}/v1/tasks/{id}/pushNotificationConfigs/{push_id}": NO_TASK,
    "GET /a2a/{agent_id}/v1/card": _calling(),
    # the rest
    "POST /routeiq/push/{token}": NO_SUCH_PUSH,
    "GET /agent/daily/activity": NO_DATES,
    "GET /router/info": ANY_KEY,
    "GET /routeiq/audit": WRITE,
}

PLACES: Final = {"{id}": "no-such-task", "{push_id}": "no-such-config", "{token}": "no-such-token"}

CELLS: Final = [
    (operation, by, caller, status)
    for operation, statuses in TABLE.items()
    for by in (("agent_id", "agent_name") if "{agent_id}" in operation else ("",))
    for caller, status in zip(CALLERS, statuses, strict=True)
]


@dataclass(frozen=True)
class World:
    """One agent, granted to `granted` and to the team of `team`, and a client for each caller."""

    agent: Mapping[str, Any]
    url: str
    clients: Mapping[str, httpx.Client]

    def another(self) -> Mapping[str, Any]:
        """Register an agent for a cell that uses it up."""
        made: Mapping[str, Any] = self.clients["admin"].post("/v1/agents", json=agents.body(url=self.url)).json()
        return made

    def drop(self, agent: Mapping[str, Any]) -> None:
        """Delete it, if it is still there."""
        assert self.clients["admin"].delete(agents.path(agent["agent_id"])).status_code in (200, 404)

    def request(self, caller: str, operation: str, reference: str) -> httpx.Response:
        """Make the operation's request."""
        method, _, path = operation.partition(" ")
        for place, value in {**PLACES, "{agent_id}": reference}.items():
            path = path.replace(place, value)
        body = None if method in ("GET", "DELETE") else self._body(operation)
        headers = {} if "/v1/" in operation else {"A2A-Version": "1.0"}
        return self.clients[caller].request(method, path, json=body, headers=headers, follow_redirects=False)

    def _body(self, operation: str) -> Any:
        if operation.startswith("PUT"):
            return agents.body(self.agent["agent_name"], self.url)
        if operation.endswith(("message:send", "message:stream")):
            return _said(old="/v1/" in operation)
        if operation.endswith("pushNotificationConfigs"):
            config = {"id": "c", "url": "https://example.com/hook"}
            return {"pushNotificationConfig": config} if "/v1/" in operation else config
        if operation.endswith(("{agent_id}", "{agent_id}/", "message/send", "message/stream")) and "a2a/{" in operation:
            return sending("hello")
        return {}


def _said(*, old: bool) -> Any:
    """Say hello as each version's HTTP binding wants it."""
    said = {"messageId": "m", "role": "ROLE_USER"}
    return {"message": {**said, "content" if old else "parts": [{"text": "hello"}]}}


@pytest.fixture(scope="module")
def world(proxy: Proxy, backend_of: BackendOf) -> Iterator[World]:
    with proxy.client() as admin:
        url = backend_of("both").url
        agent = admin.post("/v1/agents", json=agents.body(url=url)).json()
        grant = {"agents": [agent["agent_id"]]}
        clients = {
            "nobody": proxy.client(None),
            "unknown": proxy.client("sk-nobody-knows-this"),
            "viewer": proxy.client(proxy.add_key(user_role="proxy_admin_viewer")),
            "plain": proxy.client(proxy.add_key()),
            "granted": proxy.client(proxy.add_key(object_permission=grant)),
            "team": proxy.client(proxy.add_key(team_id="team-of-the-matrix", team_object_permission=grant)),
            "admin": admin,
        }
        made = World(agent, url, clients)
        yield made
        made.drop(agent)
        for client in clients.values():
            client.close()


@pytest.mark.parametrize(("operation", "by", "caller", "status"), CELLS)
def test_the_matrix(world: World, operation: str, by: str, caller: str, status: int) -> None:
    uses_up = caller == "admin" and (operation.startswith("DELETE /v1/a") or operation.startswith("DELETE /a2a/agents"))
    agent = world.another() if uses_up or operation.endswith("make_public") else world.agent
    response = world.request(caller, operation, str(agent.get(by, "")))
    assert response.status_code == status, response.text
    if status == 401:
        assert response.json()["error"]["type"] == "auth_error"
    if agent is not world.agent:
        world.drop(agent)
    assert world.clients["admin"].get(agents.path(world.agent["agent_id"])).status_code == 200, "it is still there"


# Two tenants

HIDDEN: Final = ("inner-path", "inner-base", "inner-switch", "inner-docs", "inner-secret")


def test_no_get_tells_a_tenant_of_another(proxy: Proxy, world: World) -> None:
    """Every GET, about agents of both tenants: nothing of B comes to A, and nothing of any backend to either."""
    admin = world.clients["admin"]
    mine, other = (admin.post("/v1/agents", json=_tenant(name)).json() for name in ("mine", "other"))
    secret = {other["agent_id"], other["agent_name"], *(f"{word}-other" for word in HIDDEN), "group-other"}
    own = {f"{word}-mine" for word in HIDDEN}
    grants: list[dict[str, Any]] = [
        {"object_permission": {"agents": [mine["agent_id"]]}},
        {"object_permission": {"agent_access_groups": ["group-mine"]}},
        {"team_id": "tenant", "team_object_permission": {"agents": [mine["agent_id"]]}},
    ]
    gets = [operation for operation in TABLE if operation.startswith("GET") and operation != "GET /routeiq/audit"]
    listings = ["/model_group/info", "/v1/models", "/public/agent_hub", "/v1/agents?health_check=true"]
    dates = "start_date=2020-01-01&end_date=2035-01-01"
    for fields in grants:
        with proxy.client(proxy.add_key(**fields)) as tenant:
            assert mine["agent_id"] in tenant.get("/v1/agents").text
            for operation in gets:
                for agent in (mine, other):
                    for reference in (agent["agent_id"], agent["agent_name"]):
                        answer = World(mine, world.url, {"tenant": tenant}).request("tenant", operation, reference)
                        _tells_nothing(answer, (secret | own) - {reference}, operation)
            for query in (other["agent_name"], "inner-secret-other", "Echo"):
                listings.append(f"/v1/agents?query={query}&top_k=100")
            for path in (
                *listings,
                f"/agent/daily/activity?{dates}",
                f"/agent/daily/activity?{dates}&agent_ids={other['agent_id']}",
            ):
                _tells_nothing(tenant.get(path), secret | own, path)
    for agent in (mine, other):
        world.drop(agent)


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
        litellm_params={"api_key": f"inner-secret-{name}", "api_base": f"{origin}/inner-base-{name}"},
        static_headers={"X-Tenant": f"inner-secret-{name}"},
        kill_switch={"url": f"{origin}/inner-switch-{name}"},
        access_group_ids=[f"group-{name}"],
    )


def _tells_nothing(answer: httpx.Response, secret: set[str], where: str) -> None:
    told = answer.text + json.dumps(dict(answer.headers))
    assert {each for each in secret if each in told} == set(), where

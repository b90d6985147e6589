"""Who may do what: the table of DESIGN 5, and one agent with a caller of every kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx

from tests.a2a import registry as agents
from tests.a2a.calls import sending
from tests.support.proxy import Proxy

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


@contextmanager
def world(proxy: Proxy, url: str) -> Iterator[World]:
    """Make it, with an agent at `url`."""
    with ExitStack() as stack:
        admin = stack.enter_context(proxy.client())
        agent = admin.post("/v1/agents", json=agents.body(url=url)).json()
        grant = {"agents": [agent["agent_id"]]}
        keys = {
            "nobody": None,
            "unknown": "sk-nobody-knows-this",
            "viewer": proxy.add_key(user_role="proxy_admin_viewer"),
            "plain": proxy.add_key(),
            "granted": proxy.add_key(object_permission=grant),
            "team": proxy.add_key(team_id="team-of-the-matrix", team_object_permission=grant),
        }
        clients = {name: stack.enter_context(proxy.client(key)) for name, key in keys.items()}
        made = World(agent, url, {**clients, "admin": admin})
        yield made
        made.drop(agent)

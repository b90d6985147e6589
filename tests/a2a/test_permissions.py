"""Who may do what: every route that the plugin owns, for every kind of key, under LiteLLM's own common checks."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from tests.a2a import registry as agents
from tests.support.proxy import MODEL, Proxy

pytestmark = pytest.mark.requirement("A2A-13")

CALLERS: Final = ("nobody", "unknown", "plain", "granted", "viewer", "admin")
"""No key; a key that nobody knows; internal users without and with a grant; proxy_admin_viewer; proxy_admin."""

Statuses = tuple[int, int, int, int, int, int]

READ: Final[Statuses] = (401, 401, 403, 200, 200, 200)
LIST: Final[Statuses] = (401, 401, 200, 200, 200, 200)
CALL: Final[Statuses] = (401, 401, 403, 200, 403, 200)
WRITE: Final[Statuses] = (401, 401, 403, 403, 403, 200)
CREATE: Final[Statuses] = (401, 401, 403, 403, 403, 422)
"""With a body that names no agent: who may create learns what is missing."""
AUDIT: Final[Statuses] = (401, 401, 403, 403, 403, 200)

TABLE: Final[Mapping[str, Statuses]] = {
    "GET /v1/agents": LIST,
    "GET /a2a/agents": LIST,
    "POST /v1/agents": CREATE,
    "POST /a2a/agents": CREATE,
    "GET /v1/agents/{agent_id}": READ,
    "GET /a2a/agents/{agent_id}": READ,
    "PUT /v1/agents/{agent_id}": WRITE,
    "PUT /a2a/agents/{agent_id}": WRITE,
    "PATCH /v1/agents/{agent_id}": WRITE,
    "PATCH /a2a/agents/{agent_id}": WRITE,
    "DELETE /v1/agents/{agent_id}": WRITE,
    "DELETE /a2a/agents/{agent_id}": WRITE,
    "GET /a2a/agents/{agent_id}/card": READ,
    "GET /a2a/{agent_id}/.well-known/agent-card.json": READ,
    "GET /a2a/{agent_id}/.well-known/agent.json": READ,
    "POST /a2a/{agent_id}": CALL,
    "POST /a2a/{agent_id}/": CALL,
    "POST /a2a/{agent_id}/message/send": CALL,
    "POST /a2a/{agent_id}/message/stream": CALL,
    "POST /v1/a2a/{agent_id}/message/send": CALL,
    "POST /v1/a2a/{agent_id}/message/stream": CALL,
    "GET /router/info": LIST,
    "GET /routeiq/audit": AUDIT,
}
"""The registry's and the calls' rows of DESIGN 5 in depth; `test_permission_matrix` holds every route that we own."""

CELLS: Final = [
    (operation, by, caller, status)
    for operation, statuses in TABLE.items()
    for by in (("agent_id", "agent_name") if "{" in operation else ("",))
    for caller, status in zip(CALLERS, statuses, strict=True)
]


@dataclass(frozen=True)
class World:
    """One agent, granted to `granted`, and a client for each caller."""

    agent: Mapping[str, Any]
    clients: Mapping[str, httpx.Client]

    def body(self, operation: str) -> Any:
        """Build a body that the operation accepts and that changes nothing."""
        if operation.startswith("PUT"):
            return agents.body(self.agent["agent_name"])
        return {"jsonrpc": "2.0", "id": 1, "method": "no/such"} if "message" in operation else {}


@pytest.fixture(scope="module")
def world(proxy: Proxy) -> Iterator[World]:
    with proxy.client() as admin:
        agent = admin.post("/v1/agents", json=agents.body()).json()
        granted = proxy.add_key(object_permission={"agents": [agent["agent_id"]]})
        clients = {
            "nobody": proxy.client(None),
            "unknown": proxy.client("sk-nobody-knows-this"),
            "plain": proxy.client(proxy.add_key()),
            "granted": proxy.client(granted),
            "viewer": proxy.client(proxy.add_key(user_role="proxy_admin_viewer")),
            "admin": admin,
        }
        yield World(agent, clients)
        assert admin.delete(agents.path(agent["agent_id"])).status_code in (200, 404)
        for client in clients.values():
            client.close()


@pytest.mark.parametrize(("operation", "by", "caller", "status"), CELLS)
def test_the_table(world: World, operation: str, by: str, caller: str, status: int) -> None:
    method, _, template = operation.partition(" ")
    reference = world.agent[by] if by else ""
    if method == "DELETE" and caller == "admin":
        reference = world.clients["admin"].post("/v1/agents", json=agents.body()).json()[by]
    path = template.replace("{agent_id}", reference)
    response = world.clients[caller].request(
        method, path, json=None if method in ("GET", "DELETE") else world.body(operation), follow_redirects=False
    )
    assert response.status_code == status, response.text
    if status == 401:
        assert response.json()["error"]["type"] == "auth_error"
    if status == 403:
        assert reference in response.text or "Only proxy admins can" in response.text
    assert world.clients["admin"].get(agents.path(world.agent["agent_id"])).status_code == 200, "it is still there"


@pytest.mark.parametrize("caller", ["plain", "granted"])
@pytest.mark.parametrize(
    "operation", [name for name in TABLE if "{agent_id}" in name and name.startswith(("GET", "POST"))]
)
def test_a_forbidden_agent_and_an_unknown_one_read_the_same(world: World, operation: str, caller: str) -> None:
    other = world.clients["admin"].post("/v1/agents", json=agents.body()).json()
    method, _, template = operation.partition(" ")
    answers = []
    for reference in (other["agent_id"], other["agent_name"], agents.unique()):
        path = template.replace("{agent_id}", reference)
        response = world.clients[caller].request(method, path, json=world.body(operation) if method == "POST" else None)
        answers.append((response.status_code, response.text.replace(reference, "?"), sorted(response.headers)))
    assert answers[0][0] == 403
    assert answers[0] == answers[1] == answers[2]
    assert world.clients["admin"].delete(agents.path(other["agent_id"])).status_code == 200


def test_litellms_common_checks_are_on(proxy: Proxy, world: World) -> None:
    """Without both flags of the harness a key with `models` reaches any model, and this file proves nothing."""
    with proxy.client(proxy.add_key(models=["another-model"])) as narrow:
        chat = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
        refused = narrow.post("/v1/chat/completions", json=chat)
        assert refused.status_code == 403, refused.text
        assert refused.json()["error"]["type"] == "key_model_access_denied"
        assert world.clients["plain"].post("/v1/chat/completions", json=chat).status_code == 200
        assert narrow.get("/v1/agents").status_code == 200


@pytest.mark.parametrize("header", ["x-litellm-api-key", "api-key", "x-api-key", "x-goog-api-key"])
def test_every_key_header_of_litellm_works_here_as_there(proxy: Proxy, header: str) -> None:
    key = proxy.add_key()
    with proxy.client(None, headers={header: key}) as client:
        there = client.get("/v1/models").status_code
        assert client.get("/router/info").status_code == there
        assert client.get("/v1/agents").status_code == there


def test_a_key_that_has_expired_is_refused_as_on_stock(proxy: Proxy, world: World) -> None:
    grant = {"agents": [world.agent["agent_id"]]}
    with proxy.client(proxy.add_key(object_permission=grant, expires="2020-01-01T00:00:00+00:00")) as client:
        there = client.get("/v1/models")
        assert there.status_code == 401, there.text
        for operation in TABLE:
            method, _, template = operation.partition(" ")
            path = template.replace("{agent_id}", world.agent["agent_id"])
            here = client.request(method, path, json=None if method in ("GET", "DELETE") else world.body(operation))
            assert here.status_code == 401, operation
            assert here.json()["error"]["type"] == there.json()["error"]["type"], operation


def test_a_key_narrowed_to_other_routes_reaches_none_of_ours(proxy: Proxy) -> None:
    with proxy.client(proxy.add_key(allowed_routes=["/v1/chat/completions"])) as client:
        for path in ("/v1/agents", "/a2a/agents", "/router/info", "/v1/agents/x"):
            assert client.get(path).status_code == 403, path


# Tenants


def test_a_tenant_learns_nothing_of_another(proxy: Proxy, world: World) -> None:
    admin = world.clients["admin"]
    both = []
    for port in (7, 9):
        both.append(
            admin.post(
                "/v1/agents",
                json=agents.body(
                    url=f"http://127.0.0.1:{port}/tenant-{port}",
                    litellm_params={"api_key": f"secret-{port}", "api_base": f"http://127.0.0.1:{port}/base-{port}"},
                    static_headers={"X-Tenant": f"secret-{port}"},
                    kill_switch={"url": f"http://127.0.0.1:{port}/switch-{port}"},
                ),
            ).json()
        )
    own, other = both
    with proxy.client(proxy.add_key(object_permission={"agents": [own["agent_id"]]})) as tenant:
        assert [each["agent_id"] for each in tenant.get("/v1/agents").json()] == [own["agent_id"]]
        hidden = {other["agent_id"], other["agent_name"], "tenant-9", "base-9", "switch-9", "secret-9"}
        always = {"secret-7", "tenant-7", "base-7", "switch-7"}
        for operation in TABLE:
            method, _, template = operation.partition(" ")
            if method != "GET":
                continue
            for reference in (own["agent_id"], own["agent_name"], other["agent_id"], other["agent_name"]):
                answer = tenant.get(template.replace("{agent_id}", reference))
                text = answer.text + str(answer.headers)
                assert {each for each in (hidden | always) - {reference} if each in text} == set(), operation
        for query in (other["agent_name"], "Echo", "secret-9"):
            assert other["agent_id"] not in tenant.get("/v1/agents", params={"query": query, "top_k": 100}).text
        assert other["agent_id"] not in tenant.get("/v1/agents?health_check=true").text
        chat = {"model": f"a2a/{other['agent_name']}", "messages": [{"role": "user", "content": "hello"}]}
        assert tenant.post("/v1/chat/completions", json=chat).status_code == 403
    for agent in both:
        assert admin.delete(agents.path(agent["agent_id"])).status_code == 200


def test_viewers_see_no_backend_and_no_secret(world: World) -> None:
    admin, viewer = world.clients["admin"], world.clients["viewer"]
    agent = admin.post("/v1/agents", json=agents.body(static_headers={"X-A": "b"}, extra_headers=["x-c"])).json()
    seen = viewer.get(agents.path(agent["agent_id"])).json()
    assert seen["agent_id"] == agent["agent_id"]
    assert [seen[key] for key in ("static_headers", "extra_headers", "keys", "kill_switch", "identity")] == [None] * 5
    assert agents.NOWHERE not in str(seen)
    assert admin.delete(agents.path(agent["agent_id"])).status_code == 200


# LiteLLM's own rule, for those who ask for it


def test_default_access_litellm_is_stocks_rule(configured: Proxy) -> None:
    with configured.client() as admin:
        first, second = (admin.post("/v1/agents", json=agents.body()).json() for _ in range(2))
        call = {"jsonrpc": "2.0", "id": 1, "method": "no/such"}
        with configured.client(configured.add_key()) as plain:
            assert plain.get("/v1/agents").json() == [], "nothing is listed without a grant"
            for agent in (first, second):
                assert plain.get(agents.path(agent["agent_id"])).status_code == 200
                assert plain.post(f"/a2a/{agent['agent_id']}", json=call).status_code == 200
            assert plain.get("/v1/agents/nobody").status_code == 404
            assert plain.post("/v1/agents", json={}).status_code == 403
        grant = {"agents": [first["agent_id"]]}
        with configured.client(configured.add_key(object_permission=grant)) as granted:
            assert [each["agent_id"] for each in granted.get("/v1/agents").json()] == [first["agent_id"]]
            assert granted.post(f"/a2a/{first['agent_id']}", json=call).status_code == 200
            assert granted.post(f"/a2a/{second['agent_id']}", json=call).status_code == 403
        for agent in (first, second):
            assert admin.delete(agents.path(agent["agent_id"])).status_code == 200


# Requests that try to be something else

HOSTS: Final = ("x/health/liveliness?", "x/health/liveliness#", "x/public/agent_hub?a=", "x@y", "", "127.0.0.1:1")
TARGETS: Final = ("/v1/agents", "/v1/agents/{id}", "/a2a/agents", "/a2a/agents/{id}/card", "/router/info")
SPELLED: Final[Mapping[str, tuple[int, ...]]] = {
    "/v1/%61gents": (401,),
    "/v1%2fagents": (401,),
    "/routeiq/%61udit": (401,),
    "/v1/agents/{id}%3f": (401,),
    "/v1/agents/.": (401,),
    "/v1/agents/..": (401,),
    "/v1/agents?path=/health/liveliness": (401,),
    "//v1/agents": (404,),
    "/v1//agents": (404,),
    "/V1/agents": (404,),
    "/v1/Agents": (404,),
    "/v1/agents;x": (404,),
    "/v1/agents%20": (404,),
    "/v1/agents%00": (404,),
    "/v1/agents/%2e%2e/agents": (404,),
    "/health/liveliness/../../v1/agents": (404,),
    "/health/liveliness/%2e%2e/%2e%2e/v1/agents": (404,),
    "http://x/v1/agents": (400, 404),
    "/a2a//{id}": (404,),
    "/v1/agents/": (307,),
    "/router/info/": (307,),
    "/routeiq/audit/": (307,),
    "/a2a/agents/{id}/card/": (307,),
}
"""401 where the server reads it as a route of ours, elsewhere stock's answer to an unknown path."""


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("target", TARGETS)
def test_the_host_header_opens_nothing(proxy: Proxy, world: World, host: str, target: str) -> None:
    status, body = raw(proxy, target.replace("{id}", world.agent["agent_id"]), host)
    assert status in (400, 401), body
    assert world.agent["agent_name"] not in body


@pytest.mark.parametrize("target", SPELLED)
def test_no_spelling_of_a_path_opens_anything(proxy: Proxy, world: World, target: str) -> None:
    status, body = raw(proxy, target.replace("{id}", world.agent["agent_id"]), "x")
    assert status in SPELLED[target], body
    assert world.agent["agent_name"] not in body


@pytest.mark.parametrize("target", SPELLED)
def test_no_spelling_of_a_path_opens_another_tenants_agent(proxy: Proxy, world: World, target: str) -> None:
    path = target.replace("{id}", world.agent["agent_id"])
    key = world.clients["plain"].headers["Authorization"]
    _, body = raw(proxy, path, "x", f"Authorization: {key}\r\n")
    assert world.agent["agent_name"] not in body


def raw(proxy: Proxy, target: str, host: str, headers: str = "") -> tuple[int, str]:
    """Send a request line as it is written, which no HTTP client would, and return status and body."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n".encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    head, _, body = answer.decode().partition("\r\n\r\n")
    return int(head.split()[1]), body

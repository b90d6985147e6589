"""Who may do what: {none, unknown key, viewer, no grant, grant, team's grant, admin} x every route of servers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from tests.mcp import servers
from tests.mcp.servers import Server
from tests.support.proxy import Proxy

pytestmark = pytest.mark.requirement("MCP-01", "MCP-02", "MCP-03", "MCP-04", "MCP-05", "MCP-06", "MCP-10", "MCP-11")

CALLERS: Final = ("nobody", "unknown", "viewer", "plain", "granted", "team", "admin")

Statuses = tuple[int, int, int, int, int, int, int]

ANY_KEY: Final[Statuses] = (401, 401, 200, 200, 200, 200, 200)
READ: Final[Statuses] = (401, 401, 200, 403, 200, 200, 200)
WRITE: Final[Statuses] = (401, 401, 403, 403, 403, 403, 202)
WRITE_NOTHING: Final[Statuses] = (401, 401, 403, 403, 403, 403, 422)
"""With a body that names nothing: who may write learns what is missing."""
NAMES_NOTHING: Final[Statuses] = (401, 401, 400, 400, 400, 400, 400)
"""Who may call what is in tests/mcp/data."""
APPROVAL: Final[Statuses] = (401, 401, 403, 403, 403, 403, 200)
DISCOVERY: Final[Statuses] = (200, 401, 200, 200, 200, 200, 200)
"""Nobody needs a key, and one that nobody knows is none."""

TABLE: Final[Mapping[str, Statuses]] = {
    "GET /v1/mcp/server": ANY_KEY,
    "GET /mcp/servers": ANY_KEY,
    "POST /v1/mcp/server": WRITE_NOTHING,
    "POST /mcp/servers": WRITE_NOTHING,
    "PUT /v1/mcp/server": WRITE_NOTHING,
    "GET /v1/mcp/server/{server_id}": READ,
    "GET /mcp/servers/{server_id}": READ,
    "PUT /v1/mcp/server/{server_id}": WRITE,
    "PUT /mcp/servers/{server_id}": WRITE,
    "DELETE /v1/mcp/server/{server_id}": WRITE,
    "DELETE /mcp/servers/{server_id}": WRITE,
    "GET /v1/mcp/server/health": ANY_KEY,
    "GET /mcp/servers/health": ANY_KEY,
    "GET /v1/mcp/access_groups": ANY_KEY,
    "GET /mcp/access_groups": ANY_KEY,
    "POST /v1/mcp/server/import": WRITE_NOTHING,
    "POST /v1/mcp/make_public": WRITE_NOTHING,
    "GET /v1/mcp/registry.json": DISCOVERY,
    # what servers offer; each list holds what the caller may use, and a call names nothing here
    "GET /v1/mcp/tools": ANY_KEY,
    "GET /mcp/tools": ANY_KEY,
    "GET /mcp/tools/list": ANY_KEY,
    "GET /mcp/resources": ANY_KEY,
    "GET /mcp/prompts": ANY_KEY,
    "POST /mcp/tools/call": NAMES_NOTHING,
    "POST /mcp/resources/read": NAMES_NOTHING,
    "POST /mcp/prompts/get": NAMES_NOTHING,
    "POST /v1/mcp/server/{server_id}/tools/approve": APPROVAL,
    "POST /mcp/servers/{server_id}/tools/approve": APPROVAL,
}

CELLS: Final = [
    (operation, by, caller, status)
    for operation, statuses in TABLE.items()
    for by in (("server_id", "alias") if "{server_id}" in operation else ("",))
    for caller, status in zip(CALLERS, statuses, strict=True)
]


@dataclass(frozen=True)
class World:
    """One server, granted to `granted` and to the team of `team`, and a client for each caller."""

    server: Mapping[str, Any]
    url: str
    clients: Mapping[str, httpx.Client]

    def request(self, caller: str, operation: str, reference: str) -> httpx.Response:
        """Make the operation's request."""
        method, _, path = operation.partition(" ")
        body: dict[str, Any] | None = None if method in ("GET", "DELETE") else {}
        return self.clients[caller].request(
            method, path.replace("{server_id}", reference), json=body, follow_redirects=False
        )


@pytest.fixture(scope="module")
def world(furnished: Proxy, upstream: Server) -> Iterator[World]:
    with furnished.client() as admin:
        server = servers.created(admin, url=upstream.url)
        grant = {"mcp_servers": [server["server_id"]]}
        clients = {
            "nobody": furnished.client(None),
            "unknown": furnished.client("sk-nobody-knows-this"),
            "viewer": furnished.client(furnished.add_key(user_role="proxy_admin_viewer")),
            "plain": furnished.client(furnished.add_key()),
            "granted": furnished.client(furnished.add_key(object_permission=grant)),
            "team": furnished.client(furnished.add_key(team_id="team-of-tools", team_object_permission=grant)),
            "admin": admin,
        }
        yield World(server, upstream.url, clients)
        admin.delete(servers.path(server["server_id"]))
        for client in clients.values():
            client.close()


@pytest.mark.parametrize(("operation", "by", "caller", "status"), CELLS)
def test_the_matrix(world: World, operation: str, by: str, caller: str, status: int) -> None:
    admin = world.clients["admin"]
    uses_up = caller == "admin" and operation.startswith("DELETE")
    server = servers.created(admin, url=world.url) if uses_up else world.server
    response = world.request(caller, operation, str(server.get(by, "")))
    assert response.status_code == status, response.text
    if status == 401:
        assert response.json()["error"]["type"] == "auth_error"
    assert admin.get(servers.path(world.server["server_id"])).status_code == 200, "it is still there"


HIDDEN: Final = ("inner-path", "inner-header", "inner-variable", "inner-secret", "inner-issuer", "inner_words")


def test_no_get_tells_a_tenant_of_another(furnished: Proxy, world: World) -> None:
    """Every GET, about servers of both tenants: nothing of B comes to A, and nothing of any upstream to either."""
    admin = world.clients["admin"]
    mine, other = (admin.post("/v1/mcp/server", json=_tenant(name)).json() for name in ("mine", "other"))
    secret = {
        *(str(other[name]) for name in ("server_id", "alias", "server_name", "description")),
        *(f"{word}-other" for word in HIDDEN),
        "group-other",
        "tool-other",
    }
    own = {f"{word}-mine" for word in HIDDEN}
    grants: list[dict[str, Any]] = [
        {"object_permission": {"mcp_servers": [mine["server_id"]]}},
        {"object_permission": {"mcp_access_groups": ["group-mine"]}},
        {"object_permission": {"mcp_tool_permissions": {mine["alias"]: ["echo"]}}},
        {"team_id": "tenant", "team_object_permission": {"mcp_servers": [mine["server_id"]]}},
    ]
    gets = [operation for operation in TABLE if operation.startswith("GET")]
    queries = (f"?server_ids={other['server_id']}", f"?server_ids={other['server_id']}&include_reachability=true")
    for fields in grants:
        with furnished.client(furnished.add_key(**fields)) as tenant:
            assert mine["server_id"] in tenant.get("/v1/mcp/server").text
            for operation in gets:
                for server in (mine, other):
                    for reference in (server["server_id"], server["alias"]):
                        answer = World(mine, world.url, {"tenant": tenant}).request("tenant", operation, reference)
                        _tells_nothing(answer, (secret | own) - {reference}, operation)
            for query in queries:
                answer = tenant.get(f"/v1/mcp/server/health{query}")
                assert answer.json() == []
    with furnished.client(None) as nobody:
        _tells_nothing(nobody.get("/v1/mcp/registry.json"), secret | own | {mine["alias"]}, "registry without a key")
    for server in (mine, other):
        assert admin.delete(servers.path(server["server_id"])).status_code == 202


def _tenant(name: str) -> dict[str, Any]:
    origin = "http://127.0.0.1:9"
    return servers.body(
        servers.unique(f"tenant_{name}"),
        f"{origin}/inner-path-{name}",
        alias=servers.unique(f"alias_{name}"),
        description=f"words of {name} {servers.unique()}",
        auth_type="bearer_token",
        credentials={"auth_value": f"inner-secret-{name}"},
        static_headers={"X-Tenant": f"inner-header-{name}"},
        env_vars=[{"name": "V", "value": f"inner-variable-{name}"}],
        issuer=f"{origin}/inner-issuer-{name}",
        allowed_tools=[f"tool-{name}", "echo"],
        mcp_access_groups=[f"group-{name}"],
    )


def _tells_nothing(answer: httpx.Response, secret: set[str], where: str) -> None:
    told = answer.text + json.dumps(dict(answer.headers))
    assert {each for each in secret if each in told} == set(), where

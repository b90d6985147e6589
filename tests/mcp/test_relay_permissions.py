"""Who may speak with a server at its address: the callers of every route of servers x the relay's methods and paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx
import pytest

from tests.mcp import servers
from tests.mcp.conformance.sessions import ACCEPT, initialize
from tests.mcp.servers import Server
from tests.mcp.test_permission_matrix import CALLERS, Statuses
from tests.support.proxy import Proxy

pytestmark = pytest.mark.requirement("MCP-21")

BEGINS: Final[Statuses] = (401, 401, 403, 403, 200, 200, 200)
CARRIES_ON: Final[Statuses] = (401, 401, 403, 403, 404, 404, 404)
"""A session that nobody began: who may use the server learns that."""

TABLE: Final[Mapping[str, Statuses]] = {
    f"{method} {path}": statuses
    for method, statuses in (("POST", BEGINS), ("GET", CARRIES_ON), ("DELETE", CARRIES_ON))
    for path in ("/mcp/{server_name}", "/mcp/{server_name}/", "/{server_name}/mcp", "/{server_name}/mcp/")
}

Clients = Mapping[str, httpx.Client]


@pytest.fixture(scope="module")
def world(furnished: Proxy, upstream: Server) -> Iterator[tuple[str, Clients]]:
    """A server's name, and a client for each caller."""
    with furnished.client() as admin:
        server = servers.created(admin, url=upstream.url)
        grant = {"mcp_servers": [server["server_id"]]}
        keys = {
            "nobody": None,
            "unknown": "sk-nobody-knows-this",
            "viewer": furnished.add_key(user_role="proxy_admin_viewer"),
            "plain": furnished.add_key(),
            "granted": furnished.add_key(object_permission=grant),
            "team": furnished.add_key(team_id="team-at-the-relay", team_object_permission=grant),
            "admin": furnished.master_key,
        }
        clients = {caller: furnished.client(key, headers=ACCEPT) for caller, key in keys.items()}
        yield server["server_name"], clients
        for client in clients.values():
            client.close()
        admin.delete(servers.path(server["server_id"]))


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("operation", TABLE)
def test_the_matrix(world: tuple[str, Clients], operation: str, caller: str) -> None:
    name, clients = world
    method, _, path = operation.partition(" ")
    begins = method == "POST"
    message: dict[str, Any] | None = initialize() if begins else None
    session = {} if begins else {"Mcp-Session-Id": "routeiq.nobody-began-this"}
    at = path.replace("{server_name}", name)
    # Who comes without any key and needs no login is stock's to refuse, which redirects one path to another first.
    keyless = caller == "nobody"
    response = clients[caller].request(method, at, json=message, headers=session, follow_redirects=keyless)
    assert response.status_code == TABLE[operation][CALLERS.index(caller)], response.text

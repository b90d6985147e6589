"""Who may do what: {none, unknown key, viewer, no grant, grant, admin} x every route of logging in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import httpx
import pytest

from tests.mcp.oauth.conftest import Register
from tests.mcp.oauth.flow import Pair

pytestmark = pytest.mark.requirement("MCP-12", "MCP-13")

CALLERS: Final = ("nobody", "unknown", "viewer", "plain", "granted", "admin")

Statuses = tuple[int | None, ...]

STAGE: Final[Statuses] = (401, 401, 403, 403, 403, 422)
"""With a body that names nothing: who may stage learns what is missing."""
LOG_IN: Final[Statuses] = (401, 401, 403, 403, 400, 400)
"""Who may use the server, and an admin; without parameters they learn which is missing."""
REGISTER: Final[Statuses] = (401, 401, 403, 403, 201, 201)
STORE: Final[Statuses] = (401, 401, 403, 403, 422, 422)
OWN_LOGIN: Final[Statuses] = (401, 401, 403, 403, 200, 200)
OWN: Final[Statuses] = (401, 401, 200, 200, 200, 200)
"""A login of one's own may be dropped and listed, also when the server may no longer be used."""
BROWSER: Final[Statuses] = (400,) * 6
"""What matters is the state and the cookie, not a key."""
DOCUMENT: Final[Statuses] = (200,) * 6
CHALLENGE: Final[Statuses] = (401, None, None, None, None, None)
"""With anything that may be a key the address is stock's."""

_LOGIN: Final = "/v1/mcp/server/{server_id}/oauth-user-credential"

TABLE: Final[Mapping[str, Statuses]] = {
    "POST /v1/mcp/server/oauth/session": STAGE,
    "GET /v1/mcp/server/oauth/{server_id}/authorize": LOG_IN,
    "POST /v1/mcp/server/oauth/{server_id}/token": LOG_IN,
    "POST /v1/mcp/server/oauth/{server_id}/register": REGISTER,
    "GET /routeiq/oauth/callback": BROWSER,
    f"POST {_LOGIN}": STORE,
    f"DELETE {_LOGIN}": OWN,
    f"GET {_LOGIN}/status": OWN_LOGIN,
    "GET /v1/mcp/user-credentials": OWN,
    "GET /.well-known/oauth-protected-resource/mcp/{server_name}": DOCUMENT,
    "GET /.well-known/oauth-protected-resource/{server_name}/mcp": DOCUMENT,
    "GET /.well-known/oauth-authorization-server/mcp/{server_name}": DOCUMENT,
    **{
        f"{method} {path}": CHALLENGE
        for method in ("GET", "POST", "DELETE")
        for path in ("/mcp/{server_name}", "/mcp/{server_name}/", "/{server_name}/mcp", "/{server_name}/mcp/")
    },
}


@pytest.fixture
def clients(pair: Pair, register: Register) -> Iterator[tuple[str, Mapping[str, httpx.Client]]]:
    """A server that no key may use but those that were granted it, by name, and a client for each caller."""
    server = register(allow_all_keys=False)
    keys = {
        "nobody": None,
        "unknown": "sk-nobody-knows-this",
        "viewer": pair.add_key(user_role="proxy_admin_viewer"),
        "plain": pair.add_key(),
        "granted": pair.add_key(object_permission={"mcp_servers": [server]}),
        "admin": pair.a.master_key,
    }
    opened = {caller: pair.a.client(key, timeout=120) for caller, key in keys.items()}
    yield server, opened
    for client in opened.values():
        client.close()


@pytest.mark.parametrize("operation", TABLE)
def test_the_matrix(clients: tuple[str, Mapping[str, httpx.Client]], operation: str) -> None:
    server, known = clients
    method, _, path = operation.partition(" ")
    path = path.replace("{server_id}", server).replace("{server_name}", server)
    expected = {caller: status for caller, status in zip(CALLERS, TABLE[operation], strict=True) if status is not None}

    found = {
        caller: known[caller].request(method, path, json=None if method == "GET" else {}).status_code
        for caller in expected
    }

    assert found == expected

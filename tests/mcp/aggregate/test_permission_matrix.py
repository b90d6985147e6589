"""Who may do what: {none, unknown key, viewer, plain, granted, admin} x every route of the endpoint over all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Final

import httpx
import pytest

from tests.mcp.aggregate.world import ACCEPT, INITIALIZE, World

pytestmark = pytest.mark.requirement("MCP-21")

CALLERS: Final = ("nobody", "unknown", "viewer", "plain", "granted", "admin")
Statuses = tuple[int, int, int, int, int, int]

ANY_KEY: Final[Statuses] = (401, 401, 200, 200, 200, 200)
"""What each then sees is its own."""
OWN_SESSION: Final[Statuses] = (401, 401, 404, 404, 404, 404)
"""Of a session that is nobody's."""

TABLE: Final[Mapping[str, Statuses]] = {
    f"{method} {path}": statuses
    for path in ("/mcp", "/mcp/")
    for method, statuses in (("POST", ANY_KEY), ("GET", OWN_SESSION), ("DELETE", OWN_SESSION))
}


@pytest.fixture(scope="module")
def clients(world: World) -> Iterator[Mapping[str, httpx.Client]]:
    """A client for each caller."""
    keys = {
        "nobody": None,
        "unknown": "sk-nobody-knows-this",
        "viewer": world.proxy.add_key(user_role="proxy_admin_viewer"),
        "plain": world.proxy.add_key(),
        "granted": world.together("left").key(),
        "admin": world.proxy.master_key,
    }
    with ExitStack() as stack:
        yield {
            caller: stack.enter_context(world.proxy.client(key, headers=ACCEPT, follow_redirects=True))
            for caller, key in keys.items()
        }


@pytest.mark.parametrize("operation", TABLE)
def test_the_matrix(clients: Mapping[str, httpx.Client], operation: str) -> None:
    method, _, path = operation.partition(" ")
    sent = {"json": INITIALIZE} if method == "POST" else {"headers": {"Mcp-Session-Id": "routeiq.nobody"}}
    found = tuple(clients[caller].request(method, path, **sent).status_code for caller in CALLERS)
    assert found == TABLE[operation]

"""Who may steer the gateway: {none, unknown key, viewer, plain key, team's key, admin} x reload and routing routes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Final

import httpx
import pytest

from tests.support.proxy import Proxy

pytestmark = [pytest.mark.requirement("RLD-02", "RLD-03", "RTE-20"), pytest.mark.timeout(900)]

CALLERS: Final = ("nobody", "unknown", "viewer", "plain", "team", "admin")
Statuses = tuple[int, int, int, int, int, int]
"""One for each caller."""


def _admins(status: int) -> Statuses:
    return (401, 401, 403, 403, 403, status)


ANY_KEY: Final[Statuses] = (401, 401, 200, 200, 200, 200)

TABLE: Final[Mapping[str, Statuses]] = {
    "POST /config/reload": _admins(200),
    "POST /config/rollback": _admins(404),
    "GET /config/history": _admins(200),
    "GET /config/sync/status": ANY_KEY,
    "GET /hot-reload/status": ANY_KEY,
    "POST /router/reload": _admins(404),
    "POST /routeiq/routing/explain": _admins(404),
}

BODIES: Final[Mapping[str, Any]] = {
    "POST /config/reload": {"dry_run": True},
    "POST /config/rollback": {"generation": 10_000},
    "POST /router/reload": {"strategy": "nobody"},
    "POST /routeiq/routing/explain": {"model": "no-alias"},
}
"""Nothing that changes this proxy, which other tests share."""


@pytest.fixture(scope="module")
def clients(proxy: Proxy) -> Iterator[Mapping[str, httpx.Client]]:
    """A client for each caller."""
    with ExitStack() as stack:
        keys = {
            "nobody": None,
            "unknown": "sk-nobody-knows-this",
            "viewer": proxy.add_key(user_role="proxy_admin_viewer"),
            "plain": proxy.add_key(),
            "team": proxy.add_key(team_id="team-of-the-matrix"),
            "admin": proxy.master_key,
        }
        yield {name: stack.enter_context(proxy.client(key, timeout=300)) for name, key in keys.items()}


@pytest.mark.parametrize(
    ("operation", "caller", "status"),
    [
        pytest.param(operation, caller, status, id=f"{operation} by {caller}")
        for operation, statuses in TABLE.items()
        for caller, status in zip(CALLERS, statuses, strict=True)
    ],
)
def test_the_matrix(clients: Mapping[str, httpx.Client], operation: str, caller: str, status: int) -> None:
    method, _, path = operation.partition(" ")
    answer = clients[caller].request(method, path, json=BODIES.get(operation))
    assert answer.status_code == status, answer.text

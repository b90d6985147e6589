"""Who may do what: {none, unknown key, viewer, no grant, grant, team's grant, admin} x every route of agents.

The rows say what DESIGN 5 says; a route without a row fails (tests/test_routes.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.a2a import permissions
from tests.a2a import registry as agents
from tests.a2a.permissions import CALLERS, TABLE, World
from tests.conftest import BackendOf
from tests.support.proxy import Proxy

pytestmark = pytest.mark.requirement("A2A-13")

CELLS: Final = [
    (operation, by, caller, status)
    for operation, statuses in TABLE.items()
    for by in (("agent_id", "agent_name") if "{agent_id}" in operation else ("",))
    for caller, status in zip(CALLERS, statuses, strict=True)
]


@pytest.fixture(scope="module")
def world(proxy: Proxy, backend_of: BackendOf) -> Iterator[World]:
    with permissions.world(proxy, backend_of("both").url) as made:
        yield made


@pytest.mark.parametrize(("operation", "by", "caller", "status"), CELLS)
def test_the_matrix(world: World, operation: str, by: str, caller: str, status: int) -> None:
    uses_up = caller == "admin" and (operation.startswith("DELETE /v1/a") or operation.startswith("DELETE /a2a/agents"))
    agent = world.another() if uses_up or operation.endswith("make_public") else world.agent
    response = world.request(caller, operation, str(agent.get(by, "")))
    assert response.status_code == status, response.text
    if status == 401:
        assert response.json()["error"]["type"] == "auth_error"
    if status == 403:
        assert str(agent.get(by)) in response.text or "Only proxy admins can" in response.text
    if agent is not world.agent:
        world.drop(agent)
    assert world.clients["admin"].get(agents.path(world.agent["agent_id"])).status_code == 200, "it is still there"

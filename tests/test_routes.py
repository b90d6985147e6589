"""Every route that we own stands in a permission matrix, and nothing shadows it."""

from __future__ import annotations

import pytest

from tests.a2a import permissions as agents
from tests.mcp import test_permission_matrix as servers
from tests.mcp import test_relay_permissions as relay
from tests.mcp.aggregate import test_permission_matrix as together
from tests.mcp.oauth import test_permission_matrix as logins
from tests.operations import test_permission_matrix as operations
from tests.support.proxy import Proxy

pytestmark = pytest.mark.requirement("A2A-13")


def test_every_route_has_a_row_and_every_row_a_route(proxy: Proxy) -> None:
    with proxy.client() as admin:
        routes = admin.get("/router/info").json()["routes"]
    tables = (agents.TABLE, servers.TABLE, relay.TABLE, together.TABLE, logins.TABLE, operations.TABLE)
    assert sorted(row for table in tables for row in table) == sorted(routes["owned"])
    assert routes["shadowed"] == {}

"""The modes of LiteLLM's own MCP endpoint that ours leaves to it: still there, by these names."""

from __future__ import annotations

import inspect

import pytest
from litellm.proxy._experimental.mcp_server import operations
from litellm.proxy._types import LiteLLM_ObjectPermissionTable, UserAPIKeyAuth

from routeiq_plugin.host.auth import caller_of
from routeiq_plugin.host.mcp_modes import searches_tools

pytestmark = pytest.mark.requirement("MCP-21")


@pytest.mark.parametrize("searches", [True, False])
def test_a_key_that_searches_for_tools_is_known(searches: bool) -> None:
    permission = LiteLLM_ObjectPermissionTable(object_permission_id="p", mcp_tool_search_enabled=searches)
    assert searches_tools(caller_of(UserAPIKeyAuth(object_permission=permission))) is searches


def test_a_key_without_permissions_searches_for_nothing() -> None:
    assert not searches_tools(caller_of(UserAPIKeyAuth()))


def test_litellm_still_knows_the_setting() -> None:
    assert "mcp_require_explicit_server_scope" in inspect.getsource(operations.raise_if_unscoped_aggregate_request)

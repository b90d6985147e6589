"""Servers that want a login of the user's own, at the endpoint over all servers."""

from __future__ import annotations

from typing import Any

import pytest
from mcp import MCPError

from tests.mcp import servers
from tests.mcp.oauth.flow import Client, Pair
from tests.mcp.relayed import Together

pytestmark = pytest.mark.requirement("MCP-21", "MCP-22")


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_a_server_that_wants_a_login_is_left_out_until_there_is_one(
    pair: Pair, server: str, client: Client, mode: Any
) -> None:
    with servers.server(name="open") as backend, pair.a.client() as admin:
        beside = servers.created(admin, url=backend.url, allow_all_keys=True)
        together = Together(pair.a, beside)
        async with together.connected(mode, client.key) as before:
            names = {tool.name for tool in (await before.list_tools()).tools}
            assert f"{beside['alias']}-echo" in names
            assert not any(each.startswith(f"{server}-") for each in names)
            with pytest.raises(MCPError, match="oauth-protected-resource") as refused:
                await before.call_tool(f"{server}-whoami", {})
            assert server in refused.value.error.data["resource_metadata"]
        client.login(server)
        async with together.connected(mode, client.key) as after:
            assert f"{server}-whoami" in {tool.name for tool in (await after.list_tools()).tools}
            said = await after.call_tool(f"{server}-whoami", {})
            assert getattr(said.content[0], "text", None) == "alice"
        admin.delete(servers.path(beside["server_id"]))

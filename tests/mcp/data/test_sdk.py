"""The official MCP client against a server that was registered here, on the MCP endpoint of that server."""

from __future__ import annotations

import httpx
import httpx2
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from tests.mcp.data.calling import call, result
from tests.mcp.data.conftest import HTTP, Register, Shared
from tests.support.mcp_backends import Speaks
from tests.support.proxy import Proxy


@pytest.mark.requirement("SDK-06")
@pytest.mark.parametrize("speaks", HTTP)
async def test_the_official_client_calls_what_was_registered(
    calling_proxy: Proxy, client: httpx.Client, registered: Register, backend_that: Shared, speaks: Speaks
) -> None:
    server = registered(backend_that(speaks), "official")
    headers = {"Authorization": f"Bearer {calling_proxy.master_key}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False) as http,
        streamable_http_client(f"{calling_proxy.base_url}/mcp/{server.name}", http_client=http) as (read, write),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        tools = {tool.name for tool in (await session.list_tools()).tools}
        assert "add" in tools
        for name in ("add", "official-add"):
            assert (await session.call_tool(name, {"a": 1, "b": 2})).structured_content == {"result": 3}
    assert result(call(client, "official-add", {"a": 1, "b": 2})) == 3

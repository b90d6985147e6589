"""The MCP registry as an administrator's client uses it, and small real servers to register."""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import httpx
from mcp import Client, MCPError

from tests.support import processes
from tests.support.proxy import Proxy

NOWHERE: Final = "http://127.0.0.1:9/mcp"
"""An address that nobody answers; discard's port."""
MARKER: Final = "REDACTED_BY_LITELM"
"""LiteLLM's own spelling."""
START_SECONDS: Final = 30.0

KEYS: Final = frozenset(
    {
        *(
            "server_id",
            "is_config",
            "server_name",
            "alias",
            "description",
            "url",
            "spec_path",
            "transport",
            "auth_type",
        ),
        *("credentials", "instructions", "created_at", "created_by", "updated_at", "updated_by", "teams"),
        *("mcp_access_groups", "allowed_tools", "tool_name_to_display_name", "tool_name_to_description"),
        *("pinned_tools", "extra_headers", "mcp_info", "static_headers", "env_vars", "status", "last_health_check"),
        *("health_check_error", "command", "args", "env", "issuer", "authorization_url", "token_url"),
        *("registration_url", "oauth2_flow", "token_exchange_endpoint", "audience", "subject_token_type"),
        *("token_exchange_profile", "allow_all_keys", "available_on_public_internet", "delegate_auth_to_upstream"),
        *("oauth_passthrough", "dcr_bridge", "per_server_oauth_discovery", "is_byok", "byok_description"),
        *("byok_api_key_help_url", "has_user_credential", "connected_app_reachable", "source_url", "timeout"),
        *("max_concurrent_requests", "rpm", "approval_status", "submitted_by", "submitted_at", "reviewed_at"),
        "review_notes",
    }
)
"""Every key of LiteLLM's `LiteLLM_MCPServerTable` at 1.108.7; a later version may add some."""

Transport = Literal["http", "sse"]
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    port: int
    process: subprocess.Popen[bytes] = field(repr=False)

    def seen(self) -> list[dict[str, Any]]:
        """Every request since it started: method, path and headers in lower case."""
        with httpx.Client(trust_env=False) as client:
            found: list[dict[str, Any]] = client.get(f"http://127.0.0.1:{self.port}/_seen").json()
            return found


@contextmanager
def server(
    transport: Transport = "http",
    *,
    name: str = "echo",
    require: Mapping[str, str] | None = None,
    status: int | None = None,
) -> Iterator[Server]:
    """Run a server with the tools echo and add; it refuses requests without the required headers, or all of them."""
    port = processes.free_port()
    options = {"name": name, "port": port, "transport": transport, "require": require, "status": status}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.mcp.echo_server", json.dumps(options)],
        cwd=processes.REPOSITORY,
        env=processes.clean_environment(),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    running = Server(f"http://127.0.0.1:{port}/{'sse' if transport == 'sse' else 'mcp'}", port, process)
    try:
        processes.wait_until(lambda: _listens(running), START_SECONDS, "start of an MCP server")
        yield running
    finally:
        processes.kill_group(process)


@contextmanager
def module_server(module: str, *arguments: str, python: Path = Path(sys.executable)) -> Iterator[str]:
    """Run `python -m MODULE PORT ARGUMENTS` until the end of the block; gives the URL of its MCP endpoint."""
    port = processes.free_port()
    process = subprocess.Popen(
        [str(python), "-m", module, str(port), *arguments],
        cwd=processes.REPOSITORY,
        env=processes.clean_environment(),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}/mcp"
    try:
        processes.wait_until(lambda: _answers(url, process), START_SECONDS, f"start of {module}")
        yield url
    finally:
        processes.kill_group(process)


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"the MCP server ended with {process.returncode}")
    try:
        httpx.get(url, trust_env=False)
    except httpx.TransportError:
        return False
    return True


def _listens(running: Server) -> bool:
    if running.process.poll() is not None:
        raise RuntimeError(f"the MCP server ended with {running.process.returncode}")
    try:
        running.seen()
    except httpx.TransportError:
        return False
    return True


def body(name: str | None = None, url: str | None = NOWHERE, **fields: Any) -> dict[str, Any]:
    """Build the body of a registration; the name is a new one unless given."""
    return {"server_name": name or unique(), "url": url, "transport": "http", **fields}


def unique(prefix: str = "server") -> str:
    """Invent a name that no other test uses; LiteLLM takes no hyphens."""
    return f"{prefix}_{secrets.token_hex(5)}"


def path(reference: str, base: str = "/v1/mcp/server") -> str:
    """Address a server by id or name."""
    return f"{base}/{reference}"


def created(client: httpx.Client, name: str | None = None, url: str | None = NOWHERE, **fields: Any) -> dict[str, Any]:
    """Register a server; the test removes it."""
    response = client.post("/v1/mcp/server", json=body(name, url, **fields))
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


def listed(client: httpx.Client, base: str = "/v1/mcp/server") -> dict[str, dict[str, Any]]:
    """List servers by id."""
    response = client.get(base)
    assert response.status_code == 200, response.text
    return {each["server_id"]: each for each in response.json()}


def rest_tools(client: httpx.Client, server_id: str | None = None) -> set[str]:
    """List tools by LiteLLM's own REST route, as `alias-tool`."""
    query = {} if server_id is None else {"server_id": server_id}
    response = client.get("/mcp-rest/tools/list", params=query)
    assert response.status_code == 200, response.text
    return {f"{each['mcp_info']['alias']}-{each['name']}" for each in response.json()["tools"]}


def mcp_tools(proxy: Proxy, key: str | None = None, at: str = "/mcp/") -> set[str]:
    """List tools at the gateway's MCP endpoint with the official client."""

    async def use(client: Client) -> set[str]:
        return {tool.name for tool in (await client.list_tools()).tools}

    return asyncio.run(_with_client(proxy, key or proxy.master_key, at, use))


def mcp_call(proxy: Proxy, name: str, arguments: Mapping[str, Any], key: str | None = None, *, at: str) -> Any:
    """Call a tool at an MCP endpoint with the official client; raises `MCPError`."""

    async def use(client: Client) -> Any:
        try:
            return await client.call_tool(name, dict(arguments))
        except MCPError as refused:
            return refused  # raised in here it would come out inside of groups

    answer = asyncio.run(_with_client(proxy, key or proxy.master_key, at, use))
    if isinstance(answer, MCPError):
        raise answer
    return answer


async def _with_client(proxy: Proxy, key: str, at: str, use: Callable[[Client], Awaitable[Answer]]) -> Answer:
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=60) as http:
        transport = streamable_http_client(proxy.base_url + at, http_client=http)
        async with Client(transport, mode="legacy") as client:
            return await use(client)

"""The JSON of the server routes: what goes out of a server, and what a request body names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routeiq_plugin.host import mcp_servers as host_servers
from routeiq_plugin.host.auth import Caller
from routeiq_plugin.host.mcp_servers import Fields
from routeiq_plugin.mcp.integrity import Flags
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.store.mcp_health import McpCondition

UNKNOWN = "unknown"
OURS = "routeiq"
"""Key of `mcp_info` under which we tell what LiteLLM has no word for."""


def rendered(
    server: Server,
    caller: Caller,
    condition: McpCondition | None,
    *,
    published: tuple[str, ...],
    flags: Flags,
    include_reachability: bool = False,
) -> Fields:
    """Render a server in LiteLLM's `LiteLLM_MCPServerTable` as this caller may see it."""
    info = _info(server, published, flags if caller.has_admin_view else None)
    fields = {**server.fields, **info, **_health(condition, include_reachability)}
    fields = host_servers.redacted(fields)
    if caller.is_restricted:
        fields = host_servers.for_restricted(fields)
    elif not caller.is_admin:
        fields = host_servers.for_everyone(fields)
    return host_servers.answer(fields)


def _info(server: Server, published: tuple[str, ...], flags: Flags | None) -> Fields:
    """Tell in `mcp_info` whether the hub shows it, as LiteLLM does, and to admins how its tools compare.

    What was registered there does not count.
    """
    is_public = host_servers.is_public(server.server_id, server.fields, published)
    explicit = is_public and server.server_id in published
    info = {**(server.fields.get("mcp_info") or {}), "is_public": is_public, "is_public_explicit": explicit}
    info.pop(OURS, None)
    if flags is not None and server.is_ours:
        info[OURS] = flags.rendered()
    return {"mcp_info": info}


def _health(condition: McpCondition | None, include_reachability: bool) -> Fields:
    if condition is None:
        return {"status": UNKNOWN, "last_health_check": None, "health_check_error": None}
    return {
        "status": status_of(condition, include_reachability),
        "last_health_check": condition.checked_at,
        "health_check_error": condition.error,
    }


def status_of(condition: McpCondition, include_reachability: bool) -> str:
    """Return LiteLLM's word; `reachable` (alive, and its credentials unchecked) is told to those who ask for it."""
    return UNKNOWN if condition.status == "reachable" and not include_reachability else condition.status


def health_entry(server: Server, condition: McpCondition, include_reachability: bool) -> Fields:
    """Render one entry of the health list: LiteLLM's two keys, the latency and the time."""
    return {
        "server_id": server.server_id,
        "status": status_of(condition, include_reachability),
        "latency_ms": None if condition.latency_ms is None else round(condition.latency_ms, 1),
        "last_health_check": condition.checked_at.isoformat(),
    }


def changed(body: Any, server_id: str | None = None) -> tuple[str, Fields]:
    """Validate the body of PUT; returns which server it means, and what it names.

    `server_id` comes from the path, and is what the body means where it says nothing. In an object that was read from
    us and is written back (it holds `updated_at`), `credentials` that are null stand for those that were not shown.
    """
    if isinstance(body, Mapping) and server_id is not None:
        body = {**body, "server_id": server_id}
    change = host_servers.parse_update(body)
    if body.get("updated_at") is not None and change.get("credentials", ...) is None:
        del change["credentials"]
    return str(change["server_id"]), change

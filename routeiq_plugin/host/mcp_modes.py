"""What LiteLLM's own aggregate endpoint does for some keys and settings, and ours leaves to it."""

from __future__ import annotations

from routeiq_plugin.host.auth import Caller
from routeiq_plugin.host.process import proxy_server


def searches_tools(caller: Caller) -> bool:
    """Tell whether the key finds tools by searching: LiteLLM lists its own search tools instead of the servers'."""
    permission = getattr(caller.identity, "object_permission", None)
    return bool(getattr(permission, "mcp_tool_search_enabled", False))


def requires_named_servers() -> bool:
    """Tell whether the operator refuses requests to all servers at once (`mcp_require_explicit_server_scope`)."""
    return bool(proxy_server().general_settings.get("mcp_require_explicit_server_scope"))

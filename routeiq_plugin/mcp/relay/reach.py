"""Which servers messages are carried to one by one; others are called over the pool of sessions, or by LiteLLM."""

from __future__ import annotations

from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.offers import REFUSED, is_delegated


def is_carried(server: Server) -> bool:
    """Tell whether it is ours, speaks streamable HTTP, and is shown no credential that LiteLLM works out."""
    if not server.is_ours or server.transport != "http" or not server.url or is_delegated(server):
        return False
    passes = server.fields.get("delegate_auth_to_upstream") or server.fields.get("oauth_passthrough")
    return not passes and server.auth_type not in REFUSED

"""LiteLLM's gate before processes: an environment variable that opens it, and a list of commands."""

from __future__ import annotations

import os

from litellm.constants import MCP_STDIO_ALLOWED_COMMANDS

from routeiq_plugin.errors import Forbidden

ENABLED: str = "LITELLM_ENABLE_MCP_STDIO"
"""LiteLLM's own switch; it reads it anew each time, and so do we."""


def require_stdio(command: str, *, enabled: bool) -> None:
    """Raise `Forbidden` unless our setting, LiteLLM's switch and LiteLLM's list all allow the command."""
    if not enabled:
        raise Forbidden("stdio MCP servers are off: set `routeiq.mcp.stdio: true` to allow them")
    if os.environ.get(ENABLED, "").strip().lower() != "true":
        raise Forbidden(f"stdio MCP servers are disabled on this proxy. Set {ENABLED}=true on the proxy and restart")
    if os.path.basename(command) not in MCP_STDIO_ALLOWED_COMMANDS:
        raise Forbidden("the command of this MCP server is not on LiteLLM's list of stdio commands")

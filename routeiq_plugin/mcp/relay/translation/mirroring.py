"""Arguments of a tool that servers want in headers as well (SEP-2243)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp.shared.inbound import find_invalid_x_mcp_header, mcp_param_headers, x_mcp_header_map


def mirrored(message: Mapping[str, Any], tool: Any) -> dict[str, str]:
    """Return the headers that repeat arguments of a call, as the SDK's `Tool` declares them; names in lower case."""
    if tool is None or find_invalid_x_mcp_header(tool.input_schema) is not None:
        return {}
    arguments = (message.get("params") or {}).get("arguments") or {}
    headers = mcp_param_headers(x_mcp_header_map(tool.input_schema), arguments)
    return {name.lower(): value for name, value in headers.items()}

"""What requests of 2026-07-28 carry in place of a session; loaded when first needed, with the SDK.

Source: SEP-2575 (stateless) and SEP-2243 (headers).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp.shared.inbound import (
    NAME_BEARING_METHODS,
    encode_header_value,
    find_invalid_x_mcp_header,
    mcp_param_headers,
    x_mcp_header_map,
)

from routeiq_plugin.mcp.http.facts import (
    CAPABILITIES_META,
    INFO_META,
    LEVEL_META,
    STATELESS,
    VERSION_META,
    Facts,
    without_sessions,
)

Json = dict[str, Any]


def enveloped(message: Json, facts: Facts) -> Json:
    """Return a request with what the client says of itself."""
    params = dict(message.get("params") or {})
    meta = dict(params.get("_meta") or {})
    meta |= {VERSION_META: STATELESS, CAPABILITIES_META: without_sessions(facts.capabilities)}
    meta |= {INFO_META: facts.info} if facts.info else {}
    meta |= {LEVEL_META: facts.level} if facts.level else {}
    return {**message, "params": {**params, "_meta": meta}}


def routing_headers(message: Json) -> dict[str, str]:
    """Return the headers that repeat parts of such a request; arguments of tools are not among them."""
    method = str(message["method"])
    headers = {"mcp-protocol-version": STATELESS, "mcp-method": encode_header_value(method)}
    named = (message.get("params") or {}).get(NAME_BEARING_METHODS.get(method, ""))
    return headers | ({"mcp-name": encode_header_value(named)} if isinstance(named, str) else {})


def mirrored(message: Mapping[str, Any], input_schema: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that repeat arguments of a call, as its tool's schema wants them; names in lower case."""
    schema = dict(input_schema)
    if find_invalid_x_mcp_header(schema) is not None:
        return {}
    arguments = (message.get("params") or {}).get("arguments") or {}
    headers = mcp_param_headers(x_mcp_header_map(schema), arguments)
    return {name.lower(): value for name, value in headers.items()}

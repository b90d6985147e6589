"""What a server of 2026-07-28 asks of a request before it answers; here the gateway stands in for one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mcp.shared.inbound import (
    InboundLadderRejection,
    classify_inbound_request,
    find_duplicated_routing_header,
    validate_mcp_param_headers,
)
from mcp_types.methods import CLIENT_REQUESTS, SPEC_CLIENT_METHODS

from routeiq_plugin.mcp.http.facts import STATELESS

METHOD_NOT_FOUND: Final = -32601

Json = dict[str, Any]


def rejection(message: Json, headers: Mapping[str, str]) -> Json | None:
    """Return the answer to a request that cannot be served; None for one that can. Names of headers in lower case."""
    duplicated = find_duplicated_routing_header(headers.items())
    found = classify_inbound_request(message, headers=headers)
    if isinstance(found, InboundLadderRejection):
        return _refused(message, found)
    if duplicated is not None:
        return _error(message, -32020, f"the header {duplicated} comes twice")
    method = message["method"]
    if method in SPEC_CLIENT_METHODS and (method, STATELESS) not in CLIENT_REQUESTS:
        return _error(message, METHOD_NOT_FOUND, f"Method not found: {method}")
    return None


def mismatch(message: Json, tool: Any, headers: Mapping[str, str]) -> Json | None:
    """Return the answer to a call whose headers contradict its arguments (SEP-2243); None for any other."""
    if tool is None:
        return None
    arguments = (message.get("params") or {}).get("arguments") or {}
    found = validate_mcp_param_headers(tool.input_schema, arguments, headers)
    return None if found is None else _refused(message, found)


def _refused(message: Json, found: InboundLadderRejection) -> Json:
    return _error(message, found.code, found.message, found.data)


def _error(message: Json, code: int, text: str, data: Any = None) -> Json:
    error = {"code": code, "message": text} | ({} if data is None else {"data": data})
    return {"jsonrpc": "2.0", "id": message["id"], "error": error}

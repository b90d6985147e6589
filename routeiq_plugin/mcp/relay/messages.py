"""The one message of a request, read so that no server can read another out of the same bytes.

The client's own bytes are passed on. Parsers differ in what they make of a key that comes twice (first or last wins) or
in another case (Go's takes it), so what would be judged as one call could be run as another.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from routeiq_plugin.errors import HeaderMismatch, InvalidRequest
from routeiq_plugin.host.requests import json_body

_MEMBERS: Final = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_JUDGED: Final = frozenset({"name", "arguments"})
_CALL: Final = "tools/call"

Json = dict[str, Any]


def require_message(body: bytes, headers: Mapping[str, str]) -> Json:
    """Read one JSON-RPC message; raises `MalformedBody`, and `InvalidRequest` for a batch or what reads in two ways."""
    json_body(body)
    try:
        message = json.loads(body.decode("utf-8"), object_pairs_hook=_members)
    except ValueError:
        raise InvalidRequest("the body must be one JSON-RPC message in UTF-8, without a key that comes twice") from None
    if not isinstance(message, dict):
        raise InvalidRequest("batches are not accepted: send one JSON-RPC message per request")
    if unknown := sorted(message.keys() - _MEMBERS):
        raise InvalidRequest(f"not a member of a JSON-RPC message: {unknown[0]!r}")
    if message.get("method") == _CALL:
        _require_call(message.get("params"), headers)
    elif headers.get("mcp-method") == _CALL:
        raise HeaderMismatch("the header Mcp-Method names another method than the message")
    return message


def require_shape(message: Json) -> None:
    """Require what the protocol says of a message's members, for whoever has to read them; raises `InvalidRequest`."""
    if not isinstance(message.get("method", ""), str):
        raise InvalidRequest("method must be text")
    if isinstance(message.get("id"), dict | list | bool):
        raise InvalidRequest("id must be text or a number")
    params = message.get("params")
    if params is not None and not isinstance(params, dict):
        raise InvalidRequest("params must be an object")
    if params is not None and not isinstance(params.get("_meta"), dict | None):
        raise InvalidRequest("params._meta must be an object")


def _require_call(params: Any, headers: Mapping[str, str]) -> None:
    if not isinstance(params, dict):
        raise InvalidRequest("params must be an object")
    twins = sorted(each for each in params if each not in _JUDGED and each.casefold() in _JUDGED)
    if twins:
        raise InvalidRequest(f"params.{twins[0]}: write {twins[0].casefold()!r}")
    if headers.get("mcp-method", _CALL) != _CALL:
        raise HeaderMismatch("the header Mcp-Method names another method than the message")
    if headers.get("mcp-name", params.get("name")) != params.get("name"):
        raise HeaderMismatch("the header Mcp-Name names another tool than the message")


def _members(pairs: Iterable[tuple[str, Any]]) -> Json:
    found: Json = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(name)
        found[name] = value
    return found

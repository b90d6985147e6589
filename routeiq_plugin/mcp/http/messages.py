"""What servers say, as JSON-RPC: read, told apart, and answered where nobody else does."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn, TypeGuard

from routeiq_plugin.errors import BackendError
from routeiq_plugin.mcp.failures import METHOD_NOT_FOUND

Json = dict[str, Any]


class Malformed(BackendError):
    """The server says something that it must not."""

    def __init__(self) -> None:
        super().__init__("the MCP server's answer is not what the protocol says it must be")


def read(data: bytes) -> Json | None:
    """Read what a server says; None for what is no message that anybody could do anything with.

    Raises `ValueError` for what is no JSON, and `Malformed` for an answer that is none, or that no answer could repeat.
    """
    try:
        message = json.loads(data, parse_constant=_refused_number, parse_float=_finite)
    except RecursionError:
        raise Malformed from None
    if not isinstance(message, dict):
        return None
    if "method" in message:
        return _asked(message) if is_asked(message) else None
    return _sound(message) if "result" in message or "error" in message else None


def is_answer(message: Any) -> bool:
    """Tell an answer from requests and notifications."""
    return isinstance(message, dict) and "method" not in message and ("result" in message or "error" in message)


def unheard(request: Json) -> Json:
    """Return the answer to what a server asks where nobody is there to be asked; a ping is answered."""
    answer: Json = {"jsonrpc": "2.0", "id": request["id"]}
    if request["method"] == "ping":
        return {**answer, "result": {}}
    return {**answer, "error": {"code": METHOD_NOT_FOUND, "message": "Method not found"}}


def cancelled(request_id: Any, reason: str = "the client waits no more") -> Json:
    """Return what tells a server with sessions that nobody waits for an answer any more."""
    params = {"requestId": request_id, "reason": reason}
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}


def is_asked(message: Any) -> bool:
    """Tell whether something has the shape of a request or notification."""
    if not isinstance(message, dict) or not isinstance(message.get("method"), str):
        return False
    params = message.get("params")
    return params is None or (isinstance(params, dict) and isinstance(params.get("_meta"), dict | None))


def is_error(error: Any) -> TypeGuard[Json]:
    """Tell whether something has the shape of an error of JSON-RPC."""
    return isinstance(error, dict) and type(error.get("code")) is int and isinstance(error.get("message"), str)


def _asked(message: Json) -> Json:
    """Take the id from what has none: some servers write it down as null."""
    return {name: value for name, value in message.items() if name != "id"} if message.get("id") is None else message


def _sound(answer: Json) -> Json:
    """Require the shape of an answer; servers that send `"error": null` beside a result mean the result."""
    error = answer.get("error")
    if error is None and isinstance(answer.get("result"), dict):
        return {name: value for name, value in answer.items() if name != "error"}
    if not is_error(error):
        raise Malformed
    return answer


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refused_number(digits)


def _refused_number(_digits: str) -> NoReturn:
    raise Malformed

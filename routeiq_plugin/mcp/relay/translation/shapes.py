"""What a message of one generation looks like in the other; both as JSON, with all that is common left as it is.

Source: the schemas of both, SEP-2322 (input required), SEP-2575 (stateless) and SEP-2549 (caching). Loaded when
first needed, with the SDK's types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mcp_types.methods import CACHEABLE_METHODS
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from routeiq_plugin.mcp.http.facts import (
    CAPABILITIES_META,
    INFO_META,
    LATEST_WITH_SESSIONS,
    LEVEL_META,
    SERVER_INFO_META,
    SUBSCRIPTION_META,
    VERSION_META,
    Facts,
    without_sessions,
)
from routeiq_plugin.mcp.http.messages import Malformed

COMPLETE: Final = "complete"
INPUT_REQUIRED: Final = "input_required"

_OF_REQUESTS: Final = (VERSION_META, INFO_META, CAPABILITIES_META, LEVEL_META)
_OF_STATELESS_RESULTS: Final = ("resultType", "ttlMs", "cacheScope")
_OF_ROUNDS: Final = ("inputResponses", "requestState")
_ELICITATION: Final = "elicitation/create"
_RESOURCE_NOT_FOUND: Final = -32002
_INVALID_PARAMS: Final = -32602

Json = dict[str, Any]


def require_introduction(said: Any) -> None:
    """Require the parts that are read of what a server says of itself; raises `Malformed`."""
    able = said.get("capabilities")
    is_sound = isinstance(able, dict | None) and all(isinstance(each, dict | None) for each in (able or {}).values())
    if not is_sound or not isinstance(said.get("_meta"), dict | None):
        raise Malformed


# For a server without sessions


def agreed(asked_version: str) -> str:
    """Return the version of a session: the client's, or the latest that has sessions."""
    return asked_version if asked_version in HANDSHAKE_PROTOCOL_VERSIONS else LATEST_WITH_SESSIONS


def initialized(discovered: Mapping[str, Any], asked_version: str) -> Json:
    """Return what a server without sessions says of itself as a result of `initialize`."""
    meta = discovered.get("_meta") or {}
    said: Json = {
        "protocolVersion": agreed(asked_version),
        "capabilities": discovered.get("capabilities") or {},
        "serverInfo": meta.get(SERVER_INFO_META) or {"name": "mcp server", "version": ""},
    }
    return said | ({"instructions": discovered["instructions"]} if discovered.get("instructions") else {})


def plain(answer: Json) -> Json:
    """Return an answer without what only 2026-07-28 knows."""
    result = answer.get("result")
    if not isinstance(result, dict):
        return answer
    return {**answer, "result": {name: value for name, value in result.items() if name not in _OF_STATELESS_RESULTS}}


def listening(capabilities: Mapping[str, Any], uris: list[str]) -> Json:
    """Return what a client with a session would hear of, as a filter of `subscriptions/listen`."""
    kinds = {"tools": "toolsListChanged", "prompts": "promptsListChanged", "resources": "resourcesListChanged"}
    wanted: Json = {
        filtered: True for kind, filtered in kinds.items() if (capabilities.get(kind) or {}).get("listChanged")
    }
    return wanted | ({"resourceSubscriptions": uris} if uris else {})


def question(request: Mapping[str, Any], own_id: str) -> Json:
    """Return what a server asks in its answer as a request to the client."""
    asked: Json = {"jsonrpc": "2.0", "id": own_id, **request}
    params = request.get("params") or {}
    if request.get("method") == _ELICITATION and params.get("mode") == "url":
        asked["params"] = {"elicitationId": own_id, **params}
    return asked


def unsubscribed(notification: Json) -> Json:
    """Return what came on a subscription without its id."""
    params = dict(notification.get("params") or {})
    meta = {name: value for name, value in (params.pop("_meta", None) or {}).items() if name != SUBSCRIPTION_META}
    params |= {"_meta": meta} if meta else {}
    told = {name: value for name, value in notification.items() if name != "params"}
    return told | ({"params": params} if params else {})


# For a server with sessions


def bare(message: Json) -> Json:
    """Return a request without what sessions say once."""
    params = {name: value for name, value in (message.get("params") or {}).items() if name not in _OF_ROUNDS}
    meta = {name: value for name, value in (params.pop("_meta", None) or {}).items() if name not in _OF_REQUESTS}
    params |= {"_meta": meta} if meta else {}
    told = {name: value for name, value in message.items() if name != "params"}
    return told | ({"params": params} if params else {})


def initialize(facts: Facts) -> Json:
    """Return the request that begins a session for a client that has none."""
    params = {
        "protocolVersion": LATEST_WITH_SESSIONS,
        "capabilities": without_sessions(facts.capabilities),
        "clientInfo": facts.info or {"name": "mcp client", "version": ""},
    }
    return {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}


def discovered(said: Mapping[str, Any]) -> Json:
    """Return what a server with sessions says of itself as a result of `server/discover`."""
    found: Json = {
        "supportedVersions": list(MODERN_PROTOCOL_VERSIONS),
        "capabilities": without_sessions(said.get("capabilities") or {}),
        "_meta": {SERVER_INFO_META: said.get("serverInfo") or {}},
    }
    return found | ({"instructions": said["instructions"]} if said.get("instructions") else {})


def asked(request: Json) -> Json:
    """Return a server's request to the client as its answer asks it."""
    params = dict(request.get("params") or {})
    if request.get("method") == _ELICITATION:
        params.pop("elicitationId", None)
    return {"method": request["method"], "params": params}


def completed(method: str, answer: Json) -> Json:
    """Return an answer with what 2026-07-28 asks of it, where the server has not said it."""
    error, result = answer.get("error"), answer.get("result")
    if isinstance(error, dict) and error.get("code") == _RESOURCE_NOT_FOUND:
        return {**answer, "error": {**error, "code": _INVALID_PARAMS}}
    if not isinstance(result, dict):
        return answer
    caching: Json = {"ttlMs": 0, "cacheScope": "private"} if method in CACHEABLE_METHODS else {}
    return {**answer, "result": {"resultType": COMPLETE, **caching, **result}}


def subscribed(notification: Json, subscription: Any) -> Json:
    """Return what a server says by itself as it comes on a subscription."""
    params = dict(notification.get("params") or {})
    meta = {**(params.get("_meta") or {}), SUBSCRIPTION_META: subscription}
    return {**notification, "params": {**params, "_meta": meta}}


def subscribed_result(subscription: Any) -> Json:
    """Return the answer that ends a subscription in order."""
    result = {"resultType": COMPLETE, "_meta": {SUBSCRIPTION_META: subscription}}
    return {"jsonrpc": "2.0", "id": subscription, "result": result}

"""The paths of A2A's HTTP+JSON binding, as the specification names them, each with the version that has it."""

from __future__ import annotations

from typing import Final

_BOTH: Final = (
    ("POST", "/message:send"),
    ("POST", "/message:stream"),
    ("GET", "/tasks/{id}"),
    ("POST", "/tasks/{id}:cancel"),
    ("GET", "/tasks/{id}:subscribe"),
    ("POST", "/tasks/{id}:subscribe"),
    ("POST", "/tasks/{id}/pushNotificationConfigs"),
    ("GET", "/tasks/{id}/pushNotificationConfigs"),
    ("GET", "/tasks/{id}/pushNotificationConfigs/{push_id}"),
)
MODERN: Final = (
    *_BOTH,
    ("GET", "/tasks"),
    ("DELETE", "/tasks/{id}/pushNotificationConfigs/{push_id}"),
    ("GET", "/extendedAgentCard"),
)
LEGACY: Final = (*((verb, f"/v1{path}") for verb, path in _BOTH), ("GET", "/v1/card"))
ROUTES: Final = frozenset(f"{verb} /a2a/{{agent_id}}{path}" for verb, path in (*MODERN, *LEGACY))
"""As `/router/info` lists them."""

CALLBACK: Final = "POST /routeiq/push/{token}"
"""Where agents call back."""

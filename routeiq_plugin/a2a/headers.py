"""The headers that a backend sees: the admin's, those a caller may pass on, and never the caller's key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from starlette.datastructures import Headers

from routeiq_plugin.a2a.model import Agent
from routeiq_plugin.errors import InvalidRequest
from routeiq_plugin.host.headers import VALUES, is_name, is_value
from routeiq_plugin.outbound.headers import CONNECTION, CREDENTIALS

OUTBOUND: Final = "routeiq.a2a.outbound"
"""Key of the ASGI scope under which the route leaves a call's composed headers for the relay."""

PASSED_ON: Final = ("a2a-extensions", "x-a2a-extensions", "traceparent", "tracestate")
"""Part of the protocol, or of tracing: every backend gets them."""

OURS: Final = CONNECTION | {"a2a-version"}
"""What describes our own request to the backend."""


def repeated(received: Headers) -> dict[str, str]:
    """Join the lines of a protocol header that came in several (RFC 9110 5.3)."""
    lines = ((name, received.getlist(name)) for name in PASSED_ON)
    return {name: ", ".join(values) for name, values in lines if len(values) > 1}


def outbound(agent: Agent, incoming: Mapping[str, str], *, user_id: str | None, team_id: str | None) -> dict[str, str]:
    """Compose a call's headers; `incoming` has lower-case names, and later sources win.

    Sources in order: protocol headers, `extra_headers` that the agent allows, LiteLLM's convention
    `x-a2a-<id or name>-<header>`, the bearer token of `litellm_params.api_key`, `static_headers`, LiteLLM's own.
    Raises `InvalidRequest` for a header that cannot be sent.
    """
    composed: dict[str, str] = {}
    for name, value in (
        *_passed_on(incoming),
        *_allowed(agent, incoming),
        *_addressed(agent, incoming),
        *_token(agent),
        *(agent.fields.get("static_headers") or {}).items(),
        *_litellm(agent, incoming, user_id, team_id),
    ):
        if not is_name(name) or not is_value(str(value)):
            raise InvalidRequest(f"header {name!r} cannot be sent to the agent. {VALUES}")
        composed = {key: kept for key, kept in composed.items() if key.lower() != name.lower()}
        composed[name] = str(value)
    return composed


def _passed_on(incoming: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((name, incoming[name]) for name in PASSED_ON if name in incoming)


def _allowed(agent: Agent, incoming: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name in agent.fields.get("extra_headers") or ():
        lowered = str(name).lower()
        if lowered in incoming and _may_pass(lowered):
            yield str(name), incoming[lowered]


def _addressed(agent: Agent, incoming: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for alias in (agent.agent_id.lower(), agent.name.lower()):
        prefix = f"x-a2a-{alias}-"
        for name, value in incoming.items():
            # Credentials too: what a caller addresses to the agent by name is meant for it.
            if name.startswith(prefix) and name != prefix and _may_be_set(name.removeprefix(prefix)):
                yield name.removeprefix(prefix), value


def _may_pass(name: str) -> bool:
    return _spelled(name) not in CREDENTIALS and _may_be_set(name)


def _may_be_set(name: str) -> bool:
    """Tell whether a caller may choose it; backends trust `X-LiteLLM-*` to be LiteLLM's own word."""
    name = _spelled(name)
    return name not in OURS and not name.startswith(("x-litellm-", "sec-"))


def _spelled(name: str) -> str:
    """Read a name as a backend under CGI or WSGI does, for which `_` and `-` are one."""
    return name.replace("_", "-")


def _token(agent: Agent) -> Iterator[tuple[str, str]]:
    key = agent.litellm_params.get("api_key")
    if isinstance(key, str) and key:
        yield "Authorization", f"Bearer {key}"


def _litellm(
    agent: Agent, incoming: Mapping[str, str], user_id: str | None, team_id: str | None
) -> Iterator[tuple[str, str]]:
    stated = {
        "X-LiteLLM-Agent-Id": agent.agent_id,
        "X-LiteLLM-User-Id": user_id,
        "X-LiteLLM-Team-Id": team_id,
        "X-LiteLLM-Trace-Id": incoming.get("x-litellm-trace-id"),
    }
    return ((name, value) for name, value in stated.items() if value)

"""The JSON of the agent routes: what goes out of an agent, and what a request body or header says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from routeiq_plugin.a2a import cards
from routeiq_plugin.a2a.directory import Precondition
from routeiq_plugin.a2a.model import Agent
from routeiq_plugin.errors import InvalidFields, InvalidRequest, MalformedBody
from routeiq_plugin.host import agents as host_agents
from routeiq_plugin.host import headers, kill_switches

_DATETIME: Final = TypeAdapter(datetime)
_ENTITY_TAG: Final = re.compile(r'^(?:W/)?"(\d+)"$')

MAX_DEPTH: Final = 64
"""Deepest nesting of a request body; what renders agents gives up far below the parser's own limit."""


ADDRESSES: Final = ("api_base", "base_url")
"""Keys of `litellm_params` that say where a backend is."""


def rendered(agent: Agent, *, is_admin: bool, base_url: str) -> dict[str, Any]:
    """Render an agent in LiteLLM's `AgentResponse`: secrets as the marker, and for non-admins no backend at all."""
    fields = dict(agent.fields)
    fields["agent_card_params"] = shown_card(agent, base_url, is_admin=is_admin)
    params = host_agents.redact_params(agent.litellm_params)
    if not is_admin:
        params = {name: value for name, value in params.items() if name not in ADDRESSES}
    fields["litellm_params"] = {**params, "is_public": agent.is_public}
    fields["jwt_auth_configured"] = host_agents.jwt_auth_is_configured()
    if is_admin:
        fields["static_headers"] = headers.redact_headers(fields.get("static_headers") or {})
        fields["kill_switch"] = kill_switches.redact(_plain(fields.get("kill_switch")))
    else:
        fields.update(static_headers=None, extra_headers=None, keys=None, kill_switch=None, identity=None)
    return host_agents.answer(fields)


def shown_card(agent: Agent, base_url: str, *, is_admin: bool) -> dict[str, Any]:
    """Render the card inside an answer; an agent without a card has none to show."""
    if not agent.card:
        return {}
    return cards.shown(
        agent.card,
        name=agent.name,
        gateway_url=gateway_url(agent, base_url),
        provider_url=base_url,
        backend_url=agent.backend_url if is_admin else None,
        hidden=frozenset() if is_admin else hidden_hosts(agent),
    )


def hidden_hosts(agent: Agent, own: Mapping[str, Any] | None = None) -> frozenset[str]:
    """Name the hosts that are the backend's, by the registered card, its own and the agent's parameters."""
    found = [*cards.addresses(agent.card), *cards.addresses(own or {})]
    params = [(name, str(agent.litellm_params[name])) for name in ADDRESSES if agent.litellm_params.get(name)]
    return cards.hosts([*found, *params])


def gateway_url(agent: Agent, base_url: str) -> str:
    """Return where callers invoke the agent."""
    return f"{base_url}/a2a/{agent.agent_id}"


def _plain(model: Any) -> Mapping[str, Any] | None:
    if model is None or isinstance(model, Mapping):
        return model
    dumped: Mapping[str, Any] = model.model_dump(mode="json")
    return dumped


def json_body(body: bytes) -> Any:
    """Parse a request body; raises `MalformedBody` that says where it breaks."""
    try:
        parsed = json.loads(body, parse_constant=_refuse_constant)
    except json.JSONDecodeError as broken:
        raise MalformedBody(
            f"The request body is not valid JSON: {broken.msg} at line {broken.lineno}, column {broken.colno}"
        ) from None
    except (ValueError, RecursionError):
        raise MalformedBody("The request body is not JSON in UTF-8 of a reasonable depth and size of numbers") from None
    _require_renderable(parsed)
    return parsed


def _refuse_constant(name: str) -> Any:
    raise MalformedBody(f"The request body is not valid JSON: {name} is not a JSON value")


def _require_renderable(parsed: Any) -> None:
    """Refuse what JSON can spell and no answer could: half of a surrogate pair, or a value that is too deep."""
    level: list[Any] = [parsed]
    for _ in range(MAX_DEPTH):
        if not level:
            return
        for value in level:
            if isinstance(value, str) and not _is_text(value):
                raise MalformedBody("The request body holds half of a surrogate pair, which is no text")
        level = [each for value in level for each in _parts(value)]
    if level:
        raise MalformedBody(f"The request body is nested deeper than {MAX_DEPTH} levels")


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return (*value.keys(), *value.values())
    return value if isinstance(value, list) else ()


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def precondition(if_match: str | None, body: Any = None) -> Precondition:
    """Read what the writer believes to be current, from `If-Match` or an `updated_at` sent back."""
    return Precondition(version=_version(if_match), updated_at=_read_at(body))


def _version(if_match: str | None) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    match = _ENTITY_TAG.match(if_match.strip())
    if match is None:
        raise InvalidRequest('If-Match: send the ETag of the agent as you read it, for instance "3"')
    return int(match.group(1))


def _read_at(body: Any) -> datetime | None:
    stated = body.get("updated_at") if isinstance(body, Mapping) else None
    if stated is None:
        return None
    try:
        return _DATETIME.validate_python(stated)
    except ValidationError:
        raise InvalidFields.of("updated_at", "Send the updated_at that you read, or leave it out") from None

"""The JSON of the agent routes: what goes out of an agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from routeiq_plugin.a2a import cards
from routeiq_plugin.a2a.model import Agent
from routeiq_plugin.host import agents as host_agents
from routeiq_plugin.host import headers, kill_switches

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

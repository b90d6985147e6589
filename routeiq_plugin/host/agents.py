"""LiteLLM's agents: its shapes, its redaction rules, and the in-memory registry that its other features read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, Final

from litellm.proxy.agent_endpoints.agent_registry import (
    _restore_redacted_litellm_params,
    global_agent_registry,
    redact_sensitive_agent_litellm_params,
)
from litellm.types.agents import AgentConfig, AgentResponse, PatchAgentRequest
from pydantic import TypeAdapter, ValidationError

from routeiq_plugin.errors import InvalidFields
from routeiq_plugin.host.process import proxy_server
from routeiq_plugin.host.public_lists import PublicNames

ACCESS_GROUPS: Final = "agent_access_groups"
"""LiteLLM's name for the groups that an agent is a member of: a column of its database that its routes cannot write.
Of ours it is read from `litellm_params`, which is free-form."""

READ_ONLY: Final = frozenset(AgentResponse.model_fields) - frozenset(AgentConfig.__annotations__)
"""Fields of an answer that are no input: a client that reads, edits and writes an agent sends them back."""

_NULL_IN_ANSWERS: Final = "object_permission"
"""LiteLLM answers null here and takes none back; a client that writes back what it read means "no permission"."""

_OUTSIDE_LITELLMS_TYPES: Final = frozenset({"securitySchemes", "security"})
"""Of a card: LiteLLM's types know neither 1.0's form nor 0.3's `"in"`, and would refuse official cards."""

Fields = dict[str, Any]

__all__ = ["AgentConfig", "AgentResponse", "Fields", "PatchAgentRequest", "Registry"]


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def parse_config(body: Any) -> Fields:
    """Validate the body of POST and PUT as LiteLLM's `AgentConfig`; raises `InvalidFields`."""
    return _parse(body, AgentConfig)


def parse_patch(body: Any) -> Fields:
    """Validate the body of PATCH as LiteLLM's `PatchAgentRequest`; raises `InvalidFields`."""
    return _parse(body, PatchAgentRequest)


def _parse(body: Any, shape: Any) -> Fields:
    unset = {}
    if isinstance(body, Mapping):
        _refuse_unknown(body, frozenset(shape.__annotations__))
        unset = {name: None for name, value in body.items() if name == _NULL_IN_ANSWERS and value is None}
        body = {name: value for name, value in body.items() if name not in unset}
    try:
        parsed = _adapter(shape).validate_python(_typed(body))
        # Cards are free-form by contract: what the typed dict does not name is kept as it was sent.
        fields: Fields = _adapter(Fields).dump_python(dict(parsed), mode="json")
    except ValidationError as invalid:
        raise InvalidFields(_located(invalid)) from None
    _check_groups(fields.get("litellm_params"))
    if isinstance(body.get("agent_card_params"), Mapping):
        fields["agent_card_params"] = dict(body["agent_card_params"])
    return fields | unset


def _check_groups(params: Any) -> None:
    groups = params.get(ACCESS_GROUPS) if isinstance(params, Mapping) else None
    if groups is not None and not (isinstance(groups, list) and all(isinstance(each, str) for each in groups)):
        raise InvalidFields.of(f"litellm_params.{ACCESS_GROUPS}", "Give a list of names of groups")


def _typed(body: Any) -> Any:
    card = body.get("agent_card_params") if isinstance(body, Mapping) else None
    if not isinstance(card, Mapping):
        return body
    return {
        **body,
        "agent_card_params": {name: value for name, value in card.items() if name not in _OUTSIDE_LITELLMS_TYPES},
    }


def _located(invalid: ValidationError) -> Sequence[Mapping[str, Any]]:
    found = invalid.errors(include_input=False, include_url=False, include_context=False)
    return [{**error, "loc": ["body", *error["loc"]]} for error in found]


def _refuse_unknown(body: Mapping[str, Any], known: frozenset[str]) -> None:
    unknown = [name for name in body if name not in known and name not in READ_ONLY]
    if unknown:
        message = f"Unknown field; an agent has: {', '.join(sorted(known))}"
        raise InvalidFields([{"type": "extra_forbidden", "loc": ["body", name], "msg": message} for name in unknown])


def answer(fields: Mapping[str, Any]) -> Fields:
    """Render an agent with every key of LiteLLM's `AgentResponse`, in its JSON form."""
    rendered: Fields = AgentResponse.model_validate(fields).model_dump(mode="json")
    return rendered


def redact_params(params: Mapping[str, Any]) -> Fields:
    """Replace each secret in `litellm_params`, at any depth, by the marker."""
    return dict(redact_sensitive_agent_litellm_params(dict(params)))


def restore_params(incoming: Mapping[str, Any], stored: Mapping[str, Any]) -> Fields:
    """Put stored secrets back where the caller sent the marker or left the key out (LiteLLM's rule)."""
    return dict(_restore_redacted_litellm_params(incoming=dict(incoming), existing=dict(stored)))


def jwt_auth_is_configured() -> bool:
    """Tell what `jwt_auth_configured` says for an agent without an Entra identity."""
    module = proxy_server()
    jwt = getattr(module.jwt_handler, "litellm_jwtauth", None)
    return bool(module.general_settings.get("enable_jwt_auth") and getattr(jwt, "agent_id_jwt_field", None))


def stable_id(agent_id: str) -> str:
    """Translate an id that an older LiteLLM gave to an agent of its config into today's; others stay."""
    return str(global_agent_registry.stable_agent_id(agent_id))


def public_agents() -> PublicNames:
    """Give access to LiteLLM's list of public agents."""
    return PublicNames("public_agent_groups", stable_id)


class MirroredAgent(AgentResponse):  # type: ignore[misc]  # LiteLLM is not followed by mypy, see pyproject.toml
    """An agent of ours in LiteLLM's registry, with the attribute by which LiteLLM finds the members of a group."""

    agent_access_groups: Sequence[str] = ()


class Registry:
    """LiteLLM's `global_agent_registry`: ours are mirrored in, LiteLLM's own are read out."""

    def put(self, fields: Mapping[str, Any]) -> None:
        """Make LiteLLM's chat bridge, limits and hooks see an agent; replaces one of the same id or name."""
        self.drop(fields["agent_id"])
        global_agent_registry.deregister_agent(agent_name=fields["agent_name"])
        params = dict(fields.get("litellm_params") or {})
        groups = params.pop(ACCESS_GROUPS, None) or ()  # no parameter of the completion bridge
        mirrored = MirroredAgent.model_validate({**fields, "litellm_params": params, ACCESS_GROUPS: groups})
        global_agent_registry.register_agent(agent_config=mirrored)

    def drop(self, agent_id: str) -> None:
        """Forget an agent, under whatever name it was registered."""
        known = global_agent_registry.get_agent_by_id(agent_id=agent_id)
        if known is not None and known.agent_id == agent_id:
            global_agent_registry.deregister_agent(agent_name=known.agent_name)

    def holds(self, agent_id: str) -> bool:
        """Tell whether LiteLLM still has the agent: it empties the registry when it reloads its own database."""
        return global_agent_registry.get_agent_by_id(agent_id=agent_id) is not None

    def stock(self, ours: Collection[str]) -> Sequence[Fields]:
        """List the agents of LiteLLM's config and database, as the fields of `AgentResponse`."""
        return [agent.model_dump() for agent in global_agent_registry.get_agent_list() if agent.agent_id not in ours]

    def find_stock(self, reference: str, ours: Collection[str]) -> Fields | None:
        """Find one of LiteLLM's own agents by id (older ids of config agents included) or name."""
        found = global_agent_registry.get_agent_by_id(agent_id=reference) or global_agent_registry.get_agent_by_name(
            agent_name=reference
        )
        return None if found is None or found.agent_id in ours else found.model_dump()

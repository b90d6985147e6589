"""The one authorisation decision of an agent: list, read, card and invoke all ask here."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from routeiq_plugin.a2a.model import Agent
from routeiq_plugin.errors import Forbidden
from routeiq_plugin.host.auth import AgentGrants, Caller

DefaultAccess = Literal["deny", "litellm"]


class Action(StrEnum):
    """What a caller wants of an agent."""

    LIST = "list"
    READ = "read"
    INVOKE = "invoke"
    ANALYSE = "analyse"
    """Read what all callers together did with it."""


def decide(caller: Caller, grants: AgentGrants, agent: Agent, action: Action, default: DefaultAccess) -> bool:
    """Tell whether `caller` may do `action` to `agent`.

    Admins always may, admin viewers may look, granted and public agents are open to their keys. A grant names agents
    or access groups; if both key and team have any, both have to cover the agent. Where no grant was made at all,
    `deny` refuses; `litellm` keeps stock's rule, which opens every agent but lists none.
    """
    if action is Action.ANALYSE:
        return _may_analyse(caller, grants, agent)
    if caller.is_admin or agent.is_public or grants.cover(agent.agent_id, agent.access_groups):
        return True
    if caller.has_admin_view and action is not Action.INVOKE:
        return True
    return default == "litellm" and grants.unrestricted and action is not Action.LIST


def _may_analyse(caller: Caller, grants: AgentGrants, agent: Agent) -> bool:
    """Stock's rule: who sees everything, who registered it, who was granted it; that it is public gives nothing."""
    is_creator = caller.user_id is not None and agent.fields.get("created_by") == caller.user_id
    return caller.has_admin_view or is_creator or grants.cover(agent.agent_id, agent.access_groups)


def refusal(reference: str) -> Forbidden:
    """Build LiteLLM's own refusal; unknown and forbidden agents read the same to those who may not know."""
    return Forbidden(f"Agent '{reference}' is not allowed for your key/team. Contact proxy admin for access.")

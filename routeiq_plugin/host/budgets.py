"""Budgets of identities that no database of LiteLLM's stands behind, which LiteLLM's own checks then cannot see.

For a virtual key LiteLLM compares spend with budget when it reads the key; for custom auth it relies on reserving the
price of a model, which an agent does not have, and it looks for teams and users in its database alone.
"""

from __future__ import annotations

import math
from typing import Any

import litellm
from litellm.proxy._types import LiteLLM_TeamTable, ProxyErrorTypes, ProxyException
from litellm.proxy.auth.auth_checks import _team_max_budget_check, _virtual_key_max_budget_check

from routeiq_plugin.host.process import has_own_database, proxy_server


async def require(identity: Any) -> None:
    """Refuse a caller of custom auth whose key, team or user is over budget; raises LiteLLM's own refusal."""
    if proxy_server().user_custom_auth is None:
        return
    try:
        await _check(identity)
    except litellm.BudgetExceededError as spent:
        raise ProxyException(
            message=spent.message,
            type=ProxyErrorTypes.budget_exceeded,
            param=None,
            code=getattr(spent, "status_code", 429),
        ) from spent


async def _check(identity: Any) -> None:
    hooks = proxy_server().proxy_logging_obj
    await _virtual_key_max_budget_check(valid_token=identity, proxy_logging_obj=hooks)
    if has_own_database():
        return  # LiteLLM has read the team and the user, and compared
    if identity.team_id is not None and identity.team_max_budget is not None:
        team = LiteLLM_TeamTable(
            team_id=identity.team_id, max_budget=identity.team_max_budget, spend=identity.team_spend or 0.0
        )
        await _team_max_budget_check(team_object=team, valid_token=identity, proxy_logging_obj=hooks)
    await _check_user(identity)


async def _check_user(identity: Any) -> None:
    """Apply LiteLLM's rule: a person's budget does not bind the keys of a team unless the operator says so."""
    module = proxy_server()
    budget = identity.user_max_budget
    binds = identity.team_id is None or module.general_settings.get("apply_user_budget_to_team_keys") is True
    if identity.user_id is None or budget is None or not math.isfinite(budget) or not binds:
        return
    spend = await module.get_current_spend(
        counter_key=f"spend:user:{identity.user_id}", fallback_spend=identity.user_spend or 0.0
    )
    if spend >= budget:
        text = f"ExceededBudget: User={identity.user_id} over budget. Spend={spend}, Budget={budget}"
        raise litellm.BudgetExceededError(current_cost=spend, max_budget=budget, message=text)

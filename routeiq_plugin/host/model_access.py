"""May this caller use that model: LiteLLM's own checks of key, team, user and budgets, asked again for our choice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from litellm import BudgetExceededError
from litellm.proxy._types import LiteLLM_TeamTable, ProxyException
from litellm.proxy.auth.auth_checks import can_key_call_model, can_team_access_model

from routeiq_plugin.host.models import live_router
from routeiq_plugin.host.process import proxy_server

_BUDGETS: Final = ("model_max_budget", "user_model_max_budget", "end_user_model_max_budget", "team_model_max_budget")


async def holds(identity: Any, model: str) -> bool:
    """Tell whether key and team were given a model by its own name, or by a wildcard or no restriction.

    Aliases are not followed: an alias that points at a model which the key holds is not thereby the key's.
    """
    return await _allowed(identity, model, None)


async def may_use(identity: Any, model: str) -> bool:
    """Tell whether key and team may call a model group, access groups and wildcards included."""
    return await _allowed(identity, model, live_router())


async def _allowed(identity: Any, model: str, router: Any | None) -> bool:
    try:
        await can_key_call_model(model=model, llm_model_list=None, valid_token=identity, llm_router=router)
        if identity.team_id:
            team = LiteLLM_TeamTable(team_id=identity.team_id, models=identity.team_models or [])
            await can_team_access_model(
                model=model, team_object=team, llm_router=router, team_model_aliases=identity.team_model_aliases
            )
    except ProxyException:
        return False
    return True


async def affordable(identity: Any, models: Iterable[str]) -> Sequence[str]:
    """Keep the models for which every per-model budget of the caller, which LiteLLM checked for the alias, has room."""
    limiter = getattr(proxy_server(), "model_max_budget_limiter", None)
    if limiter is None or not any(getattr(identity, name, None) for name in _BUDGETS):
        return list(models)
    return [model for model in models if await _within_budget(limiter, identity, model)]


async def _within_budget(limiter: Any, identity: Any, model: str) -> bool:
    try:
        if identity.model_max_budget and identity.token:
            await limiter.is_key_within_model_budget(user_api_key_dict=identity, model=model)
        await _others_within_budget(limiter, identity, model)
    except BudgetExceededError:
        return False
    return True


async def _others_within_budget(limiter: Any, identity: Any, model: str) -> None:
    """Ask for user, end user and team, as far as this LiteLLM knows budgets of theirs."""
    user, end_user, team = (getattr(identity, name, None) for name in _BUDGETS[1:])
    if user and identity.user_id:
        await limiter.is_user_within_model_budget(user_id=identity.user_id, user_model_max_budget=user, model=model)
    if end_user and identity.end_user_id:
        await limiter.is_end_user_within_model_budget(
            end_user_id=identity.end_user_id, end_user_model_max_budget=end_user, model=model
        )
    if team and identity.team_id:
        await limiter.is_team_within_model_budget(
            team_id=identity.team_id,
            team_model_max_budget=team,
            key_model_max_budget=identity.model_max_budget,
            model=model,
        )

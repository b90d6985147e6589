"""Agents as chat models (`a2a/<name>`): LiteLLM's own rule of access stands aside for ours, in calls and in listings.

LiteLLM looks three functions up in their modules whenever it needs them; each is wrapped, none is replaced.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastapi import HTTPException
from litellm.proxy._types import UserAPIKeyAuth

from routeiq_plugin.errors import RouteIQError, wire
from routeiq_plugin.host.auth import Caller, caller_of

PREFIX: Final = "a2a/"

Allows = Callable[[Caller, str], Awaitable[bool]]
"""Says of (caller, agent's name) whether they may; raises a `RouteIQError` for a refusal of its own words."""


def guard_calls(require: Allows) -> None:
    """Ask `require` before an agent is called as a model; where it says yes LiteLLM's rule is not asked again.

    False leaves the decision to LiteLLM: the agent is one that our rule does not know.
    """
    module: Any = importlib.import_module("litellm.proxy.agent_endpoints.a2a_routing")
    stock = module.route_a2a_agent_request

    @functools.wraps(stock)
    async def route(data: dict[str, Any], route_type: str, user_api_key_dict: Any = None) -> Any:
        model = data.get("model")
        if user_api_key_dict is None or not isinstance(model, str) or not model.startswith(PREFIX):
            return await stock(data, route_type, user_api_key_dict=user_api_key_dict)
        try:
            decided = await require(caller_of(user_api_key_dict), model.removeprefix(PREFIX))
        except RouteIQError as error:
            raise HTTPException(wire(error).status, error.detail, dict(error.headers)) from None
        # Without any grant LiteLLM opens every agent: our decision, made above, is the only one.
        return await stock(data, route_type, user_api_key_dict=UserAPIKeyAuth() if decided else user_api_key_dict)

    module.route_a2a_agent_request = route


def filter_listings(may_see: Allows) -> None:
    """Take agents that the caller may not see out of `/model_group/info` and `/v2/model/info`."""
    module: Any = importlib.import_module("litellm.proxy.agent_endpoints.model_list_helpers")
    module.append_agents_to_model_group = _filtered(
        module.append_agents_to_model_group, "model_groups", lambda entry: entry.model_group, may_see
    )
    module.append_agents_to_model_info = _filtered(
        module.append_agents_to_model_info, "models", lambda entry: entry["model_name"], may_see
    )


def _filtered(stock: Any, parameter: str, name_of: Callable[[Any], str], may_see: Allows) -> Any:
    @functools.wraps(stock)
    async def append(*, user_api_key_dict: Any, **given: Any) -> list[Any]:
        before = len(given[parameter])
        listed: list[Any] = await stock(user_api_key_dict=user_api_key_dict, **given)
        caller = caller_of(user_api_key_dict)
        shown = [entry for entry in listed[before:] if await may_see(caller, name_of(entry).removeprefix(PREFIX))]
        return [*listed[:before], *shown]

    return append

"""Model groups of the live Router: what LiteLLM knows of each, which can answer now, and names that we add.

The Router is looked up at each use: LiteLLM makes it after us and may replace it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from litellm.proxy.hooks.responses_id_security import ResponsesIDSecurity
from litellm.responses.utils import ResponsesAPIRequestUtils

from routeiq_plugin.host.process import proxy_server


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """One model group; prices in USD per token, None where LiteLLM knows nothing."""

    model: str
    provider_model: str = ""
    input_price: float | None = None
    output_price: float | None = None
    max_input_tokens: int | None = None
    vision: bool = False
    tools: bool = False


class ModelGroups:
    """What the Router of this worker says of its model groups.

    LiteLLM takes up to 10 ms to gather what it knows of a group, so that is done in a thread, once per set of
    deployments and again from time to time.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[str, ...], GroupFacts]] = {}

    async def facts(self, models: Iterable[str]) -> Mapping[str, GroupFacts]:
        """Return what is known of those groups that exist, in the order given."""
        router = live_router()
        found: dict[str, GroupFacts] = {}
        if router is None:
            return found
        for model in models:
            deployments = tuple(router.get_model_ids(model_name=model))
            known = self._known.get(model)
            if not deployments:
                continue
            if known is None or known[0] != deployments:
                known = self._known[model] = (deployments, await asyncio.to_thread(_gather, router, model))
            found[model] = known[1]
        return found

    async def refresh(self) -> None:
        """Gather anew what is known: prices may change without a deployment."""
        router = live_router()
        for model, (deployments, _) in tuple(self._known.items()) if router is not None else ():
            self._known[model] = (deployments, await asyncio.to_thread(_gather, router, model))

    def exists(self, model: str) -> bool:
        """Tell whether there is a deployment of that name."""
        router = live_router()
        return router is not None and bool(router.get_model_ids(model_name=model))

    async def live(self, models: Iterable[str]) -> frozenset[str]:
        """Return the groups with a deployment that is neither in cooldown nor blocked."""
        router = live_router()
        if router is None:
            return frozenset()
        deployments = {model: _open_deployments(router, model) for model in models}
        every = [each for ids in deployments.values() for each in ids]
        cooling = await router.cooldown_cache.async_get_active_cooldowns(model_ids=every, parent_otel_span=None)
        away = {each[0] for each in cooling or ()}
        return frozenset(model for model, ids in deployments.items() if any(each not in away for each in ids))


def live_router() -> Any | None:
    """Return this worker's Router, None before LiteLLM has one."""
    return getattr(proxy_server(), "llm_router", None)


def publish(router: Any, aliases: Mapping[str, str]) -> None:
    """Make each alias a `model_group_alias` of its model where it is not.

    So `/v1/models` lists it, keys may be granted it, and LiteLLM answers should our hook ever fail.
    """
    known = dict(router.model_group_alias or {})
    if any(known.get(alias) != model for alias, model in aliases.items()):
        router.update_settings(model_group_alias={**known, **aliases})


def published() -> Mapping[str, Any]:
    """Return the Router's `model_group_alias` as it is; empty while there is no Router."""
    return dict(getattr(live_router(), "model_group_alias", None) or {})


def republish(known: Mapping[str, Any]) -> None:
    """Put a whole `model_group_alias`; without a Router there is nowhere to."""
    router = live_router()
    if router is not None:
        router.update_settings(model_group_alias=dict(known))


def configured_aliases() -> Mapping[str, Any]:
    """Return the `model_group_alias` of the configuration; the Router knows those of others beside them."""
    settings = proxy_server().proxy_config.config.get("router_settings")
    aliases = settings.get("model_group_alias") if isinstance(settings, Mapping) else None
    return aliases if isinstance(aliases, Mapping) else {}


def taken_names(names: Iterable[str]) -> Sequence[str]:
    """Return those of `names` that the loaded config already gives to a model group or an alias."""
    config = proxy_server().proxy_config.get_config_state()
    groups = {entry.get("model_name") for entry in config.get("model_list") or () if isinstance(entry, Mapping)}
    settings = config.get("router_settings")
    aliases = settings.get("model_group_alias") if isinstance(settings, Mapping) else None
    return [name for name in names if name in groups or name in (aliases or {})]


def configured_fallbacks(data: Mapping[str, Any]) -> Sequence[Any]:
    """Return the fallbacks that would hold for a request: of its key or team, else of the proxy; LiteLLM's formats."""
    override = data.get("router_settings_override")
    told = override.get("fallbacks") if isinstance(override, Mapping) else None
    if told is None:
        told = getattr(live_router(), "fallbacks", None)
    return told if isinstance(told, list) else ()


def group_of_response(response_id: object) -> str | None:
    """Return the model group that gave a `/v1/responses` answer, read from the id that LiteLLM made."""
    if not isinstance(response_id, str):
        return None
    # Whether this caller may go on from that answer is LiteLLM's to say, in its own hook after ours.
    opened = ResponsesIDSecurity()._decrypt_response_id(response_id)[0]
    return group_of_deployment(ResponsesAPIRequestUtils.get_model_id_from_response_id(opened))


def group_of_deployment(deployment_id: object) -> str | None:
    """Return the model group of a deployment, None where it has gone."""
    router = live_router()
    if router is None or not isinstance(deployment_id, str):
        return None
    known = _known_of(router, deployment_id)
    return None if known is None else str(known["model_name"])


def _gather(router: Any, model: str) -> GroupFacts:
    info = router.get_model_group_info(model_group=model)
    deployments = router.get_model_list(model_name=model) or ()
    provider_model = str(deployments[0]["litellm_params"]["model"]) if deployments else ""
    if info is None:
        return GroupFacts(model, provider_model)
    window = info.max_input_tokens
    return GroupFacts(
        model,
        provider_model,
        info.input_cost_per_token,
        info.output_cost_per_token,
        None if window is None else int(window),
        bool(info.supports_vision),
        bool(info.supports_function_calling),
    )


def _open_deployments(router: Any, model: str) -> Sequence[str]:
    ids: list[str] = router.get_model_ids(model_name=model)
    return [each for each in ids if not _is_blocked(router, each)]


def _is_blocked(router: Any, deployment_id: str) -> bool:
    known = _known_of(router, deployment_id)
    return known is not None and (known.get("model_info") or {}).get("blocked") is True


def _known_of(router: Any, deployment_id: str) -> Mapping[str, Any] | None:
    """Return the Router's own entry: `get_deployment` would build and validate a model each time, .05 ms."""
    known: Mapping[str, Any] | None = router.get_model_info(id=deployment_id)
    return known

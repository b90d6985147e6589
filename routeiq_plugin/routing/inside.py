"""`RouteIQStrategy`: the same strategies for the deployments of one model group that mixes models.

In a proxy it comes from `routeiq.routing.groups`; with a plain `litellm.Router`::

    router = litellm.Router(model_list=[...])
    chat = {"strategy": "cost", "candidates": ["openai/large", "openai/small"], "default": "openai/small"}
    RouteIQStrategy(router, {"chat": chat})
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from routeiq_plugin.errors import RouteIQError, SettingsError
from routeiq_plugin.host.deployments import DeployedModel, DeploymentChooser
from routeiq_plugin.routing.aliases import Alias, alias_of
from routeiq_plugin.routing.engine import Engine
from routeiq_plugin.routing.experiments import arm_of
from routeiq_plugin.routing.prompts import prompt_of
from routeiq_plugin.routing.strategy import Candidate, Query
from routeiq_plugin.routing.tokens import BYTES_PER_TOKEN
from routeiq_plugin.settings import AliasSettings

logger = logging.getLogger(__name__)

OnFault = Callable[[str, BaseException], None]


def _log(where: str, error: BaseException) -> None:
    logger.error("routeiq: %s: %s", where, error)


class RouteIQStrategy(DeploymentChooser):
    """A `CustomRoutingStrategyBase` that ranks the models of groups; everything else of the Router stays in force.

    `groups` map a model group to what `routeiq.routing.aliases` takes, its candidates and default being
    `litellm_params.model` names. Attaches itself. Asynchronous calls only: LiteLLM asks no callbacks in others.
    """

    def __init__(
        self, router: Any, groups: Mapping[str, Alias | AliasSettings | Mapping[str, Any]], on_fault: OnFault = _log
    ) -> None:
        self.groups = {name: _group(name, given, on_fault) for name, given in groups.items()}
        self._engine = Engine(on_fault)
        super().__init__(router, tuple(self.groups), self._ordered)
        self.attach()

    def regroup(self, groups: Mapping[str, Alias]) -> None:
        """Rank inside other groups from now on; their strategies are loaded."""
        self.groups = dict(groups)
        self._groups = frozenset(groups)

    def close(self) -> None:
        """Let go of threads."""
        self._engine.close()

    async def _ordered(self, group: str, models: Sequence[DeployedModel], request: Mapping[str, Any]) -> Sequence[str]:
        known: Alias = self.groups[group]
        prompt = prompt_of(request)
        candidates = [
            Candidate(each.model, each.input_price, each.output_price, provider_model=each.model)
            for each in models
            if each.model in known.settings.candidates
        ]
        if not candidates:
            return ()
        query = Query(
            text=prompt.first if known.settings.sticky == "conversation" else prompt.last,
            tokens=round(prompt.text_bytes / BYTES_PER_TOKEN),
            has_image=prompt.has_image,
            has_tools=prompt.has_tools,
            chars=prompt.chars,
        )
        subject = str(request.get("user") or "")
        arm = known.arms[arm_of(group, subject, [each.weight for each in known.arms])]
        ordered = await self._engine.order(arm, query, candidates)
        arm.counts[f"model: {ordered.models[0]}"] += 1
        return ordered.models


def _group(name: str, given: Alias | AliasSettings | Mapping[str, Any], on_fault: OnFault) -> Alias:
    """Return a group whose strategy is loaded; one that somebody else keeps loaded is taken as it is."""
    if isinstance(given, Alias):
        return given
    group = alias_of(name, given if isinstance(given, AliasSettings) else _validated(name, given), "groups")
    for arm in group.arms:
        try:
            arm.load()
        except RouteIQError as wrong:
            on_fault(f"routing group {name}", wrong)
    return group


def _validated(group: str, given: Mapping[str, Any]) -> AliasSettings:
    try:
        return AliasSettings.model_validate(dict(given))
    except ValidationError as invalid:
        lines = [
            f"{group}.{'.'.join(str(part) for part in error['loc'])} is wrong: {error['msg']}"
            for error in invalid.errors(include_input=False, include_url=False)
        ]
        raise SettingsError("; ".join(lines)) from None

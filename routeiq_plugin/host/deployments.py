"""Choosing among the deployments of one model group, on top of the Router's own selection and never instead of it.

LiteLLM's hook for that, `set_custom_routing_strategy`, replaces the selection whole, with cooldowns, health, tags,
budgets and limits. So ours only says which models it would like, lets the Router select, and narrows what it may select
from where the Router asks its callbacks: after cooldowns and health, before tags, order and balancing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import litellm
from litellm.types.router import CustomRoutingStrategyBase

from routeiq_plugin.host.callbacks import CustomLogger

_WANTED: Final[ContextVar[tuple[str, Sequence[str]] | None]] = ContextVar("routeiq_wanted", default=None)

OrderOf = Callable[[str, Sequence["DeployedModel"], Mapping[str, Any]], Awaitable[Sequence[str]]]
"""Order the models of a group for a request, best first."""


@dataclass(frozen=True, slots=True)
class DeployedModel:
    """One model of a group, by the name that `litellm_params.model` gives it; prices in USD per token."""

    model: str
    input_price: float | None = None
    output_price: float | None = None


class DeploymentChooser(CustomRoutingStrategyBase, CustomLogger):  # type: ignore[misc]  # LiteLLM is not followed
    """A custom routing strategy and, so that it survives being replaced, a callback."""

    def __init__(self, router: Any, groups: Sequence[str], order_of: OrderOf) -> None:
        super().__init__()
        self.router = router
        self._groups = frozenset(groups)
        self._order_of = order_of

    def attach(self) -> None:
        """Make this the Router's strategy, where it is not; LiteLLM drops it when `routing_strategy` changes."""
        if self not in litellm.callbacks:
            litellm.callbacks.append(self)
        chosen = vars(self.router).get("async_get_available_deployment")
        if getattr(chosen, "__self__", None) is not self:
            self.router.set_custom_routing_strategy(self)

    async def async_get_available_deployment(
        self,
        model: str,
        messages: Any = None,
        input: Any = None,
        specific_deployment: bool | None = False,
        request_kwargs: Any = None,
    ) -> Any:
        """Let the Router select, from the best model that is alive; from all where it finds none that way."""

        async def select() -> Any:
            return await type(self.router).async_get_available_deployment(
                self.router,
                model=model,
                messages=messages,
                input=input,
                specific_deployment=specific_deployment,
                request_kwargs=request_kwargs if request_kwargs is not None else {},
            )

        if model not in self._groups or specific_deployment:
            return await select()
        order = await self._order(model, messages, input, request_kwargs)
        # Tags or windows may fit other models of the group only.
        with _wanting(model, order), suppress(Exception):
            return await select()
        with _wanting(model, ()):
            return await select()

    def get_available_deployment(
        self,
        model: str,
        messages: Any = None,
        input: Any = None,
        specific_deployment: bool | None = False,
        request_kwargs: Any = None,
    ) -> Any:
        """Leave synchronous calls to the Router: it asks no callbacks there."""
        return type(self.router).get_available_deployment(
            self.router,
            model=model,
            messages=messages,
            input=input,
            specific_deployment=specific_deployment,
            request_kwargs=request_kwargs,
        )

    async def async_filter_deployments(
        self,
        model: str,
        healthy_deployments: list[Any],
        messages: Any,
        request_kwargs: dict[str, Any] | None = None,
        parent_otel_span: Any = None,
    ) -> list[Any]:
        """Keep the deployments of the best model among those that are alive."""
        if model not in self._groups or not isinstance(healthy_deployments, list):
            return healthy_deployments
        wanted = _WANTED.get()
        if wanted is None or wanted[0] != model:  # LiteLLM dropped us
            self.attach()
            wanted = (model, await self._order(model, messages, None, request_kwargs))
        for name in wanted[1]:
            kept = [each for each in healthy_deployments if each["litellm_params"]["model"] == name]
            if kept:
                return kept
        return healthy_deployments

    async def _order(self, group: str, messages: Any, input: Any, request_kwargs: Any) -> Sequence[str]:
        given = {**(request_kwargs or {})}
        given |= {name: value for name, value in (("messages", messages), ("input", input)) if value is not None}
        return await self._order_of(group, _models_of(self.router, group), given)


@contextmanager
def _wanting(group: str, order: Sequence[str]) -> Iterator[None]:
    token = _WANTED.set((group, order))
    try:
        yield
    finally:
        _WANTED.reset(token)


def _models_of(router: Any, group: str) -> Sequence[DeployedModel]:
    found: dict[str, DeployedModel] = {}
    for deployment in router.get_model_list(model_name=group) or ():
        name = deployment["litellm_params"]["model"]
        told = _priced(deployment)
        found.setdefault(name, DeployedModel(name, told.get("input_cost_per_token"), told.get("output_cost_per_token")))
    return list(found.values())


def _priced(deployment: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return where a deployment's price stands: its own settings, else LiteLLM's list under its id or name."""
    info, params = deployment.get("model_info") or {}, deployment["litellm_params"]
    name = params["model"]
    places = (
        info,
        params,
        *(litellm.model_cost.get(key) or {} for key in (info.get("id"), name, name.split("/", 1)[-1])),
    )
    return next((place for place in places if place.get("input_cost_per_token") is not None), {})

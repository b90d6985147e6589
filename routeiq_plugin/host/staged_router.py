"""The live Router, changed as a whole: LiteLLM's own code works on a copy of its tables, which then takes their place.

`upsert_deployment` on the Router that serves would show each of a hundred changes to the requests between them, and
take tens of milliseconds of the event loop. Nobody sees the copy before the tables are exchanged, in one step.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import litellm
import openai
from litellm import Router
from litellm.constants import DEFAULT_COOLDOWN_TIME_SECONDS
from litellm.router_utils.pattern_match_deployments import PatternMatchRouter
from litellm.utils import _invalidate_model_cost_lowercase_map

from routeiq_plugin.appliers import Stale
from routeiq_plugin.host.models import live_router

_TABLES: Final = (
    "model_list",
    "model_id_to_deployment_index_map",
    "deployment_names",
    "provider_default_deployment_ids",
    "model_names",
    "optional_callbacks",
    "auto_routers",
    "complexity_routers",
    "adaptive_routers",
    "quality_routers",
    "_override_selectors",
)
"""Copied one level deep before anything writes to them."""
_INDEXES: Final = ("model_name_to_deployment_indices", "team_model_to_deployment_indices")
"""Lists of positions by name: their lists are written to as well."""
_CALLBACKS: Final = ("callbacks", "input_callback", "success_callback", "failure_callback")
_GONE: Final = object()


class DeploymentRefused(Exception):
    """LiteLLM cannot build a deployment; `key` is the caller's name for it."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason


class SettingsRefused(Exception):
    """LiteLLM cannot take router settings."""


def deployment_id(raw: Mapping[str, Any]) -> str:
    """Return the id that LiteLLM gives to a deployment of its config, resolved values included."""
    declared = (raw.get("model_info") or {}).get("id")
    if declared is not None:
        return str(declared)
    return str(Router.generate_model_id(raw["model_name"], dict(raw["litellm_params"])))


class _Outside:
    """What LiteLLM's code does outside the copy, to prices and callbacks: held back until the tables are exchanged."""

    def __init__(self) -> None:
        self._prices: dict[str, Any] = {}
        self._former: dict[str, Any] = {}
        self._added: dict[str, list[Any]] = {}
        self._removed: dict[str, list[Any]] = {}
        self._released = False

    @contextmanager
    def price(self, model_id: str) -> Iterator[None]:
        """Keep the price that is registered meanwhile, and leave the former one in force."""
        former = copy.copy(litellm.model_cost.get(model_id))  # LiteLLM writes into the entry that is there
        try:
            yield
        finally:
            self._prices[model_id] = litellm.model_cost.get(model_id)
            _set_prices({model_id: former})

    @contextmanager
    def callbacks(self) -> Iterator[None]:
        """Keep the callbacks that come and go meanwhile, and leave those that were there."""
        before = {name: list(getattr(litellm, name)) for name in _CALLBACKS}
        try:
            yield
        finally:
            for name, former in before.items():
                now = list(getattr(litellm, name))
                self._added[name], self._removed[name] = _without(now, former), _without(former, now)
                getattr(litellm, name)[:] = former

    def release(self) -> None:
        """Let all of it happen."""
        self._former = {model_id: litellm.model_cost.get(model_id) for model_id in self._prices}
        self._released = True
        _set_prices(self._prices)
        _exchange_callbacks(self._removed, self._added)

    def take_back(self) -> None:
        """Undo what was released."""
        if self._released:
            _set_prices(self._former)
            _exchange_callbacks(self._added, self._removed)


def _set_prices(prices: Mapping[str, Any]) -> None:
    for model_id, price in prices.items():
        if price is None:
            litellm.model_cost.pop(model_id, None)
        else:
            litellm.model_cost[model_id] = price
    if prices:
        _invalidate_model_cost_lowercase_map()  # and what LiteLLM remembers of prices that it looked up


def _exchange_callbacks(gone: Mapping[str, Sequence[Any]], come: Mapping[str, Sequence[Any]]) -> None:
    for name, callbacks in come.items():
        present = getattr(litellm, name)
        # One by one: requests register callbacks of their own meanwhile.
        present[:] = [*_without(present, [*gone[name], *callbacks]), *callbacks]


def _without(callbacks: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    """Leave out by identity: equal ones are not the same."""
    known = set(map(id, others))
    return [each for each in callbacks if id(each) not in known]


class StagedRouter:
    """Changes to a Router on their way: run `steps`, then `commit`."""

    name: Final = "model_list"

    def __init__(self, router: Any) -> None:
        self._live = router
        self._before = dict(vars(router))
        self._served = tuple(map(id, router.model_list))
        self._retired: list[str] = []
        self._outside = _Outside()
        self._exchanged: Collection[str] = frozenset()
        self._copy = _copied(router)

    def steps(
        self,
        removed: Sequence[str],
        added: Sequence[tuple[str, Mapping[str, Any]]],
        settings: Mapping[str, Any],
        order: Sequence[str] = (),
    ) -> Iterator[None]:
        """Work in small steps: deployments by id, deployments by (key, resolved entry), `update_settings` values.

        `order` lists ids as the configuration does: LiteLLM answers `/v1/models` in the order of its list. Raises
        `DeploymentRefused` and `SettingsRefused`; the live Router is as before then.
        """
        for model_id in removed:
            self._retired.append(model_id)
            self._copy.delete_deployment(id=model_id)
            yield
        for key, entry in added:
            self._create(key, entry)
            yield
        if removed or added:
            self._tidy(order)
            yield
        if settings:
            try:
                self._copy.validate_fallbacks(fallback_param=settings.get("fallbacks"))
                with self._outside.callbacks():
                    self._copy.update_settings(**settings)
            except Exception as error:
                raise SettingsRefused(str(error)) from error

    def commit(self) -> None:
        """Exchange the tables."""
        live = self._live
        if live_router_or_trial(live) is not live or tuple(map(id, live.model_list)) != self._served:
            raise Stale(self.name)
        after = vars(self._copy)
        current = vars(live)
        changed = {name for name, value in after.items() if value is not self._before.get(name, _GONE)}
        changed |= {name for name in self._before if name not in after}
        changed.discard("ignore_invalid_deployments")
        if any(current.get(name, _GONE) is not self._before.get(name, _GONE) for name in changed):
            raise Stale(self.name)
        self._exchanged = changed
        self._exchange(changed, after)
        self._outside.release()

    def rollback(self) -> None:
        """Put the former tables, callbacks and prices back."""
        self._exchange(self._exchanged, self._before)
        self._outside.take_back()

    @property
    def retired(self) -> Sequence[str]:
        """Ids that no longer serve; their prices may be dropped when their last requests have ended."""
        kept = {model["model_info"]["id"] for model in self._copy.model_list}
        return [model_id for model_id in self._retired if model_id not in kept]

    def _create(self, key: str, entry: Mapping[str, Any]) -> None:
        info = dict(copy.deepcopy(dict(entry)))
        name = info.pop("model_name")
        params = info.pop("litellm_params")
        model_info = info.pop("model_info", None) or {}
        declared = None if model_info.get("id") is None else str(model_info["id"])
        model_info.setdefault("id", Router.generate_model_id(name, params))
        try:
            with self._outside.price(str(model_info["id"])):
                made = self._copy._create_deployment(
                    deployment_info=info,
                    _model_name=name,
                    _litellm_params=params,
                    _model_info=model_info,
                    declared_id=declared,
                )
        except Exception as error:  # whatever LiteLLM finds wrong with it
            raise DeploymentRefused(key, _first_line(error)) from error
        if made is not None:
            self._copy.model_names.add(name)
            self._copy._sync_deployment_budget_config(deployment=made)

    def _tidy(self, order: Sequence[str]) -> None:
        """Sort as the configuration does, and drop what LiteLLM's lists would keep of removed deployments."""
        router = self._copy
        places = {model_id: place for place, model_id in enumerate(order)}
        # What is not of the configuration keeps its place behind it.
        models = sorted(router.model_list, key=lambda model: places.get(model["model_info"]["id"], len(places)))
        router.model_list = models
        router.model_id_to_deployment_index_map = {
            model["model_info"]["id"]: place for place, model in enumerate(models)
        }
        router.model_name_to_deployment_indices = {}
        router.team_model_to_deployment_indices = {}
        router._build_model_name_index(models)
        alive = router.model_id_to_deployment_index_map
        router.provider_default_deployment_ids = [
            each for each in router.provider_default_deployment_ids if each in alive
        ]
        router.deployment_names = [model["litellm_params"]["model"] for model in models]
        router.healthy_deployments = models

    def _exchange(self, names: Collection[str], values: Mapping[str, Any]) -> None:
        live = self._live
        for name in names:
            if name in values:
                setattr(live, name, values[name])
            elif name in vars(live):
                delattr(live, name)
        live._invalidate_model_group_info_cache()
        live._invalidate_access_groups_cache()


def live_router_or_trial(router: Any) -> Any:
    """Return the Router that serves; outside a proxy, in the trial process, the given one."""
    try:
        return live_router()
    except RuntimeError:
        return router


def _copied(router: Any) -> Any:
    made = object.__new__(type(router))
    made.__dict__.update(vars(router))
    for name in _TABLES:
        if name in vars(router) and getattr(router, name) is not None:
            setattr(made, name, copy.copy(getattr(router, name)))
    for name in _INDEXES:
        setattr(made, name, {key: list(places) for key, places in getattr(router, name).items()})
    made.pattern_router = _patterns(router.pattern_router)
    made.team_pattern_routers = {team: _patterns(each) for team, each in router.team_pattern_routers.items()}
    # The Router that serves skips what it cannot build; here it must be heard.
    made.ignore_invalid_deployments = False
    return made


def _patterns(router: Any) -> Any:
    made = PatternMatchRouter()
    made.patterns = {pattern: list(models) for pattern, models in router.patterns.items()}
    return made


def default_settings() -> Mapping[str, Any]:
    """Return what each router setting is when a configuration does not name it."""
    declared = {name: each.default for name, each in inspect.signature(Router.__init__).parameters.items()}
    return {
        **{name: default for name, default in declared.items() if default is not inspect.Parameter.empty},
        "num_retries": openai.DEFAULT_MAX_RETRIES if litellm.num_retries is None else litellm.num_retries,
        "timeout": litellm.request_timeout,
        "allowed_fails": litellm.allowed_fails,
        "cooldown_time": DEFAULT_COOLDOWN_TIME_SECONDS,
        "fallbacks": litellm.fallbacks,
        "context_window_fallbacks": litellm.context_window_fallbacks,
        "model_group_alias": {},
        "max_retries": None,
    }


def drop_prices(model_ids: Sequence[str]) -> None:
    """Forget the prices of deployments that are gone; LiteLLM keeps one entry for each that ever was."""
    router = live_router()
    for model_id in model_ids:
        if router is None or not router.has_model_id(model_id):
            litellm.model_cost.pop(model_id, None)


def trial_router() -> Any:
    """Build an empty Router, in a process that is thrown away: a Router registers callbacks that outlive it."""
    return Router(model_list=[])


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:500]

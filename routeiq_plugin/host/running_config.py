"""A new configuration taken over by this process: every part is staged beside what serves, then committed."""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from routeiq_plugin.appliers import Prepared
from routeiq_plugin.errors import InvalidConfig, Unavailable
from routeiq_plugin.host import staged_router
from routeiq_plugin.host.config_agents import AgentRefused, StagedAgents
from routeiq_plugin.host.config_servers import ServerRefused, StagedServers
from routeiq_plugin.host.environment import resolved
from routeiq_plugin.host.live_settings import Overlay, StagedSettings
from routeiq_plugin.host.models import configured_aliases, live_router, published

Drive = Callable[[Iterable[None]], Awaitable[None]]
"""Runs steps on the event loop without holding it."""
Breathe = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Deployments:
    """Changes of the configuration's deployments, by the caller's keys; entries are raw."""

    removed: Sequence[str] = ()
    news: Mapping[str, Mapping[str, Any]] | None = None
    order: Sequence[str] = ()
    """Every key of the new configuration, in its order."""


class RunningConfig:
    """What this process runs of its configuration: which deployment is which, and the ways to change it."""

    def __init__(self, drive: Drive, breathe: Breathe) -> None:
        self._drive = drive
        self._breathe = breathe
        self._ids: dict[str, str] = {}
        self._router: weakref.ref[Any] | None = None
        self._retired: Sequence[str] = ()

    async def know(self, deployments: Mapping[str, Mapping[str, Any]]) -> None:
        """Learn which of the Router's deployments those of the configuration are; entries are raw."""
        self._ids = {}
        await self._drive(self._learn(deployments, self._ids))
        self._router = _reference(live_router())

    def _learn(self, deployments: Mapping[str, Mapping[str, Any]], ids: dict[str, str]) -> Iterable[None]:
        for key, entry in deployments.items():
            ids[key] = staged_router.deployment_id(resolved(entry))
            yield

    def missing(self) -> Sequence[str]:
        """Name the deployments that LiteLLM has lost since, all of them after it replaced its Router."""
        router = live_router()
        return (
            [] if router is None else [key for key, model_id in self._ids.items() if not router.has_model_id(model_id)]
        )

    @property
    def router_replaced(self) -> bool:
        """Tell whether LiteLLM built itself another Router, which knows the settings of its own start only."""
        return self._router is not None and self._router() is not live_router()

    async def stage_models(self, changes: Deployments, settings: Mapping[str, Any], unset: Sequence[str]) -> Prepared:
        """Stage deployments and router settings; raises `InvalidConfig`."""
        router = live_router()
        if router is None:
            raise Unavailable("LiteLLM has no Router: its configuration began without any model", retry_after=60)
        entries: dict[str, Mapping[str, Any]] = {}
        ids = {key: model_id for key, model_id in self._ids.items() if key not in changes.removed}
        await self._drive(_resolve(changes.news or {}, entries))
        await self._drive(self._learn(changes.news or {}, ids))
        values = {key: resolved(value) for key, value in settings.items()}
        if unset:
            defaults = staged_router.default_settings()
            values |= {key: defaults[key] for key in unset if defaults.get(key) is not None or key not in _NUMBERS}
        if "model_group_alias" in values:
            values["model_group_alias"] = {**_aliases_of_others(), **(values["model_group_alias"] or {})}
        staged = staged_router.StagedRouter(router)
        gone = [self._ids[key] for key in (*changes.removed, *entries) if key in self._ids]
        order = [ids[key] for key in changes.order if key in ids]
        try:
            await self._drive(staged.steps(gone, list(entries.items()), values, order))
        except staged_router.DeploymentRefused as refused:
            raise InvalidConfig(f"model_list.{refused.key}", refused.reason) from None
        except staged_router.SettingsRefused as refused:
            raise InvalidConfig("router_settings", str(refused)) from None
        return _Models(self, staged, ids)

    async def stage_agents(self, entries: Sequence[Mapping[str, Any] | None], names: Sequence[str]) -> Prepared:
        """Stage the agents of the configuration, in its order; None is one that did not change."""
        staged = StagedAgents()
        try:
            await self._drive(staged.steps((entry and resolved(entry) for entry in entries), names))
        except AgentRefused as refused:
            place = f".{refused.place}" if refused.place else ""
            raise InvalidConfig(f"agents.{refused.agent}{place}", refused.reason) from None
        return staged

    async def stage_servers(self, removed: Sequence[str], news: Mapping[str, Mapping[str, Any]]) -> Prepared:
        """Stage the MCP servers of the configuration; raises `InvalidConfig`."""
        staged = await StagedServers.begin()
        try:
            await staged.build(removed, news, self._breathe)
        except ServerRefused as refused:
            raise InvalidConfig(f"mcp_servers.{refused.server}", refused.reason) from None
        return staged

    def stage_settings(self, attributes: Mapping[str, Any], unset: Sequence[str], overlay: Overlay) -> Prepared:
        """Stage `litellm_settings`, and what LiteLLM takes for its configuration."""
        return StagedSettings({key: resolved(value) for key, value in attributes.items()}, tuple(unset), overlay)

    def adopt(self, ids: dict[str, str], retired: Sequence[str]) -> tuple[dict[str, str], Sequence[str]]:
        """Take over which deployment is which; returns what was known before."""
        before = self._ids, self._retired
        staged_router.drop_prices(self._retired)  # of the reload before: their last requests have ended
        self._ids, self._retired = ids, retired
        self._router = _reference(live_router())
        return before

    def restore(self, before: tuple[dict[str, str], Sequence[str]]) -> None:
        """Know again what was known before."""
        self._ids, self._retired = before


_NUMBERS = frozenset({"timeout", "num_retries", "retry_after", "allowed_fails", "cooldown_time"})
"""LiteLLM converts these, and cannot convert None."""


class _Models:
    """A staged Router together with our knowledge of it."""

    name = "model_list"

    def __init__(self, running: RunningConfig, staged: staged_router.StagedRouter, ids: dict[str, str]) -> None:
        self._running = running
        self._staged = staged
        self._ids = ids
        self._before: tuple[dict[str, str], Sequence[str]] | None = None

    def commit(self) -> None:
        self._staged.commit()
        self._before = self._running.adopt(self._ids, self._staged.retired)

    def rollback(self) -> None:
        self._staged.rollback()
        if self._before is not None:
            self._running.restore(self._before)


def _aliases_of_others() -> Mapping[str, Any]:
    """Return what the Router knows beside the configuration: the aliases of RouteIQ, which choose."""
    configured = configured_aliases()
    return {name: model for name, model in published().items() if name not in configured}


def _resolve(news: Mapping[str, Mapping[str, Any]], entries: dict[str, Mapping[str, Any]]) -> Iterable[None]:
    for key, entry in news.items():
        entries[key] = resolved(entry)
        yield


def _reference(router: Any) -> weakref.ref[Any] | None:
    return None if router is None else weakref.ref(router)

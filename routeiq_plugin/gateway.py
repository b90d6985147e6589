"""The composition root: settings become a store, services and routes; one gateway per worker."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from routeiq_plugin._version import __version__
from routeiq_plugin.a2a.activity import Activity
from routeiq_plugin.a2a.activity_routes import activity_routes
from routeiq_plugin.a2a.backends import Backends
from routeiq_plugin.a2a.card_routes import card_routes
from routeiq_plugin.a2a.deliveries import PushDeliveries
from routeiq_plugin.a2a.directory import KIND, AgentDirectory
from routeiq_plugin.a2a.discovery import CardReader, Discovery, OwnCards
from routeiq_plugin.a2a.governance import counted
from routeiq_plugin.a2a.health import Health
from routeiq_plugin.a2a.invocation import invocation_routes
from routeiq_plugin.a2a.oversight import Oversight
from routeiq_plugin.a2a.public import public_routes
from routeiq_plugin.a2a.push import PushConfigs
from routeiq_plugin.a2a.push_routes import push_routes
from routeiq_plugin.a2a.rest import rest_routes
from routeiq_plugin.a2a.routes import registry_routes
from routeiq_plugin.a2a.service import AgentGateway
from routeiq_plugin.a2a.services import TaskServices
from routeiq_plugin.a2a.tasks import TaskOwnership
from routeiq_plugin.appliers import LiveSetting, Reloads
from routeiq_plugin.errors import CannotOpen, RouteIQError, Unavailable
from routeiq_plugin.host import chat_models
from routeiq_plugin.host.agents import Registry, public_agents
from routeiq_plugin.host.app import OwnedRoutes, mount, shadowed
from routeiq_plugin.host.auth import Caller
from routeiq_plugin.host.config import callback_base
from routeiq_plugin.host.lifecycle import before_shutdown, config_is_loaded, server_log
from routeiq_plugin.host.process import has_own_database
from routeiq_plugin.host.sealing import SaltKeySealer
from routeiq_plugin.mcp.feature import McpFeature
from routeiq_plugin.operations.faults import Faults
from routeiq_plugin.operations.info import Feature, Info, State
from routeiq_plugin.operations.routes import operations_routes
from routeiq_plugin.outbound import Clients, Guard
from routeiq_plugin.reload.feature import HotReload
from routeiq_plugin.routing.hot import RoutingApplier
from routeiq_plugin.routing.reloading import AliasReloads
from routeiq_plugin.routing.routes import routing_routes
from routeiq_plugin.routing.service import Routing
from routeiq_plugin.settings import Settings
from routeiq_plugin.store.agents import AgentStore
from routeiq_plugin.store.audit import AuditLog
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.feed import Change, Resync, RevisionFeed
from routeiq_plugin.store.public import AGENTS, PublicObjects
from routeiq_plugin.store.push import PushStore
from routeiq_plugin.store.status import status
from routeiq_plugin.store.strategies import EVERY
from routeiq_plugin.store.strategies import KIND as STRATEGIES
from routeiq_plugin.store.tasks import TaskStore
from routeiq_plugin.store.usage import UsageStore

logger = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 3.0
"""How long a request waits for a registry that is still loading."""
NOT_YET: Final = (
    "RouteIQ cannot serve this yet: its database cannot be used; proxy admins find the details in /router/info"
)
"""Any key may read this; the details name hosts and paths."""
FIRST_RETRY_SECONDS: Final = 0.5
LAST_RETRY_SECONDS: Final = 15.0
MIRROR_SECONDS: Final = 5.0
"""How soon we notice that LiteLLM emptied its registry; it does so only when it runs on its own database."""
_CONFIG_POLL_SECONDS: Final = 0.05
CONFIG_PATIENCE_SECONDS: Final = 30.0
"""How long LiteLLM may take to adopt its config's master key; it may also come from where we cannot look."""


class Gateway:
    """Everything that one worker runs; built by `attach`, started on LiteLLM's loop, stopped before LiteLLM stops."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._faults = Faults()
        self._loaded = asyncio.Event()
        self._opened = asyncio.Event()
        self._reason: str | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._loading: set[asyncio.Task[Any]] = set()

        guard = Guard(settings.outbound.allowed_hosts)
        self._clients = Clients(settings.outbound, guard)
        self._database = Database(settings.database_url)
        self._feed = RevisionFeed(self._database)
        directory = AgentDirectory(
            AgentStore(self._database, SaltKeySealer()),
            Registry(),
            guard,
            PublicObjects(self._database, AGENTS),
            public_agents(),
        )
        reader = CardReader(self._clients, guard)
        own_cards = OwnCards(reader, time.monotonic, self._faults.record)
        usage = UsageStore(self._database)
        self._oversight = Oversight(settings.a2a.breaker, self._clients, directory, usage, self._faults.record)
        self._tasks_of_agents = self._task_services(guard)
        self._agents = AgentGateway(
            directory=directory,
            backends=Backends(self._clients, time.monotonic, self._oversight.breaker, own_cards, self._tasks_of_agents),
            discovery=Discovery(reader, guard),
            health=Health(self._clients, self._oversight.breaker),
            breaker=self._oversight.breaker,
            recorder=self._oversight.recorder,
            default_access=settings.a2a.default_access,
            public_url=settings.public_url,
            ready=self.ready,
        )
        self._mcp = McpFeature(
            settings.mcp,
            self._database,
            SaltKeySealer(),
            self._clients,
            guard,
            timeout=settings.outbound.timeout_seconds,
            public_url=settings.public_url,
            ready=self.ready,
            on_fault=self._faults.record,
        )
        self.routing = Routing(settings.routing, self._faults.record)
        self._reloads = Reloads()
        self._reloads.offer_reloadable(AliasReloads(self.routing))
        self._offer_settings()
        self._reload = HotReload(settings, self._database, SaltKeySealer(), self._reloads, self._faults.record)
        routers = [operations_routes(self.info, AuditLog(self._database)), self._reload.routes(self._store_is_open)]
        if settings.routing.enabled:
            routers.append(routing_routes(self.routing))
        if settings.a2a.enabled:
            routers += [
                registry_routes(self._agents),
                public_routes(self._agents),
                card_routes(self._agents),
                activity_routes(self._agents, Activity(usage, directory)),
                invocation_routes(self._agents),
                rest_routes(self._agents),
                push_routes(self._tasks_of_agents.deliveries),
            ]
        if settings.mcp.enabled:
            routers += self._mcp.routers()
        self._routes = OwnedRoutes(routers)

    def _offer_settings(self) -> None:
        """Say which settings of `routeiq:` change while the proxy runs; the others need a restart."""
        breaker, agents, integrity = self._oversight.breaker, self._agents, self._mcp.gateway.integrity
        self._reloads.offer(
            LiveSetting(
                "a2a.default_access",
                lambda new: new.a2a.default_access,
                lambda: agents.default_access,
                partial(setattr, agents, "default_access"),
            )
        )
        self._reloads.offer(
            LiveSetting(
                "a2a.breaker",
                lambda new: (new.a2a.breaker.failures, new.a2a.breaker.cooldown_seconds),
                lambda: breaker.rule,
                lambda rule: breaker.retune(*rule),
            )
        )
        self._reloads.offer(
            LiveSetting(
                "mcp.pin_tools",
                lambda new: new.mcp.pin_tools,
                lambda: integrity.enforced,
                partial(setattr, integrity, "enforced"),
            )
        )
        if self._settings.routing.enabled:
            self._reloads.offer(RoutingApplier(self.routing, "aliases"))
            self._reloads.offer(RoutingApplier(self.routing, "groups"))

    def _task_services(self, guard: Guard) -> TaskServices:
        store = PushStore(self._database, SaltKeySealer())
        base = partial(callback_base, self._settings.public_url)
        now = partial(datetime.now, UTC)
        ownership = TaskOwnership(TaskStore(self._database), now)
        return TaskServices(
            ownership=ownership,
            push=PushConfigs(store, guard, base, now),
            deliveries=PushDeliveries(store, ownership, self._clients, guard, now=now, on_fault=self._faults.record),
            sealer=SaltKeySealer(),
            on_fault=self._faults.record,
        )

    # Life

    def start(self) -> None:
        """Mount the routes and begin loading; needs the running loop, returns at once."""
        mount(self._routes)
        before_shutdown(self.stop)
        if self._settings.a2a.enabled:
            chat_models.guard_calls(self._agents.require_model)
            chat_models.filter_listings(self._agents.may_see)
        self._tasks = [asyncio.create_task(self._run(), name="routeiq")]
        if self._settings.routing.enabled:
            self._tasks.append(asyncio.create_task(self.routing.run(), name="routeiq artifacts"))
            self._tasks.append(asyncio.create_task(self.routing.follow_router(), name="routeiq aliases"))

    async def stop(self) -> None:
        """End background work and connections; safe to call twice."""
        tasks, self._tasks = self._tasks, []
        for task in (*tasks, *self._loading):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.routing.close()
        await counted()
        await self._oversight.aclose()
        await self._tasks_of_agents.aclose()
        await self._mcp.aclose()
        await self._reload.aclose()
        await self._clients.aclose()
        await self._database.close()
        if tasks:
            server_log.info("routeiq: stopped")

    async def ready(self) -> None:
        """Return when the registry is loaded; raises `Unavailable` when that takes too long."""
        if self._loaded.is_set():
            return
        if self._reason is None:
            try:
                await asyncio.wait_for(self._loaded.wait(), PATIENCE_SECONDS)
            except TimeoutError:
                raise Unavailable("RouteIQ is still starting", retry_after=PATIENCE_SECONDS) from None
            return
        raise Unavailable(NOT_YET, retry_after=PATIENCE_SECONDS)

    async def _store_is_open(self) -> None:
        """Return when the database was opened once; raises `Unavailable` when that takes too long."""
        try:
            await asyncio.wait_for(self._opened.wait(), PATIENCE_SECONDS)
        except TimeoutError:
            raise Unavailable(NOT_YET, retry_after=PATIENCE_SECONDS) from None

    async def _run(self) -> None:
        await self._until_config_is_loaded()
        await self._open()
        self._opened.set()
        async with asyncio.TaskGroup() as following:
            following.create_task(self._feed.run(self._follow))
            following.create_task(self._reload.run())
            if self._settings.a2a.enabled:
                following.create_task(self._oversight.run())
                following.create_task(self._tasks_of_agents.run())
                if has_own_database():
                    following.create_task(self._keep_mirrored())
            if self._settings.mcp.enabled:
                following.create_task(self._mcp.run())

    async def _until_config_is_loaded(self) -> None:
        give_up = time.monotonic() + CONFIG_PATIENCE_SECONDS
        while not config_is_loaded() and time.monotonic() < give_up:  # noqa: ASYNC110  LiteLLM offers no event
            await asyncio.sleep(_CONFIG_POLL_SECONDS)

    async def _open(self) -> None:
        delay = FIRST_RETRY_SECONDS
        while True:
            try:
                await self._database.open()
                self._reason = None
                return
            except RouteIQError as error:
                self._reason = str(error.detail)
                self._faults.record("database", error)
            await asyncio.sleep(delay)
            delay = min(delay * 2, LAST_RETRY_SECONDS)

    async def _follow(self, news: Sequence[Change] | Resync) -> None:
        self._reload.notice(news)
        self._follow_strategies(news)
        try:
            if self._settings.a2a.enabled:
                await self._follow_agents(news)
            if self._settings.mcp.enabled:
                await self._mcp.follow(news)
        except Exception as error:
            self._faults.record("following changes", error)
            raise
        self._loaded.set()
        lost = [*self._agents.directory.unreadable, *self._mcp.directory.unreadable]
        if lost:
            self._faults.record("sealed secrets", CannotOpen(f"Sealed with another key: {', '.join(lost)}"))

    def _follow_strategies(self, news: Sequence[Change] | Resync) -> None:
        """Load again what some worker was asked to; in the background, the feed goes on."""
        if isinstance(news, Resync):
            named = {EVERY}  # whoever asked while this worker did not follow is not heard of
        else:
            named = {change.object_id for change in news if change.kind == STRATEGIES}
        for name in {EVERY} if EVERY in named else named:
            loading = asyncio.create_task(self.routing.reload(None if name == EVERY else name))
            self._loading.add(loading)
            loading.add_done_callback(self._loading.discard)

    async def _follow_agents(self, news: Sequence[Change] | Resync) -> None:
        if isinstance(news, Resync):
            await self._agents.directory.load()
            self._oversight.agents_changed(None)
            return
        changed = [change.object_id for change in news if change.kind == KIND]
        for agent_id in await self._agents.directory.refresh(changed):
            self._agents.backends.forget(agent_id)
        self._oversight.agents_changed(changed)
        if any(change.kind == AGENTS.kind for change in news):
            await self._agents.directory.refresh_public()

    async def _keep_mirrored(self) -> None:
        while True:
            await asyncio.sleep(MIRROR_SECONDS)
            try:
                restored = self._agents.directory.restore_mirror()
            except Exception as error:  # noqa: BLE001  recorded; following the store must go on
                self._faults.record("mirroring agents", error)
            else:
                if restored:
                    logger.info("routeiq: put %d agents back after LiteLLM reloaded its registry", restored)

    # Hooks

    async def refuse_forbidden_agent(self, model: str, caller: Caller) -> None:
        """Apply the agents' rule to `a2a/<name>` chat models, which stock opens to every key without grants."""
        if self._settings.a2a.enabled:
            await self._agents.require_model(caller, model.removeprefix(chat_models.PREFIX))

    # Facts

    async def info(self) -> Info:
        """Gather what `/router/info` tells."""
        generations = await self._reload.worker_facts()
        return Info(
            version=__version__,
            features=self._features(generations),
            store=await status(self._database),
            feed_connected=self._feed.connected,
            feed_revision=self._feed.revision,
            feed_error=self._feed.last_error,
            routes=sorted(f"{method} {route.path}" for route in self._routes.routes for method in route.methods or ()),
            shadowed=shadowed(self._routes),
            faults=self._faults.listed(),
            fault_counts=self._faults.counts(),
        )

    def _features(self, generations: Sequence[Mapping[str, Any]]) -> Mapping[str, Feature]:
        return {
            "a2a": self._a2a(),
            "mcp": self._mcp_feature(),
            "routing": self._routing(),
            "reload": self._hot_reload(generations),
        }

    def _routing(self) -> Feature:
        if not self._settings.routing.enabled:
            return Feature(State.OFF)
        reasons = self.routing.reasons()
        return Feature(
            State.UNAVAILABLE if reasons else State.READY,
            reason="; ".join(reasons) or None,
            facts=self.routing.facts(),
            admin_facts=self.routing.admin_facts(),
        )

    def _hot_reload(self, generations: Sequence[Mapping[str, Any]]) -> Feature:
        if self._opened.is_set():
            return Feature(State.READY, facts={**self._reload.facts(), "workers": generations})
        return Feature(State.STARTING if self._reason is None else State.UNAVAILABLE, reason=self._reason)

    def _a2a(self) -> Feature:
        if not self._settings.a2a.enabled:
            return Feature(State.OFF)
        directory = self._agents.directory
        facts = {
            "agents": directory.count,
            "unreadable_agents": len(directory.unreadable),
            "default_access": self._agents.default_access,
            **self._oversight.facts(),
        }
        return self._feature(facts, self._oversight.admin_facts)

    def _mcp_feature(self) -> Feature:
        if not self._settings.mcp.enabled:
            return Feature(State.OFF)
        return self._feature({**self._mcp.facts(), "stdio": self._settings.mcp.stdio}, self._mcp.admin_facts)

    def _feature(self, facts: Mapping[str, Any], admin_facts: Callable[[], Mapping[str, Any]]) -> Feature:
        if self._loaded.is_set():
            return Feature(State.READY, facts=facts, admin_facts=admin_facts())
        state = State.STARTING if self._reason is None else State.UNAVAILABLE
        return Feature(state, reason=self._reason, facts=facts)

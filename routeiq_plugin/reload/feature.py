"""Hot reload as one thing that the gateway starts, feeds with news and stops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter

from routeiq_plugin.appliers import Reloads
from routeiq_plugin.errors import Unavailable
from routeiq_plugin.host.config import config_path
from routeiq_plugin.host.live_settings import overlay_config_file
from routeiq_plugin.host.running_config import RunningConfig
from routeiq_plugin.host.sealing import names_of_secrets
from routeiq_plugin.reload.application import Application
from routeiq_plugin.reload.following import Following, Polling
from routeiq_plugin.reload.identity import Identity
from routeiq_plugin.reload.journal import OnFault
from routeiq_plugin.reload.objects import open_source
from routeiq_plugin.reload.pace import breathe, drive
from routeiq_plugin.reload.routes import reload_routes
from routeiq_plugin.reload.service import Reloader, Stores
from routeiq_plugin.reload.sources import capture
from routeiq_plugin.reload.status import SyncStatus
from routeiq_plugin.reload.watching import Watching
from routeiq_plugin.reload.workshop import Workshop
from routeiq_plugin.settings import Settings
from routeiq_plugin.store.config_source import SourceStates
from routeiq_plugin.store.config_workers import ConfigWorkers
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.feed import Change, Resync
from routeiq_plugin.store.generations import KIND, GenerationStore
from routeiq_plugin.store.sealing import Sealer
from routeiq_plugin.store.strategies import StrategyNews

JOIN_PATIENCE_SECONDS: Final = 30.0
"""How long a request to reload waits while this worker decides what it must serve."""


class HotReload:
    """Everything of `reload/` in one worker. Building it reads the boot file, before anybody can edit it."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        sealer: Sealer,
        reloads: Reloads,
        on_fault: OnFault,
    ) -> None:
        boot = capture(config_path())
        identity = Identity()
        self._reloads = reloads
        self._on_fault = on_fault
        self._workshop = Workshop()
        self._news = StrategyNews(database)
        self._generations = GenerationStore(database, sealer, settings.reload.history)
        self._application = Application(RunningConfig(drive, breathe), reloads, on_fault)
        states = SourceStates(database)
        workers = ConfigWorkers(database)
        self._reloader = Reloader(
            identity=identity,
            boot=boot,
            source=open_source(settings.reload, boot.path),
            workshop=self._workshop,
            application=self._application,
            stores=Stores(self._generations, states),
            secrets=lambda: sorted(names_of_secrets((settings.database_url,))),
            allowlist=settings.reload.env_allowlist,
            on_fault=on_fault,
        )
        self._following = Following(self._reloader, identity, workers, on_fault)
        self._status = SyncStatus(settings.reload, self._reloader, self._following, states, workers)
        self._joined = asyncio.Event()
        self._polling: Polling | None = None
        self._watching: Watching | None = None
        if self._reloader.source.remote:
            self._polling = Polling(self._reloader, identity, states, settings.reload.interval_seconds, on_fault)
        if settings.reload.watch and boot.path is not None:
            self._watching = Watching(self._reloader, boot.path, on_fault)
        overlay_config_file(self._application.overlay)

    def routes(self, ready: Callable[[], Awaitable[None]]) -> APIRouter:
        """Build the routes; `ready` returns when the store is open."""

        async def joined() -> None:
            await ready()
            try:
                await asyncio.wait_for(self._joined.wait(), JOIN_PATIENCE_SECONDS)
            except TimeoutError:
                told = "This worker has not found its place among the others yet"
                raise Unavailable(told, retry_after=JOIN_PATIENCE_SECONDS) from None

        return reload_routes(
            self._reloader,
            self._following,
            self._status,
            self._generations,
            reloads=self._reloads,
            news=self._news,
            ready=joined,
            on_fault=self._on_fault,
        )

    def notice(self, news: Sequence[Change] | Resync) -> None:
        """Hear what was committed."""
        if isinstance(news, Resync) or any(change.kind == KIND for change in news):
            self._following.notice()

    async def run(self) -> None:
        """Join the other workers, then follow them, poll and watch until cancelled; the store is open."""
        await self._following.join()
        self._joined.set()
        async with asyncio.TaskGroup() as working:
            working.create_task(self._following.run())
            if self._polling is not None:
                working.create_task(self._polling.run())
            if self._watching is not None:
                working.create_task(self._watching.run())

    async def aclose(self) -> None:
        """Sign off and end the trial process; the store is still open."""
        await self._following.aclose()
        await self._workshop.aclose()
        await self._reloader.source.aclose()

    def facts(self) -> Mapping[str, Any]:
        """Tell for `/router/info` what this worker serves."""
        return self._status.facts()

    async def worker_facts(self) -> Sequence[Mapping[str, Any]]:
        """Tell for `/router/info` what every worker serves."""
        return await self._status.worker_facts()

"""Background work of one worker: joins and follows the others, polls or watches the source, keeps LiteLLM in step."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from routeiq_plugin.errors import Conflict, InvalidConfig, RouteIQError
from routeiq_plugin.reload.identity import Identity
from routeiq_plugin.reload.journal import OnFault
from routeiq_plugin.reload.service import Order, Reloader
from routeiq_plugin.reload.sources import Source
from routeiq_plugin.store.config_source import SourceState, SourceStates
from routeiq_plugin.store.config_workers import ConfigWorkers, WorkerReport

HEARTBEAT_SECONDS: Final = 15.0
REPAIR_SECONDS: Final = 5.0
FIRST_RETRY_SECONDS: Final = 0.5
LONGEST_RETRY_SECONDS: Final = 15.0
LONGEST_BACKOFF_SECONDS: Final = 600.0
JITTER: Final = 0.1
"""Of the interval, either way: workers that started together do not ask together for ever."""
_TURN_SECONDS: Final = 180.0
"""How long a worker may take over one poll before another one does it."""

logger = logging.getLogger(__name__)


class Following:
    """Keeps this worker on the newest generation."""

    def __init__(
        self,
        reloader: Reloader,
        identity: Identity,
        workers: ConfigWorkers,
        on_fault: OnFault,
    ) -> None:
        self._reloader = reloader
        self._identity = identity
        self._workers = workers
        self._on_fault = on_fault
        self._news = asyncio.Event()
        self._error: str | None = None

    @property
    def error(self) -> str | None:
        """Why this worker does not serve the newest generation; for admins."""
        return self._error

    def notice(self) -> None:
        """Hear that there may be another generation."""
        self._news.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as working:
            working.create_task(self._follow())
            working.create_task(self._beat())
            working.create_task(self._keep())

    async def aclose(self) -> None:
        """Tell the others that this worker stops."""
        try:
            await self._workers.leave(self._identity.name)
        except RouteIQError as away:
            logger.info("routeiq: could not sign off: %s", away)

    async def tell(self) -> None:
        """Report what this worker serves; an outage is recorded, the next report will say the same."""
        serving = self._reloader.serving
        report = WorkerReport(
            worker=self._identity.name,
            host=self._identity.host,
            pid=self._identity.pid,
            started_at=self._identity.started_at,
            generation=serving.generation,
            hash=serving.hash,
            applied_at=serving.applied_at,
            error=self._error,
        )
        try:
            await self._workers.tell(report)
        except RouteIQError as away:
            logger.info("routeiq: could not report this worker: %s", away)

    async def join(self) -> None:
        """Take the place among the other workers; tried until it succeeds, the boot file serving meanwhile."""
        delay = FIRST_RETRY_SECONDS
        while True:
            try:
                alive = await self._workers.alive()
                peers = [each for each in alive if not self._identity.is_dead(each.worker)]
                await self._reloader.join(peers=bool(peers))
                self._error = None
                break
            except InvalidConfig as error:  # it cannot serve here: it is tried again, and a reload may replace it
                self._failed("joining the current configuration", error)
                self.notice()
                break
            except Exception as error:  # noqa: BLE001  recorded; what the proxy booted with serves meanwhile
                self._failed("joining the current configuration", error)
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_RETRY_SECONDS)
        await self.tell()

    async def _follow(self) -> None:
        delay = FIRST_RETRY_SECONDS
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                if await self._reloader.follow():
                    await self.tell()
                    logger.info("routeiq: serves configuration generation %d", self._reloader.serving.generation)
                if self._error is not None:
                    self._error = None
                    await self.tell()
                delay = FIRST_RETRY_SECONDS
            except Exception as error:  # noqa: BLE001  recorded; the old generation serves, and it is tried again
                self._failed("following the configuration", error)
                await self.tell()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), delay)
                delay = min(delay * 2, LONGEST_RETRY_SECONDS)
                self._news.set()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            await self.tell()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(REPAIR_SECONDS)
            try:
                restored = await self._reloader.repair()
            except Exception as error:  # noqa: BLE001  recorded; tried again
                self._on_fault("keeping the configuration's models", error)
            else:
                if restored:
                    logger.info("routeiq: put %d deployments back that LiteLLM had dropped", restored)

    def _failed(self, where: str, error: Exception) -> None:
        self._error = str(getattr(error, "detail", error))
        self._on_fault(where, error)


class Polling:
    """Asks a remote source in turn with the other workers, more rarely while it fails."""

    def __init__(
        self, reloader: Reloader, identity: Identity, states: SourceStates, interval: float, on_fault: OnFault
    ) -> None:
        self._reloader = reloader
        self._source: Source = reloader.source
        self._identity = identity
        self._states = states
        self._interval = interval
        self._on_fault = on_fault

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            try:
                await self.poll()
            except Exception as error:  # noqa: BLE001  recorded and told in the status; polling goes on
                self._on_fault("config sync", error)
            await asyncio.sleep(jittered(min(self._interval, 5.0)))

    async def poll(self) -> None:
        """Ask the source if it is due and this worker's turn; what went wrong is in the state afterwards."""
        now = datetime.now(UTC)
        state = await self._states.take(
            self._source.name, self._identity.name, now, now + timedelta(seconds=_TURN_SECONDS)
        )
        if state is None:
            return
        try:
            await self._ask(state)
        except (RouteIQError, InvalidConfig) as error:
            self._on_fault("config sync", error)
        finally:
            await self._give_turn_back()

    async def _ask(self, state: SourceState) -> None:
        try:
            fetched = await self._source.fetch(state.etag)
        except RouteIQError as error:
            await self._note(error)
            raise
        if fetched is None:
            await self._states.change(self._source.name, _quiet)
            return
        try:
            await self._reloader.take(Order("sync"), state, fetched)
        except Conflict:
            return  # somebody reloads by hand: the next poll finds what is left

    async def _note(self, error: RouteIQError) -> None:
        def failed(state: SourceState) -> SourceState:
            now, told = datetime.now(UTC), str(error.detail)
            return replace(state, last_attempt=now, last_error=told, last_error_at=now, failures=state.failures + 1)

        await self._states.change(self._source.name, failed)

    async def _give_turn_back(self) -> None:
        def given_back(state: SourceState) -> SourceState:
            pause = jittered(backoff(self._interval, state.failures if state.rejected_etag is None else 0))
            due = datetime.now(UTC) + timedelta(seconds=pause)
            return replace(state, next_poll=due, poller=None, lease_until=None)

        await self._states.change(self._source.name, given_back)


def _quiet(state: SourceState) -> SourceState:
    """Note that the source has not changed; what was rejected still is."""
    now = datetime.now(UTC)
    failures = 0 if state.rejected_etag is None else state.failures
    return replace(state, last_attempt=now, last_success=now, failures=failures)


def backoff(interval: float, failures: int) -> float:
    """Double the interval with each failure in a row, up to ten minutes or the interval itself."""
    return min(interval * 2.0 ** min(failures, 16), max(LONGEST_BACKOFF_SECONDS, interval))


def jittered(seconds: float) -> float:
    """Vary a pause by a tenth either way."""
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  not for secrets

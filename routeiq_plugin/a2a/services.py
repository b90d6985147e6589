"""What every relay of one worker shares: owners of tasks, webhooks, and what runs for them in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from routeiq_plugin.a2a.deliveries import PushDeliveries
from routeiq_plugin.a2a.push import PushConfigs
from routeiq_plugin.a2a.tasks import TaskOwnership
from routeiq_plugin.errors import RouteIQError

logger = logging.getLogger(__name__)

FLUSH_SECONDS: Final = 5.0
"""How soon owners that could not be written are tried again."""
PRUNE_SECONDS: Final = 6 * 3600.0

OnFault = Callable[[str, BaseException], None]


class Sealer(Protocol):
    """Encrypts what goes through callers' hands; the one in use is the store's."""

    def seal(self, plain: str) -> str:
        """Return text that only we can read."""
        ...

    def open(self, sealed: str) -> str:
        """Return what was sealed; raises `CannotOpen`."""
        ...


@dataclass(frozen=True, slots=True)
class TaskServices:
    """Built once per worker by the composition root."""

    ownership: TaskOwnership
    push: PushConfigs
    deliveries: PushDeliveries
    sealer: Sealer
    on_fault: OnFault

    async def run(self) -> None:
        """Deliver notifications and keep the tables small until cancelled."""
        async with asyncio.TaskGroup() as working:
            working.create_task(self.deliveries.run())
            working.create_task(self._keep_written())
            working.create_task(self._keep_small())

    async def aclose(self) -> None:
        """Write what is still unwritten; call it before the database is closed."""
        try:
            await self.ownership.flush()
        except RouteIQError as away:
            self.on_fault("owners of tasks", away)

    async def _keep_written(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.ownership.flush()
            except RouteIQError as away:
                logger.info("routeiq: owners of tasks stay in memory: %s", away)
            except Exception as error:  # noqa: BLE001  recorded; what else runs must go on
                self.on_fault("owners of tasks", error)

    async def _keep_small(self) -> None:
        while True:
            try:
                await self.ownership.prune()
                await self.deliveries.prune()
            except RouteIQError as away:
                logger.info("routeiq: old tasks are forgotten later: %s", away)
            except Exception as error:  # noqa: BLE001  recorded; what else runs must go on
                self.on_fault("forgetting old tasks", error)
            await asyncio.sleep(PRUNE_SECONDS)

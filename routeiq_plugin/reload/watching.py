"""Reload when a file changes: edited in place, replaced by a rename, or swapped behind a symbolic link."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Sequence
from typing import Final

from routeiq_plugin.errors import Conflict, InvalidConfig, RouteIQError
from routeiq_plugin.reload.documents import digest
from routeiq_plugin.reload.journal import OnFault
from routeiq_plugin.reload.service import Order, Reloader
from routeiq_plugin.reload.sources import capture

SETTLE_MS: Final = 200
"""Editors write in several steps: what follows within this time is one change."""
RETRY_SECONDS: Final = 1.0


class Watching:
    """Watches the directories of a configuration's files, and of what their symbolic links lead to."""

    def __init__(self, reloader: Reloader, path: str, on_fault: OnFault) -> None:
        self._reloader = reloader
        self._path = path
        self._on_fault = on_fault
        self._seen = digest(capture(path).documents)
        self._delayed: str | None = None

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                await self._watch()
            except Exception as error:  # noqa: BLE001  recorded; watching goes on
                self._on_fault("watching the configuration", error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _watch(self) -> None:
        watchfiles = await asyncio.to_thread(__import__, "watchfiles")
        directories = directories_of(await asyncio.to_thread(self._files))
        await self._look()
        async for _ in watchfiles.awatch(
            *directories,
            recursive=False,
            step=50,
            debounce=SETTLE_MS,
            watch_filter=None,
            rust_timeout=1000,
            yield_on_timeout=True,
        ):
            await self._look()
            if directories_of(await asyncio.to_thread(self._files)) != directories:
                return  # a link leads elsewhere now, or another file is included

    def _files(self) -> Sequence[str]:
        return [document.location for document in capture(self._path).documents] or [self._path]

    async def _look(self) -> None:
        documents = (await asyncio.to_thread(capture, self._path)).documents
        now = digest(documents)
        if not documents or now == self._seen:
            return
        try:
            await self._reloader.reload(Order("watch"))
        except Conflict:
            return  # looked at again in a second
        except InvalidConfig as error:
            self._on_fault("reloading a changed file", error)
        except RouteIQError as error:  # an outage: looked at again too
            if self._delayed != now:
                self._on_fault("reloading a changed file", error)
            self._delayed = now
            return
        self._seen = now


def directories_of(files: Collection[str], real: Callable[[str], str] = os.path.realpath) -> Sequence[str]:
    """List the directories to watch: of each path, of where it really is, and of every link between the two."""
    found = {os.path.dirname(path) for path in files} | {os.path.dirname(real(path)) for path in files}
    # Kubernetes: config.yaml -> ..data/config.yaml, and ..data -> ..2026_11_24; the swap renames ..data.
    return sorted(directory for directory in found if os.path.isdir(directory))

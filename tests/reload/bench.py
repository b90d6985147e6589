"""Reloads of several workers on one store, in this process: a stand-in for LiteLLM takes what it is given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from routeiq_plugin.appliers import Prepared, Reloads, Switch
from routeiq_plugin.errors import InvalidConfig
from routeiq_plugin.host.running_config import Deployments, RunningConfig
from routeiq_plugin.reload.application import Application
from routeiq_plugin.reload.content import Entry
from routeiq_plugin.reload.documents import Document
from routeiq_plugin.reload.identity import Identity
from routeiq_plugin.reload.service import Reloader, Stores
from routeiq_plugin.reload.sources import Fetched, FetchedFile, FileSource, Source, capture
from routeiq_plugin.reload.workshop import Workshop
from routeiq_plugin.store.config_source import SourceStates
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.generations import GenerationStore
from tests.reload.configs import deployment, written
from tests.store import parts


def config(answer: str) -> bytes:
    """A configuration of one model."""
    return written({"model_list": [deployment("m", answer)]})


class Host:
    """Takes every deployment but those that answer with `refused`."""

    router_replaced = False

    def __init__(self) -> None:
        self.refused: str | None = None

    async def know(self, deployments: Mapping[str, Mapping[str, Any]]) -> None:
        """All of them are there."""

    async def stage_models(self, changes: Deployments, *_: Any) -> Prepared:
        answers = [entry["litellm_params"]["mock_response"] for entry in (changes.news or {}).values()]
        if self.refused in answers:
            raise InvalidConfig("model_list.m", "its artifact is gone")
        return Switch("model_list", lambda _: None, None, None)


class Bucket:
    """A remote object that can be slow."""

    name = "s3://bucket/key"
    remote = True

    def __init__(self) -> None:
        self.put("0")
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    def put(self, answer: str) -> None:
        self._data, self._tag = config(answer), answer

    async def fetch(self, etag: str | None) -> Fetched | None:
        held = None if etag == self._tag else FetchedFile((Document("key", self._data),), self._tag)
        self.asked.set()
        await self.answers.wait()
        return held

    def facts(self) -> Mapping[str, Any]:
        return {}

    async def aclose(self) -> None:
        """Nothing is held."""


class _Workshop(Workshop):
    async def build(self, pieces: Sequence[Entry]) -> None:
        """Whatever was read can be built."""


class Worker:
    """One worker: its reloader, and what it found wrong."""

    def __init__(self, database: Database, path: Path, workshop: Workshop, source: Source | None) -> None:
        self.identity = Identity()
        self.host = Host()
        self.faults: list[str] = []
        self.generations = GenerationStore(database, parts.SEALER, 20)
        self.states = SourceStates(database)
        self.reloader = Reloader(
            identity=self.identity,
            boot=capture(str(path)),
            source=source or FileSource(str(path)),
            workshop=workshop,
            application=Application(cast("RunningConfig", self.host), Reloads(), self.on_fault),
            stores=Stores(self.generations, self.states),
            secrets=list,
            allowlist=[],
            on_fault=self.on_fault,
        )

    def on_fault(self, where: str, error: BaseException) -> None:
        self.faults.append(f"{where}: {error}")

    @property
    def generation(self) -> int:
        return self.reloader.serving.generation

    async def newest(self) -> tuple[int, str]:
        """The store's current generation and its hash."""
        current = await self.generations.current()
        assert current is not None
        return current.generation, current.hash

    @property
    def serves(self) -> tuple[int, str | None]:
        return self.generation, self.reloader.serving.hash


Hire = Callable[..., Worker]


@asynccontextmanager
async def working(database: Database, path: Path) -> AsyncIterator[Hire]:
    """Offer workers that booted with the file at `path`; one trial process does for all."""
    workshop = _Workshop()

    def hire(source: Source | None = None, *, on: Database = database) -> Worker:
        return Worker(on, path, workshop, source)

    try:
        yield hire
    finally:
        await workshop.aclose()


async def until(check: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for a state of this process."""
    async with asyncio.timeout(seconds):
        while not check():  # noqa: ASYNC110  nobody announces it
            await asyncio.sleep(0.02)

"""The strategy of an alias, or of one arm of its experiment: loaded in the background, swapped by one assignment."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Final

from routeiq_plugin.errors import RouteIQError
from routeiq_plugin.routing import sources
from routeiq_plugin.routing.artifact import Artifact
from routeiq_plugin.routing.blas import one_thread
from routeiq_plugin.routing.decision import NO_ARM
from routeiq_plugin.routing.embedding import Embedder, static_embedder
from routeiq_plugin.routing.strategies import registry
from routeiq_plugin.routing.strategy import Strategy, StrategySpec
from routeiq_plugin.routing.worker.strategy import Workers
from routeiq_plugin.settings import AliasSettings

NOT_LOADED: Final = "not loaded yet"


@dataclass(frozen=True, slots=True)
class Active:
    """A strategy that is ready, and what it was made of; never changed, only replaced."""

    strategy: Strategy
    artifact: Artifact | None
    etag: str | None
    since: datetime

    @property
    def artifact_id(self) -> str | None:
        """Name and version of the artifact, None for a strategy without one."""
        return None if self.artifact is None else self.artifact.manifest.id


@dataclass
class Arm:
    """One arm; `active` is read once per decision, so that each decision is of one version."""

    alias: str
    settings: AliasSettings
    name: str = NO_ARM
    weight: float = 1.0
    strategy: str = ""
    artifact: str | None = None
    workers: Workers | None = None
    active: Active | None = None
    previous: Active | None = None
    reason: str | None = NOT_LOADED
    """Why it is not ready, or why a newer artifact was refused."""
    counts: Counter[str] = field(default_factory=Counter)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    next_load: asyncio.Task[str] | None = field(default=None, repr=False)
    """Waits for its turn; whoever asks for a load now is served by it."""
    _loading: Lock = field(default_factory=Lock, repr=False)
    """One load at a time: a slow one that began with an older version must not end after a newer one."""

    def load(self) -> bool:
        """Read the artifact if it has changed, build, test and swap; tells whether anything changed. Blocks.

        Raises:
            RouteIQError: what is there cannot be used; what was active stays so.
        """
        with self._loading:
            known = self.active.etag if self.active is not None else None
            try:
                built = self._built(known)
            except RouteIQError as wrong:
                self.reason = str(wrong)
                raise
            self.reason = None
            if built is None:
                return False
            self.swap(built)
            return True

    def swap(self, active: Active) -> None:
        """Make a strategy the active one and keep the one before."""
        self.previous, self.active = self.active, active

    def rollback(self) -> bool:
        """Return to the strategy before; False when there is none."""
        if self.previous is None:
            return False
        self.active, self.previous = self.previous, self.active
        return True

    def _built(self, known: str | None) -> Active | None:
        if self.artifact is None or registry.reads_config(self.strategy):
            if self.active is not None:
                return None
            embedder = static_embedder() if registry.reads_config(self.strategy) else None
            return Active(self._strategy(None, embedder), None, None, datetime.now(UTC))
        fetched = sources.fetch(self.artifact, known)
        if fetched is None:
            return None
        one_thread()
        embedder = static_embedder() if fetched.artifact.manifest.embedder is not None else None
        strategy = self._strategy(fetched.artifact, embedder)
        return Active(strategy, fetched.artifact, fetched.etag, datetime.now(UTC))

    def _strategy(self, artifact: Artifact | None, embedder: Embedder | None) -> Strategy:
        config = self.artifact if registry.reads_config(self.strategy) else None
        return registry.build(StrategySpec(self.strategy, self.settings, artifact, embedder, config, self.workers))

    @property
    def outage(self) -> str | None:
        """Why the default model answers in its place; None while it decides."""
        return self.reason if self.active is None else getattr(self.active.strategy, "reason", None)

    def facts(self) -> Mapping[str, Any]:
        """Tell any key how it is doing."""
        active = self.active
        return {
            "strategy": self.strategy,
            "weight": self.weight,
            "ready": active is not None,
            "artifact": None if active is None else active.artifact_id,
            "counts": dict(self.counts),
        }

    def admin_facts(self) -> Mapping[str, Any]:
        """Tell admins where it comes from and what is wrong."""
        return {
            **self.facts(),
            "source": self.artifact,
            "since": None if self.active is None else self.active.since.isoformat(),
            "previous": None if self.previous is None else self.previous.artifact_id,
            "reason": self.reason or self.outage,
        }


def arms_of(alias: str, settings: AliasSettings, workers: Workers | None = None) -> tuple[Arm, ...]:
    """Return the arms of an alias: those of its experiment, or the alias itself as the only one."""
    if not settings.arms:
        return (Arm(alias, settings, strategy=settings.strategy, artifact=settings.artifact, workers=workers),)
    return tuple(
        Arm(
            alias,
            settings,
            each.name,
            each.weight,
            each.strategy or settings.strategy,
            each.artifact or settings.artifact,
            workers,
        )
        for each in settings.arms
    )

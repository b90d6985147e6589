"""How a running feature takes over new settings: prepared first, then switched in one step that can be undone.

This is the seam between `reload/` and everybody else. A feature offers one `SectionApplier` per section of `routeiq:`
that it can change while it runs, and a `Reloadable` for what it loads from files of its own; what nobody offers is
told to operators as needing a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from routeiq_plugin.settings import Settings


class Stale(Exception):
    """What was prepared no longer fits: somebody else changed the same thing meanwhile. Prepare again."""


class Prepared(Protocol):
    """A change that is ready. Both calls are synchronous, short and made on the event loop."""

    @property
    def name(self) -> str:
        """What it changes, for logs and errors."""
        ...

    def commit(self) -> None:
        """Switch over. Everything slow or likely to fail has happened before; raises `Stale` having changed nothing."""
        ...

    def rollback(self) -> None:
        """Put back what `commit` changed, also when it failed half-way; called at most once, never without `commit`."""
        ...


class SectionApplier(Protocol):
    """One setting of `routeiq:` that can change while the proxy runs."""

    @property
    def section(self) -> str:
        """The dotted key below `routeiq:`, as in `routing.aliases`."""
        ...

    async def prepare(self, new: Settings) -> Prepared:
        """Build everything that the new settings need, beside what serves; nothing of it may be visible yet.

        Raises `RouteIQError` (`SettingsError` for a value that turns out wrong): then nothing is applied anywhere.
        """
        ...


@dataclass(slots=True)
class Switch:
    """One value that is read at each use, exchanged; a `Prepared`."""

    name: str
    put: Callable[[Any], None]
    before: Any
    after: Any

    def commit(self) -> None:
        """Put the new value."""
        self.put(self.after)

    def rollback(self) -> None:
        """Put the former value back."""
        self.put(self.before)


@dataclass(frozen=True, slots=True)
class LiveSetting:
    """A setting that is one value which its owner reads at each use; a `SectionApplier`."""

    section: str
    wanted: Callable[[Settings], Any]
    """Reads it from settings."""
    current: Callable[[], Any]
    put: Callable[[Any], None]
    """Must not fail half-way."""

    async def prepare(self, new: Settings) -> Prepared:
        """Remember what is in force."""
        return Switch(f"routeiq.{self.section}", self.put, self.current(), self.wanted(new))


class Reloadable(Protocol):
    """Things with names that are loaded from files or buckets and can be loaded again: strategies and artifacts."""

    def names(self) -> Sequence[str]:
        """List what can be reloaded."""
        ...

    async def reload(self, name: str) -> Mapping[str, Any]:
        """Load one again, verified and self-tested before it serves, and return facts (version, sha256).

        Raises `RouteIQError`: then the old one still serves.
        """
        ...


@dataclass(frozen=True, slots=True)
class Reloads:
    """Who takes part in reloads; features register before the gateway starts."""

    sections: dict[str, SectionApplier] = field(default_factory=dict)
    reloadables: list[Reloadable] = field(default_factory=list)

    def offer(self, applier: SectionApplier) -> None:
        """Make a setting of `routeiq:` hot."""
        self.sections[applier.section] = applier

    def offer_reloadable(self, reloadable: Reloadable) -> None:
        """Let `POST /router/reload` reach these."""
        self.reloadables.append(reloadable)

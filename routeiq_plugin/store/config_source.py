"""What is known of a polled source, shared by every worker, and whose turn it is to ask it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Final

from sqlmodel.ext.asyncio.session import AsyncSession

from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.tables import ConfigSourceRow


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """The last word on a source; `rejected_*` say what will not be tried again until it changes."""

    source: str
    etag: str | None = None
    hash: str | None = None
    rejected_etag: str | None = None
    rejected_hash: str | None = None
    rejected_reason: str | None = None
    last_attempt: datetime | None = None
    last_success: datetime | None = None
    last_error: str | None = None
    last_error_at: datetime | None = None
    failures: int = 0
    next_poll: datetime | None = None
    poller: str | None = None
    lease_until: datetime | None = None


_FIELDS: Final = tuple(each.name for each in fields(SourceState))


class SourceStates:
    """Reads and writes the states; every method raises `Unavailable` while the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, source: str) -> SourceState:
        """Return what is known; nothing of a source that was never asked."""
        async with self._database.read() as session:
            row = await session.get(ConfigSourceRow, source)
        return SourceState(source=source) if row is None else _state(row)

    async def take(self, source: str, worker: str, now: datetime, until: datetime) -> SourceState | None:
        """Take the turn to poll, or return None while another worker has it or it is too early."""
        async with self._database.tally() as session:
            known = await self._locked(session, source)
            if known.poller not in (None, worker) and known.lease_until is not None and known.lease_until > now:
                return None
            if known.next_poll is not None and known.next_poll > now:
                return None
            taken = replace(known, poller=worker, lease_until=until)
            await session.merge(_row(taken))
            return taken

    async def put(self, state: SourceState) -> None:
        """Write a state down."""
        async with self._database.tally() as session:
            await session.merge(_row(state))

    async def change(self, source: str, changed: Callable[[SourceState], SourceState]) -> None:
        """Write down what changes of a state, leaving what others wrote meanwhile."""
        async with self._database.tally() as session:
            await session.merge(_row(changed(await self._locked(session, source))))

    async def _locked(self, session: AsyncSession, source: str) -> SourceState:
        row = await session.get(
            ConfigSourceRow, source, with_for_update=True if self._database.kind == "postgresql" else None
        )
        return SourceState(source=source) if row is None else _state(row)


def _state(row: ConfigSourceRow) -> SourceState:
    return SourceState(**{name: getattr(row, name) for name in _FIELDS})


def _row(state: SourceState) -> ConfigSourceRow:
    return ConfigSourceRow(**{name: getattr(state, name) for name in _FIELDS})

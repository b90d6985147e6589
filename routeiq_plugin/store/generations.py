"""Generations of the configuration: one at a time is on its way, the newest applied one is what every worker runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlmodel import col, delete, select

from routeiq_plugin.errors import Conflict
from routeiq_plugin.store import audit
from routeiq_plugin.store.engine import Database, UnitOfWork
from routeiq_plugin.store.sealing import Sealer, open_mapping, seal_mapping
from routeiq_plugin.store.tables import ConfigGenerationRow

KIND: Final = "config"
"""Of the change feed: its `object_id` is the generation."""

PENDING: Final = "pending"
APPLIED: Final = "applied"
LEASE: Final = timedelta(minutes=3)
"""How long a reload may be on its way; one that takes longer belongs to a worker that died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What a reload is about to make the current generation."""

    origin: str
    hash: str
    document_digest: str | None
    content: str = field(repr=False)
    diff: Mapping[str, Any]
    source: str | None = None
    actor: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationFacts:
    """A generation without its content: what `GET /config/history` may show."""

    generation: int
    origin: str
    hash: str
    document_digest: str | None
    diff: Mapping[str, Any]
    source: str | None
    actor: str | None
    worker: str
    applied_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredGeneration(GenerationFacts):
    """A generation with its content, opened."""

    content: str = field(repr=False)


class GenerationStore:
    """Reads and writes generations; every method raises `Unavailable` while the database is away."""

    def __init__(self, database: Database, sealer: Sealer, history: int) -> None:
        self._database = database
        self._sealer = sealer
        self._history = history

    async def begin(self, worker: str, origin: str, is_dead: Callable[[str], bool]) -> int:
        """Announce a reload and return the generation it will be; raises `Conflict` while another is on its way.

        `is_dead` tells of a worker that it is known to have ended: what it began is forgotten at once.
        """
        now = datetime.now(UTC)
        async with self._database.write() as unit:
            rows = await unit.session.exec(select(ConfigGenerationRow).where(col(ConfigGenerationRow.state) == PENDING))
            for row in rows:
                if row.worker != worker and now - row.started_at < LEASE and not is_dead(row.worker):
                    raise Conflict("A configuration reload is running; try again when it has ended")
                await unit.session.delete(row)
            await unit.session.flush()
            newest = (await _newest(unit)).first()
            generation = (newest or 0) + 1
            unit.session.add(
                ConfigGenerationRow(
                    generation=generation, state=PENDING, origin=origin, diff={}, worker=worker, started_at=now
                )
            )
        return generation

    async def abandon(self, generation: int) -> None:
        """Forget a reload that came to nothing."""
        async with self._database.tally() as session:
            await session.exec(
                delete(ConfigGenerationRow)
                .where(col(ConfigGenerationRow.generation) == generation)
                .where(col(ConfigGenerationRow.state) == PENDING)
            )

    async def apply(self, generation: int, proposal: Proposal) -> datetime:
        """Make a pending reload the current generation, with its audit entry, and tell every worker.

        Raises `Conflict` when it was taken for dead meanwhile.
        """
        now = datetime.now(UTC)
        sealed = await asyncio.to_thread(self._seal, proposal.content)
        async with self._database.write() as unit:
            row = await unit.session.get(ConfigGenerationRow, generation)
            if row is None or row.state != PENDING:
                raise Conflict("The reload took too long and was given up")
            _fill(row, proposal, sealed, self._sealer.key_id, now)
            unit.session.add(row)
            unit.changed(KIND, str(generation), "apply")
            audit.record(
                unit,
                audit.AuditEntry(
                    actor=proposal.actor,
                    action=f"config.{'rollback' if proposal.origin == 'rollback' else 'reload'}",
                    object_kind=KIND,
                    object_id=str(generation),
                    request_id=proposal.request_id,
                    details={"origin": proposal.origin, "hash": proposal.hash, "diff": dict(proposal.diff)},
                ),
            )
            await self._prune(unit, generation)
        return now

    async def remember_boot(self, worker: str, proposal: Proposal) -> None:
        """Keep what the proxy booted with as the first generation, so that it can be returned to."""
        now = datetime.now(UTC)
        sealed = await asyncio.to_thread(self._seal, proposal.content)
        async with self._database.write() as unit:
            if (await _newest(unit)).first() is not None:
                return
            row = ConfigGenerationRow(
                generation=1, state=APPLIED, origin="boot", diff={}, worker=worker, started_at=now
            )
            _fill(row, proposal, sealed, self._sealer.key_id, now)
            unit.session.add(row)

    async def current(self) -> GenerationFacts | None:
        """Return the newest applied generation, None when nothing was ever reloaded."""
        found = await self.listed(limit=1)
        return found[0] if found else None

    async def listed(self, limit: int | None = None) -> tuple[GenerationFacts, ...]:
        """List applied generations, newest first."""
        columns = [getattr(ConfigGenerationRow, name) for name in _FACTS]
        query = (
            select(*columns)
            .where(col(ConfigGenerationRow.state) == APPLIED)
            .order_by(col(ConfigGenerationRow.generation).desc())
            .limit(limit or self._history)
        )
        async with self._database.read() as session:
            return tuple(GenerationFacts(**dict(zip(_FACTS, row, strict=True))) for row in await session.exec(query))

    async def get(self, generation: int) -> StoredGeneration | None:
        """Return one applied generation with its content; raises `CannotOpen`."""
        async with self._database.read() as session:
            row = await session.get(ConfigGenerationRow, generation)
        return await self._opened(row)

    async def with_digest(self, document_digest: str) -> StoredGeneration | None:
        """Return the newest applied generation that was read from these bytes."""
        query = (
            select(ConfigGenerationRow)
            .where(col(ConfigGenerationRow.state) == APPLIED)
            .where(col(ConfigGenerationRow.document_digest) == document_digest)
            .order_by(col(ConfigGenerationRow.generation).desc())
            .limit(1)
        )
        async with self._database.read() as session:
            row = (await session.exec(query)).first()
        return await self._opened(row)

    async def _opened(self, row: ConfigGenerationRow | None) -> StoredGeneration | None:
        if row is None or row.state != APPLIED:
            return None
        content = await asyncio.to_thread(open_mapping, self._sealer, row.content)
        facts = {name: getattr(row, name) for name in _FACTS}
        return StoredGeneration(**facts, content=str((content or {}).get("content", "")))

    def _seal(self, content: str) -> str | None:
        return seal_mapping(self._sealer, {"content": content})

    async def _prune(self, unit: UnitOfWork, generation: int) -> None:
        kept = (
            select(ConfigGenerationRow.generation)
            .where(col(ConfigGenerationRow.state) == APPLIED)
            .order_by(col(ConfigGenerationRow.generation).desc())
            .limit(self._history)
        )
        oldest = min((await unit.session.exec(kept)).all(), default=generation)
        await unit.session.exec(delete(ConfigGenerationRow).where(col(ConfigGenerationRow.generation) < oldest))


_FACTS: Final = (
    "generation",
    "origin",
    "hash",
    "document_digest",
    "diff",
    "source",
    "actor",
    "worker",
    "applied_at",
)


async def _newest(unit: UnitOfWork) -> Any:
    query = select(ConfigGenerationRow.generation).order_by(col(ConfigGenerationRow.generation).desc()).limit(1)
    return await unit.session.exec(query)


def _fill(row: ConfigGenerationRow, proposal: Proposal, sealed: str | None, key_id: str, now: datetime) -> None:
    row.state = APPLIED
    row.origin = proposal.origin
    row.hash = proposal.hash
    row.document_digest = proposal.document_digest
    row.content = sealed
    row.sealed_with = key_id
    row.diff = dict(proposal.diff)
    row.source = proposal.source
    row.actor = proposal.actor
    row.applied_at = now

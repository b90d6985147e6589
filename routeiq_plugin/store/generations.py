"""Generations of the configuration: the newest is what every worker runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sqlmodel import col, delete, select

from routeiq_plugin.errors import Conflict
from routeiq_plugin.store import audit
from routeiq_plugin.store.engine import Database, UnitOfWork
from routeiq_plugin.store.sealing import Sealer, open_mapping, seal_mapping
from routeiq_plugin.store.tables import ConfigGenerationRow

KIND: Final = "config"
"""Of the change feed: its `object_id` is the generation."""


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

    async def apply(self, worker: str, generation: int, proposal: Proposal) -> datetime:
        """Make a configuration the current generation, with its audit entry, and tell every worker.

        One transaction decides: there is nothing half-done to find after a crash. Raises `Conflict` when `generation`
        is not the next one, because another worker's reload came first.
        """
        now = datetime.now(UTC)
        sealed = await asyncio.to_thread(self._seal, proposal.content)
        async with self._database.write() as unit:
            if ((await _newest(unit)).first() or 0) + 1 != generation:
                raise Conflict("Another worker reloaded the configuration at the same time; try again")
            unit.session.add(self._row(worker, generation, proposal, sealed, now))
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
            await unit.session.exec(
                delete(ConfigGenerationRow).where(col(ConfigGenerationRow.generation) <= generation - self._history)
            )
        return now

    async def remember_boot(self, worker: str, proposal: Proposal) -> None:
        """Keep what the proxy booted with as the first generation, so that it can be returned to."""
        now = datetime.now(UTC)
        sealed = await asyncio.to_thread(self._seal, proposal.content)
        async with self._database.write() as unit:
            if (await _newest(unit)).first() is not None:
                return
            unit.session.add(self._row(worker, 1, proposal, sealed, now))

    async def current(self) -> GenerationFacts | None:
        """Return the newest applied generation, None when nothing was ever reloaded."""
        found = await self.listed(limit=1)
        return found[0] if found else None

    async def listed(self, limit: int | None = None) -> tuple[GenerationFacts, ...]:
        """List applied generations, newest first."""
        columns = [getattr(ConfigGenerationRow, name) for name in _FACTS]
        query = select(*columns).order_by(col(ConfigGenerationRow.generation).desc()).limit(limit or self._history)
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
            .where(col(ConfigGenerationRow.document_digest) == document_digest)
            .order_by(col(ConfigGenerationRow.generation).desc())
            .limit(1)
        )
        async with self._database.read() as session:
            row = (await session.exec(query)).first()
        return await self._opened(row)

    async def _opened(self, row: ConfigGenerationRow | None) -> StoredGeneration | None:
        if row is None:
            return None
        content = await asyncio.to_thread(open_mapping, self._sealer, row.content)
        facts = {name: getattr(row, name) for name in _FACTS}
        return StoredGeneration(**facts, content=str((content or {}).get("content", "")))

    def _seal(self, content: str) -> str | None:
        return seal_mapping(self._sealer, {"content": content})

    def _row(
        self, worker: str, generation: int, proposal: Proposal, sealed: str | None, now: datetime
    ) -> ConfigGenerationRow:
        return ConfigGenerationRow(
            generation=generation,
            origin=proposal.origin,
            hash=proposal.hash,
            document_digest=proposal.document_digest,
            content=sealed,
            sealed_with=self._sealer.key_id,
            diff=dict(proposal.diff),
            source=proposal.source,
            actor=proposal.actor,
            worker=worker,
            applied_at=now,
        )


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

"""The audit trail: who changed what and when, written with the change and never edited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlmodel import col, select

from routeiq_plugin.store.engine import Database, UnitOfWork
from routeiq_plugin.store.tables import AuditRow


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """What someone did; the store adds when."""

    actor: str | None
    """Who, as the proxy authenticated them; None for the machine itself."""
    action: str
    """`agent.create`, `agent.update` ..."""
    object_kind: str
    object_id: str
    request_id: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    """JSON, without any secret: names of changed fields, not their values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord(AuditEntry):
    """An entry as it is stored."""

    id: int
    """Grows with time; `before=id` asks for the next page."""
    at: datetime
    """Aware, UTC."""
    revision: int
    """The store's revision that the change became."""


def record(unit: UnitOfWork, entry: AuditEntry) -> None:
    """Add an entry to the transaction of the change that it describes."""
    unit.session.add(
        AuditRow(
            at=datetime.now(UTC),
            revision=unit.revision,
            actor=entry.actor,
            action=entry.action,
            object_kind=entry.object_kind,
            object_id=entry.object_id,
            request_id=entry.request_id,
            details=dict(entry.details),
        )
    )


class AuditLog:
    """Reads the trail, and takes entries that belong to no other change."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, entry: AuditEntry) -> None:
        """Store an entry by itself; raises `Unavailable`."""
        async with self._database.write() as unit:
            record(unit, entry)

    async def page(
        self, limit: int = 100, before: int | None = None, object_id: str | None = None
    ) -> tuple[AuditRecord, ...]:
        """Return at most `limit` entries, newest first, older than the entry `before`; raises `Unavailable`."""
        query = select(AuditRow).order_by(col(AuditRow.id).desc()).limit(limit)
        if before is not None:
            query = query.where(col(AuditRow.id) < before)
        if object_id is not None:
            query = query.where(col(AuditRow.object_id) == object_id)
        async with self._database.read() as session:
            return tuple(_record(row) for row in await session.exec(query))


def _record(row: AuditRow) -> AuditRecord:
    assert row.id is not None
    return AuditRecord(
        id=row.id,
        at=row.at,
        revision=row.revision,
        actor=row.actor,
        action=row.action,
        object_kind=row.object_kind,
        object_id=row.object_id,
        request_id=row.request_id,
        details=row.details,
    )

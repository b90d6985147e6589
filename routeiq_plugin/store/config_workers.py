"""Which worker serves which generation of the configuration, told by each of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlmodel import col, delete, select

from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.tables import ConfigWorkerRow
from routeiq_plugin.store.upserts import insert

SEEN_WITHIN: Final = timedelta(seconds=60)
"""A worker that was silent for longer is not counted as alive."""
FORGOTTEN_AFTER: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What one worker says of itself."""

    worker: str
    host: str
    pid: int
    started_at: datetime
    generation: int
    hash: str | None = None
    applied_at: datetime | None = None
    error: str | None = None
    """Why it does not serve the newest generation; for admins."""
    seen_at: datetime | None = None


class ConfigWorkers:
    """Reads and writes the reports; every method raises `Unavailable` while the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tell(self, report: WorkerReport) -> None:
        """Write down what this worker serves now, and that it is alive."""
        now = datetime.now(UTC)
        fields: dict[str, Any] = {
            "worker": report.worker,
            "host": report.host,
            "pid": report.pid,
            "started_at": report.started_at,
            "seen_at": now,
            "generation": report.generation,
            "hash": report.hash,
            "applied_at": report.applied_at,
            "error": report.error,
        }
        row = insert(self._database.kind, ConfigWorkerRow).values(fields)
        changes = {name: value for name, value in fields.items() if name != "worker"}
        async with self._database.tally() as session:
            await session.exec(row.on_conflict_do_update(index_elements=["worker"], set_=changes))
            await session.exec(delete(ConfigWorkerRow).where(col(ConfigWorkerRow.seen_at) < now - FORGOTTEN_AFTER))

    async def leave(self, worker: str) -> None:
        """Forget a worker that stops."""
        async with self._database.tally() as session:
            await session.exec(delete(ConfigWorkerRow).where(col(ConfigWorkerRow.worker) == worker))

    async def alive(self) -> tuple[WorkerReport, ...]:
        """List the workers that were heard of lately, the oldest first."""
        query = (
            select(ConfigWorkerRow)
            .where(col(ConfigWorkerRow.seen_at) >= datetime.now(UTC) - SEEN_WITHIN)
            .order_by(col(ConfigWorkerRow.started_at), col(ConfigWorkerRow.worker))
        )
        async with self._database.read() as session:
            return tuple(
                WorkerReport(
                    worker=row.worker,
                    host=row.host,
                    pid=row.pid,
                    started_at=row.started_at,
                    generation=row.generation,
                    hash=row.hash,
                    applied_at=row.applied_at,
                    error=row.error,
                    seen_at=row.seen_at,
                )
                for row in await session.exec(query)
            )

"""Word to every worker that strategies are to be loaded again; nothing is stored but the revision."""

from __future__ import annotations

from typing import Final

from routeiq_plugin.store.audit import AuditEntry, record
from routeiq_plugin.store.engine import Database

KIND: Final = "strategies"
"""Of the change feed: its `object_id` is the name of an alias or group, or `EVERY`."""
EVERY: Final = "*"


class StrategyNews:
    """Tells all workers; raises `Unavailable` while the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tell(self, name: str | None, actor: str | None, request_id: str | None) -> None:
        """Ask for one, or for all; returns when it is committed."""
        async with self._database.write() as unit:
            unit.changed(KIND, name or EVERY, "reload")
            record(
                unit,
                AuditEntry(
                    actor=actor,
                    action=f"{KIND}.reload",
                    object_kind=KIND,
                    object_id=name or EVERY,
                    request_id=request_id,
                ),
            )

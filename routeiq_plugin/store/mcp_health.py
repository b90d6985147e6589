"""How MCP servers were when they were last asked, so that every worker and every restart knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import col, select

from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.tables import McpHealthRow, McpServerRow


@dataclass(frozen=True, slots=True)
class McpCondition:
    """One server's condition."""

    status: str
    """LiteLLM's word: healthy, reachable, unhealthy or unknown."""
    checked_at: datetime
    """Aware, UTC."""
    latency_ms: float | None = None
    error: str | None = None
    """Why it is not healthy; never holds its address."""


class McpHealthStore:
    """Stores conditions of our servers; every method raises `Unavailable` while the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> Mapping[str, McpCondition]:
        """Return the last condition of every server that was ever asked, by id."""
        async with self._database.read() as session:
            return {row.server_id: _condition(row) for row in await session.exec(select(McpHealthRow))}

    async def put(self, conditions: Mapping[str, McpCondition]) -> None:
        """Remember conditions, in the order of their ids; those of servers that are gone meanwhile are dropped."""
        async with self._database.tally() as session:
            known = select(McpServerRow.server_id).where(col(McpServerRow.server_id).in_(conditions))
            for server_id in sorted(await session.exec(known)):
                condition = conditions[server_id]
                await session.merge(
                    McpHealthRow(
                        server_id=server_id,
                        status=condition.status,
                        checked_at=condition.checked_at,
                        latency_ms=condition.latency_ms,
                        error=condition.error,
                    )
                )


def _condition(row: McpHealthRow) -> McpCondition:
    return McpCondition(row.status, row.checked_at, row.latency_ms, row.error)

"""Tool definitions as admins approved them: a hash per tool of each of our servers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from sqlmodel import col, delete, select

from routeiq_plugin.errors import NotFound
from routeiq_plugin.store import audit as trail
from routeiq_plugin.store.audit import AuditEntry
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.tables import McpServerRow, McpToolRow

KIND: Final = "mcp_tools"
"""What followers call a change of a server's approved tools; the object is the server."""


class ToolPins:
    """Stores them; every method raises `Unavailable` while the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> Mapping[str, Mapping[str, str]]:
        """Return hash by tool name, by server id; servers whose tools nobody approved are absent."""
        async with self._database.read() as session:
            return _grouped(await session.exec(select(McpToolRow)))

    async def of(self, server_id: str) -> Mapping[str, str]:
        """Return hash by tool name; empty where nobody approved."""
        async with self._database.read() as session:
            rows = await session.exec(select(McpToolRow).where(McpToolRow.server_id == server_id))
            return _grouped(rows).get(server_id, {})

    async def approve(self, server_id: str, hashes: Mapping[str, str], audit: AuditEntry) -> None:
        """Make exactly these the approved tools of a server; raises `NotFound` when it is gone."""
        async with self._database.write() as unit:
            if await unit.session.get(McpServerRow, server_id) is None:
                raise NotFound(f"MCP Server with id {server_id} not found")
            await unit.session.exec(delete(McpToolRow).where(col(McpToolRow.server_id) == server_id))
            now = datetime.now(UTC)
            for name, definition_hash in hashes.items():
                unit.session.add(
                    McpToolRow(
                        server_id=server_id,
                        tool_name=name,
                        definition_hash=definition_hash,
                        approved_at=now,
                        approved_by=audit.actor,
                    )
                )
            unit.changed(KIND, server_id, "update")
            trail.record(unit, audit)


def _grouped(rows: object) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for row in rows:  # type: ignore[attr-defined]
        found.setdefault(row.server_id, {})[row.tool_name] = row.definition_hash
    return found

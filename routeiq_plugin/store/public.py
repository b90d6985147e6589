"""Which registered objects are public: a mark on our own rows, and a list for those that LiteLLM's config declares."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, cast

from sqlmodel import select

from routeiq_plugin.errors import NotFound
from routeiq_plugin.store import audit as trail
from routeiq_plugin.store.agents import KIND as AGENT
from routeiq_plugin.store.audit import AuditEntry
from routeiq_plugin.store.engine import Database, UnitOfWork
from routeiq_plugin.store.mcp_servers import KIND as MCP_SERVER
from routeiq_plugin.store.tables import AgentRow, McpServerRow, MetaRow

Row = AgentRow | McpServerRow


@dataclass(frozen=True, slots=True)
class Shelf:
    """One kind of object that may be public."""

    table: type[AgentRow] | type[McpServerRow]
    identity: str
    """Column that holds the id."""
    object_kind: str
    kind: str
    """What followers call a change of the list, and the key under which it is stored."""
    not_found: str
    """LiteLLM's words for an id that is gone."""


AGENTS: Final = Shelf(AgentRow, "agent_id", AGENT, "public_agents", "Agent with ID {} not found")
MCP_SERVERS: Final = Shelf(
    McpServerRow, "server_id", MCP_SERVER, "public_mcp_servers", "MCP Server with ID {} not found"
)


@dataclass(frozen=True, slots=True)
class PublicList:
    """Objects of LiteLLM's own that were made public here."""

    ids: tuple[str, ...] = ()
    replaces: bool = False
    """What LiteLLM's config calls public no longer counts: an admin has replaced the whole list."""


class PublicObjects:
    """Stores what is public of one kind; every method raises `Unavailable` while the database is away."""

    def __init__(self, database: Database, shelf: Shelf) -> None:
        self._database = database
        self._shelf = shelf

    async def listed(self) -> PublicList:
        """Return the list of those that are not ours."""
        async with self._database.read() as session:
            return _list(await session.get(MetaRow, self._shelf.kind))

    async def publish(self, object_id: str, audit: AuditEntry) -> bool:
        """Mark one of ours; returns False if it is public already, raises `NotFound` if it is gone."""
        async with self._database.write() as unit:
            row: Row | None = await unit.session.get(self._shelf.table, object_id)
            if row is None:
                raise NotFound(self._shelf.not_found.format(object_id))
            if row.is_public:
                return False
            self._mark(unit, row, public=True, by=audit.actor)
            trail.record(unit, audit)
        return True

    async def publish_foreign(self, object_id: str, audit: AuditEntry) -> bool:
        """List one of LiteLLM's; returns False if it is listed already."""
        async with self._database.write() as unit:
            row = await unit.session.get(MetaRow, self._shelf.kind)
            known = _list(row)
            if object_id in known.ids:
                return False
            self._write(unit, row, PublicList((*known.ids, object_id), known.replaces))
            trail.record(unit, audit)
        return True

    async def replace(self, ours: Collection[str], foreign: Sequence[str], audit: AuditEntry) -> tuple[str, ...]:
        """Make exactly these public, in one transaction; returns the rows of ours that changed.

        Raises `NotFound` when one of ours is gone, and then changes nothing.
        """
        async with self._database.write() as unit:
            found = cast("Iterable[Row]", await unit.session.exec(select(self._shelf.table)))
            rows = {self._id(row): row for row in found}
            for gone in (each for each in ours if each not in rows):
                raise NotFound(self._shelf.not_found.format(gone))
            changed = [row for row_id, row in rows.items() if row.is_public != (row_id in ours)]
            for row in changed:
                self._mark(unit, row, public=self._id(row) in ours, by=audit.actor)
            listed = await unit.session.get(MetaRow, self._shelf.kind)
            self._write(unit, listed, PublicList(tuple(foreign), replaces=True))
            trail.record(unit, audit)
        return tuple(self._id(row) for row in changed)

    def _id(self, row: Row) -> str:
        return str(getattr(row, self._shelf.identity))

    def _write(self, unit: UnitOfWork, row: MetaRow | None, listed: PublicList) -> None:
        row = row or MetaRow(key=self._shelf.kind, value="")
        row.value = json.dumps({"agent_ids": listed.ids, "replaces": listed.replaces})
        unit.session.add(row)
        unit.changed(self._shelf.kind, self._shelf.kind, "update")

    def _mark(self, unit: UnitOfWork, row: Row, *, public: bool, by: str | None) -> None:
        row.is_public = public
        row.version += 1
        row.updated_at = max(datetime.now(UTC), row.updated_at)
        row.updated_by = by
        unit.changed(self._shelf.object_kind, self._id(row), "update")


def _list(row: MetaRow | None) -> PublicList:
    """Read the list; the first version knew agents alone, and its word for the ids has stayed."""
    if row is None:
        return PublicList()
    stored = json.loads(row.value)
    return PublicList(tuple(stored["agent_ids"]), bool(stored["replaces"]))

"""Which agents are public: a mark on our own rows, and a list for the agents that LiteLLM's config declares."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlmodel import select

from routeiq_plugin.errors import NotFound
from routeiq_plugin.store import audit as trail
from routeiq_plugin.store.agents import KIND as AGENT
from routeiq_plugin.store.audit import AuditEntry
from routeiq_plugin.store.engine import Database, UnitOfWork
from routeiq_plugin.store.tables import AgentRow, MetaRow

KIND: Final = "public_agents"
"""What followers call a change of the list."""

_KEY: Final = "public_agents"


@dataclass(frozen=True, slots=True)
class PublicList:
    """Agents of LiteLLM's own that were made public here."""

    agent_ids: tuple[str, ...] = ()
    replaces: bool = False
    """What LiteLLM's config calls public no longer counts: an admin has replaced the whole list."""


class PublicAgents:
    """Stores what is public; every method raises `Unavailable` while the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def listed(self) -> PublicList:
        """Return the list of agents that are not ours."""
        async with self._database.read() as session:
            return _list(await session.get(MetaRow, _KEY))

    async def publish(self, agent_id: str, audit: AuditEntry) -> bool:
        """Mark an agent of ours; returns False if it is public already, raises `NotFound` if it is gone."""
        async with self._database.write() as unit:
            row = await unit.session.get(AgentRow, agent_id)
            if row is None:
                raise NotFound(f"Agent with ID {agent_id} not found")
            if row.is_public:
                return False
            _mark(unit, row, public=True, by=audit.actor)
            trail.record(unit, audit)
        return True

    async def publish_foreign(self, agent_id: str, audit: AuditEntry) -> bool:
        """List an agent of LiteLLM's; returns False if it is listed already."""
        async with self._database.write() as unit:
            row = await unit.session.get(MetaRow, _KEY)
            known = _list(row)
            if agent_id in known.agent_ids:
                return False
            _write(unit, row, PublicList((*known.agent_ids, agent_id), known.replaces))
            trail.record(unit, audit)
        return True

    async def replace(self, ours: Collection[str], foreign: Sequence[str], audit: AuditEntry) -> tuple[str, ...]:
        """Make exactly these public, in one transaction; returns the rows of ours that changed.

        Raises `NotFound` when one of ours is gone, and then changes nothing.
        """
        async with self._database.write() as unit:
            rows = {row.agent_id: row for row in await unit.session.exec(select(AgentRow))}
            for gone in (each for each in ours if each not in rows):
                raise NotFound(f"Agent with ID {gone} not found")
            changed = [row for row in rows.values() if row.is_public != (row.agent_id in ours)]
            for row in changed:
                _mark(unit, row, public=row.agent_id in ours, by=audit.actor)
            _write(unit, await unit.session.get(MetaRow, _KEY), PublicList(tuple(foreign), replaces=True))
            trail.record(unit, audit)
        return tuple(row.agent_id for row in changed)


def _list(row: MetaRow | None) -> PublicList:
    if row is None:
        return PublicList()
    stored = json.loads(row.value)
    return PublicList(tuple(stored["agent_ids"]), bool(stored["replaces"]))


def _write(unit: UnitOfWork, row: MetaRow | None, listed: PublicList) -> None:
    row = row or MetaRow(key=_KEY, value="")
    row.value = json.dumps({"agent_ids": listed.agent_ids, "replaces": listed.replaces})
    unit.session.add(row)
    unit.changed(KIND, _KEY, "update")


def _mark(unit: UnitOfWork, row: AgentRow, *, public: bool, by: str | None) -> None:
    row.is_public = public
    row.version += 1
    row.updated_at = max(datetime.now(UTC), row.updated_at)
    row.updated_by = by
    unit.changed(AGENT, row.agent_id, "update")

"""Agents at rest: whole records in and out, secrets sealed, two writers never overwriting each other unseen."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sqlmodel import col, or_, select

from routeiq_plugin.errors import CannotOpen, Conflict, InvalidRequest, NotFound
from routeiq_plugin.store import audit as trail
from routeiq_plugin.store.audit import AuditEntry
from routeiq_plugin.store.engine import Database, UnitOfWork
from routeiq_plugin.store.sealing import Sealer, open_mapping, seal_mapping
from routeiq_plugin.store.tables import AgentRow

KIND: Final = "agent"
"""What followers and the audit trail call these objects."""

_BATCH: Final = 50
"""Rows opened between two turns of the event loop: a few milliseconds of decryption."""


class StaleVersion(Conflict):
    """Someone else wrote first: read again and decide again."""

    def __init__(self, object_id: str, expected: int, current: int, kind: str = "Agent") -> None:
        super().__init__(f"{kind} with ID {object_id} is at version {current}, not {expected}: read it again")
        self.expected = expected
        self.current = current


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRecord:
    """One registered agent, secrets in clear: keep it in memory only."""

    agent_id: str
    agent_name: str
    card: Mapping[str, Any]
    """As registered, the backend's URL included."""
    litellm_params: Mapping[str, Any] = field(default_factory=dict, repr=False)
    static_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    kill_switch: Mapping[str, Any] | None = field(default=None, repr=False)
    extra_headers: tuple[str, ...] = ()
    access_group_ids: tuple[str, ...] = ()
    object_permission: Mapping[str, Any] | None = None
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    session_tpm_limit: int | None = None
    session_rpm_limit: int | None = None
    enabled: bool = True
    execution_mode: str = "autonomous"
    is_public: bool = False
    created_at: datetime = field(default_factory=_now)
    """Aware, UTC; as are all times here."""
    updated_at: datetime = field(default_factory=_now)
    created_by: str | None = None
    updated_by: str | None = None
    version: int = 1
    unreadable: bool = False
    """The secrets were sealed with another key: the three sealed fields are empty here, and kept in the store."""


class AgentStore:
    """Stores agents; every method raises `Unavailable` while the database is away."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    async def all(self) -> tuple[AgentRecord, ...]:
        """Return every agent, oldest first."""
        query = select(AgentRow).order_by(col(AgentRow.created_at), col(AgentRow.agent_id))
        records: list[AgentRecord] = []
        async with self._database.read() as session:
            rows = await session.stream_scalars(query)
            async for batch in rows.partitions(_BATCH):
                records.extend(self._record(row) for row in batch)
                await asyncio.sleep(0)
        return tuple(records)

    async def get(self, agent_id: str) -> AgentRecord | None:
        """Return the agent with this id, None if there is none."""
        async with self._database.read() as session:
            row = await session.get(AgentRow, agent_id)
            return None if row is None else self._record(row)

    async def by_name(self, name: str) -> AgentRecord | None:
        """Return the agent with exactly this name, None if there is none."""
        async with self._database.read() as session:
            row = (await session.exec(select(AgentRow).where(AgentRow.agent_name == name))).one_or_none()
            return None if row is None else self._record(row)

    async def create(self, record: AgentRecord, audit: AuditEntry) -> AgentRecord:
        """Store a new agent at version 1; raises `Conflict` when its name or its id is taken."""
        row = self._row(record)
        async with self._database.write() as unit:
            if await unit.session.get(AgentRow, record.agent_id) is not None:
                raise Conflict(f"Agent with ID {record.agent_id} already exists")
            await _require_free_names(unit, record)
            unit.session.add(row)
            unit.changed(KIND, record.agent_id, "create")
            trail.record(unit, audit)
        return self._record(row)

    async def replace(self, record: AgentRecord, expected_version: int, audit: AuditEntry) -> AgentRecord:
        """Store every field but `created_at` and `created_by` of a known agent, at the next version.

        A record that still is `unreadable` keeps the secrets in the store as they are; to give new ones, clear the
        mark. Raises `NotFound`, `StaleVersion`, and `Conflict` when the name is taken.
        """
        async with self._database.write() as unit:
            row = await _known(unit, record.agent_id, expected_version)
            await _require_free_names(unit, record)
            self._update(row, record)
            unit.changed(KIND, record.agent_id, "update")
            trail.record(unit, audit)
        return self._record(row)

    async def delete(self, agent_id: str, expected_version: int | None, audit: AuditEntry) -> None:
        """Forget an agent, whatever its version if None is expected; raises `NotFound` and `StaleVersion`."""
        async with self._database.write() as unit:
            row = await _known(unit, agent_id, expected_version)
            await unit.session.delete(row)
            unit.changed(KIND, agent_id, "delete")
            trail.record(unit, audit)

    def _row(self, record: AgentRecord) -> AgentRow:
        if record.unreadable:
            raise InvalidRequest(f"the secrets of agent {record.agent_name!r} cannot be opened, so it cannot be copied")
        return AgentRow(
            **_plain(record),
            **self._sealed(record),
            agent_id=record.agent_id,
            created_at=record.created_at,
            created_by=record.created_by,
            version=1,
        )

    def _update(self, row: AgentRow, record: AgentRecord) -> None:
        values = _plain(record)
        if not record.unreadable:
            values |= self._sealed(record)
        elif record.litellm_params or record.static_headers or record.kill_switch is not None:
            raise InvalidRequest(
                f"the stored secrets of agent {record.agent_name!r} cannot be opened: send all of them again"
            )
        for column, value in values.items():
            setattr(row, column, value)
        row.version += 1

    def _sealed(self, record: AgentRecord) -> dict[str, Any]:
        sealed = {
            "litellm_params": seal_mapping(self._sealer, record.litellm_params or None),
            "static_headers": seal_mapping(self._sealer, record.static_headers or None),
            "kill_switch": seal_mapping(self._sealer, record.kill_switch),
        }
        anything = any(value is not None for value in sealed.values())
        return {**sealed, "sealed_with": self._sealer.key_id if anything else None}

    def _record(self, row: AgentRow) -> AgentRecord:
        params: Mapping[str, Any] | None = None
        headers: Mapping[str, Any] | None = None
        switch: Mapping[str, Any] | None = None
        unreadable = row.sealed_with not in (None, self._sealer.key_id)
        if not unreadable:
            try:
                params = open_mapping(self._sealer, row.litellm_params)
                headers = open_mapping(self._sealer, row.static_headers)
                switch = open_mapping(self._sealer, row.kill_switch)
            except CannotOpen:
                params = headers = switch = None
                unreadable = True
        return AgentRecord(
            agent_id=row.agent_id,
            agent_name=row.agent_name,
            card=row.card,
            litellm_params=params or {},
            static_headers=headers or {},
            kill_switch=switch,
            extra_headers=tuple(row.extra_headers),
            access_group_ids=tuple(row.access_group_ids),
            object_permission=row.object_permission,
            tpm_limit=row.tpm_limit,
            rpm_limit=row.rpm_limit,
            session_tpm_limit=row.session_tpm_limit,
            session_rpm_limit=row.session_rpm_limit,
            enabled=row.enabled,
            execution_mode=row.execution_mode,
            is_public=row.is_public,
            created_at=row.created_at,
            updated_at=row.updated_at,
            created_by=row.created_by,
            updated_by=row.updated_by,
            version=row.version,
            unreadable=unreadable,
        )


def _plain(record: AgentRecord) -> dict[str, Any]:
    """Columns that a replacement replaces and that hold no secret."""
    permission = record.object_permission
    return {
        "agent_name": record.agent_name,
        "card": dict(record.card),
        "extra_headers": list(record.extra_headers),
        "access_group_ids": list(record.access_group_ids),
        "object_permission": None if permission is None else dict(permission),
        "tpm_limit": record.tpm_limit,
        "rpm_limit": record.rpm_limit,
        "session_tpm_limit": record.session_tpm_limit,
        "session_rpm_limit": record.session_rpm_limit,
        "enabled": record.enabled,
        "execution_mode": record.execution_mode,
        "is_public": record.is_public,
        "updated_at": record.updated_at,
        "updated_by": record.updated_by,
    }


async def _known(unit: UnitOfWork, agent_id: str, expected_version: int | None) -> AgentRow:
    row = await unit.session.get(AgentRow, agent_id)
    if row is None:
        raise NotFound(f"Agent with ID {agent_id} not found")
    if expected_version is not None and row.version != expected_version:
        raise StaleVersion(agent_id, expected_version, row.version)
    return row


async def _require_free_names(unit: UnitOfWork, record: AgentRecord) -> None:
    """Refuse a name that is taken, also as an id: agents are called by either, and one may not pose as another."""
    query = select(AgentRow.agent_id).where(
        col(AgentRow.agent_id) != record.agent_id,
        or_(
            col(AgentRow.agent_name).in_((record.agent_name, record.agent_id)),
            col(AgentRow.agent_id) == record.agent_name,
        ),
    )
    if (await unit.session.exec(query)).first() is not None:
        raise Conflict(f"Agent with name {record.agent_name} already exists")

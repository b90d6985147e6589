"""Agents at rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sqlmodel import col, or_, select

from routeiq_plugin.errors import Conflict
from routeiq_plugin.store.engine import Database, UnitOfWork
from routeiq_plugin.store.registered import Kind, RegisteredStore, Secrets
from routeiq_plugin.store.sealing import Sealer
from routeiq_plugin.store.tables import AgentRow

KIND: Final = "agent"
"""What followers and the audit trail call these objects."""

_KIND: Final = Kind(
    KIND,
    "Agent",
    "Agent with ID {} already exists",
    "Agent with ID {} not found",
    "agent_id",
    ("litellm_params", "static_headers", "kill_switch"),
)


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

    @property
    def object_id(self) -> str:
        """Its id."""
        return self.agent_id

    @property
    def name(self) -> str:
        """Its name."""
        return self.agent_name


class AgentStore(RegisteredStore[AgentRow, AgentRecord]):
    """Stores agents; every method raises `Unavailable` while the database is away."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        super().__init__(database, sealer, _KIND, AgentRow)

    async def by_name(self, name: str) -> AgentRecord | None:
        """Return the agent with exactly this name, None if there is none."""
        async with self._database.read() as session:
            row = (await session.exec(select(AgentRow).where(AgentRow.agent_name == name))).one_or_none()
            return None if row is None else self._opened(row)

    def _columns(self, record: AgentRecord) -> Mapping[str, Any]:
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
        }

    def _secrets(self, record: AgentRecord) -> Secrets:
        return {
            "litellm_params": record.litellm_params or None,
            "static_headers": record.static_headers or None,
            "kill_switch": record.kill_switch,
        }

    def _record(self, row: AgentRow, secrets: Secrets, *, unreadable: bool) -> AgentRecord:
        return AgentRecord(
            agent_id=row.agent_id,
            agent_name=row.agent_name,
            card=row.card,
            litellm_params=secrets["litellm_params"] or {},
            static_headers=secrets["static_headers"] or {},
            kill_switch=secrets["kill_switch"],
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

    async def _require_free_names(self, unit: UnitOfWork, record: AgentRecord) -> None:
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

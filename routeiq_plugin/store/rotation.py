"""Changing the sealing key: find what the current key cannot open, and seal everything again with a new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from routeiq_plugin.errors import CannotOpen
from routeiq_plugin.store import agents, audit
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.sealing import Sealer, open_mapping, seal_mapping
from routeiq_plugin.store.tables import AgentRow, ConfigGenerationRow, PushConfigRow

SEALED_COLUMNS: Final = ("litellm_params", "static_headers", "kill_switch")
"""Of agents."""
WEBHOOK_COLUMNS: Final = ("webhook",)
"""Of push configurations."""
CONTENT_COLUMNS: Final = ("content",)
"""Of configuration generations."""

Row = AgentRow | PushConfigRow | ConfigGenerationRow


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation did; rows are named like `agent weather`."""

    resealed: int
    skipped: tuple[str, ...] = ()
    """Sealed with the new key before."""
    unreadable: tuple[str, ...] = ()
    """Opened by neither key: left as they are."""


async def unreadable(database: Database, sealer: Sealer) -> tuple[str, ...]:
    """Name the rows whose secrets this key cannot open; raises `Unavailable`."""
    async with database.read() as session:
        return tuple(_name(row) for row in await _rows(session) if _open(row, sealer) is None)


async def rotate(
    database: Database, old: Sealer, new: Sealer, *, actor: str | None = "routeiq secrets rotate"
) -> Rotation:
    """Seal with `new` all that `old` opens, in one transaction with its audit entry.

    Workers that still hold the old key seal with it whatever they write meanwhile: stop them, or rotate again after
    they have restarted. Raises `Unavailable`; then nothing has changed.
    """
    resealed = 0
    skipped: list[str] = []
    lost: list[str] = []
    async with database.write() as unit:
        for row in await _rows(unit.session):
            if row.sealed_with is None:
                continue
            if _open(row, new) is not None:
                skipped.append(_name(row))
                continue
            opened = _open(row, old)
            if opened is None:
                lost.append(_name(row))
                continue
            for column, value in opened.items():
                setattr(row, column, seal_mapping(new, value))
            row.sealed_with = new.key_id
            if isinstance(row, AgentRow):
                unit.changed(agents.KIND, row.agent_id, "reseal")
            resealed += 1
        audit.record(
            unit,
            audit.AuditEntry(
                actor=actor,
                action="secrets.rotate",
                object_kind="store",
                object_id=new.key_id,
                details={"from": old.key_id, "to": new.key_id, "resealed": resealed, "unreadable": lost},
            ),
        )
    return Rotation(resealed, tuple(skipped), tuple(lost))


async def _rows(session: AsyncSession) -> Sequence[Row]:
    """Read every row that holds a secret."""
    agents_ = await session.exec(select(AgentRow).order_by(col(AgentRow.agent_name)))
    webhooks = await session.exec(select(PushConfigRow).order_by(col(PushConfigRow.push_id)))
    generations = await session.exec(select(ConfigGenerationRow).order_by(col(ConfigGenerationRow.generation)))
    return [*agents_, *webhooks, *generations]


def _open(row: Row, sealer: Sealer) -> Mapping[str, Mapping[str, Any] | None] | None:
    """Open the sealed columns of a row, None if this key cannot."""
    if row.sealed_with not in (None, sealer.key_id):
        return None
    try:
        return {column: open_mapping(sealer, getattr(row, column)) for column in _columns(row)}
    except CannotOpen:
        return None


def _columns(row: Row) -> tuple[str, ...]:
    if isinstance(row, ConfigGenerationRow):
        return CONTENT_COLUMNS
    return SEALED_COLUMNS if isinstance(row, AgentRow) else WEBHOOK_COLUMNS


def _name(row: Row) -> str:
    if isinstance(row, AgentRow):
        return f"{agents.KIND} {row.agent_name}"
    if isinstance(row, ConfigGenerationRow):
        return f"configuration generation {row.generation}"
    return f"webhook of task {row.task_id}"

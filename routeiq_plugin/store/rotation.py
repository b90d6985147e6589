"""Changing the sealing key: find what the current key cannot open, and seal everything again with a new one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from routeiq_plugin.errors import CannotOpen
from routeiq_plugin.store import agents, audit, mcp_servers
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.sealing import Sealer
from routeiq_plugin.store.tables import (
    AgentRow,
    ConfigGenerationRow,
    McpRelayRow,
    McpServerRow,
    OAuthFlowRow,
    OAuthTokenRow,
    PushConfigRow,
)

Row = AgentRow | ConfigGenerationRow | McpRelayRow | McpServerRow | OAuthFlowRow | OAuthTokenRow | PushConfigRow


@dataclass(frozen=True, slots=True)
class SealedTable:
    """One table with sealed columns; each row says in `sealed_with` which key opens them."""

    table: type[Row]
    columns: tuple[str, ...]
    order: str
    name: Callable[[Any], str]
    """What operators call a row."""
    kind: str | None = None
    """What followers call it, where any follow it: they read a row again that was sealed anew."""
    identity: str = ""
    """Column of the id that they are told."""


SEALED: Final = (
    SealedTable(
        AgentRow,
        ("litellm_params", "static_headers", "kill_switch"),
        "agent_name",
        lambda row: f"{agents.KIND} {row.agent_name}",
        agents.KIND,
        "agent_id",
    ),
    SealedTable(PushConfigRow, ("webhook",), "push_id", lambda row: f"webhook of task {row.task_id}"),
    SealedTable(
        McpServerRow,
        ("secrets",),
        "name_key",
        lambda row: f"MCP server {row.config.get('alias') or row.config.get('server_name') or row.server_id}",
        mcp_servers.KIND,
        "server_id",
    ),
    SealedTable(McpRelayRow, ("payload",), "entry_id", lambda row: f"MCP {row.kind} {row.entry_id[:8]}"),
    SealedTable(OAuthFlowRow, ("payload",), "flow_id", lambda row: f"login at MCP server {row.server_id}"),
    SealedTable(
        OAuthTokenRow,
        ("payload",),
        "server_id",
        lambda row: f"{row.kind} of {row.owner or 'the gateway'} for MCP server {row.server_id}",
    ),
    SealedTable(
        ConfigGenerationRow, ("content",), "generation", lambda row: f"configuration generation {row.generation}"
    ),
)
"""Every table that holds sealed columns; a test compares it with the schema."""


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
        return tuple(kind.name(row) for kind, row in await _rows(session) if _open(kind, row, sealer) is None)


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
        for kind, row in await _rows(unit.session):
            if row.sealed_with is None:
                continue
            if _open(kind, row, new) is not None:
                skipped.append(kind.name(row))
                continue
            opened = _open(kind, row, old)
            if opened is None:
                lost.append(kind.name(row))
                continue
            for column, plain in opened.items():
                setattr(row, column, None if plain is None else new.seal(plain))
            row.sealed_with = new.key_id
            if kind.kind is not None:
                unit.changed(kind.kind, str(getattr(row, kind.identity)), "reseal")
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


async def _rows(session: AsyncSession) -> Sequence[tuple[SealedTable, Row]]:
    """Read every row that holds a secret."""
    found: list[tuple[SealedTable, Row]] = []
    for kind in SEALED:
        rows: Any = await session.exec(select(kind.table).order_by(col(getattr(kind.table, kind.order))))
        found += [(kind, row) for row in rows]
    return found


def _open(kind: SealedTable, row: Row, sealer: Sealer) -> Mapping[str, str | None] | None:
    """Open the sealed columns of a row, None if this key cannot."""
    if row.sealed_with not in (None, sealer.key_id):
        return None
    sealed = {column: getattr(row, column) for column in kind.columns}
    if row.sealed_with is None:
        return dict.fromkeys(sealed)
    try:
        return {column: None if value is None else sealer.open(value) for column, value in sealed.items()}
    except CannotOpen:
        return None

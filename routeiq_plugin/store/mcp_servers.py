"""MCP servers at rest: whole records in and out, secrets sealed, two writers never overwriting each other unseen."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlmodel import col, delete, select

from routeiq_plugin.errors import CannotOpen, Conflict, InvalidRequest, NotFound
from routeiq_plugin.store import audit as trail
from routeiq_plugin.store.agents import StaleVersion
from routeiq_plugin.store.audit import AuditEntry
from routeiq_plugin.store.engine import Database, UnitOfWork
from routeiq_plugin.store.sealing import Sealer, open_mapping, seal_mapping
from routeiq_plugin.store.tables import McpServerRow, OAuthFlowRow, OAuthTokenRow

KIND: Final = "mcp_server"
"""What followers and the audit trail call these objects."""

NAMES: Final = ("alias", "server_name")
"""Fields of the configuration by which a server is called, besides its id."""

_BATCH: Final = 50
"""Rows opened between two turns of the event loop: a few milliseconds of decryption."""


class NameTaken(Conflict):
    """Another server answers to one of the names; says which, and whose it is."""

    def __init__(self, field_name: str, value: str, server_id: str) -> None:
        super().__init__(f"{field_name} {value} is taken by the MCP server {server_id}")
        self.field = field_name
        self.value = value
        self.server_id = server_id


@dataclass(frozen=True, slots=True, kw_only=True)
class McpServerRecord:
    """One registered server, secrets in clear: keep it in memory only."""

    server_id: str
    config: Mapping[str, Any]
    """Fields of LiteLLM's server object that hold no secret."""
    secrets: Mapping[str, Any] = field(default_factory=dict, repr=False)
    is_public: bool = False
    created_at: datetime
    """Aware, UTC; as are all times here."""
    updated_at: datetime
    created_by: str | None = None
    updated_by: str | None = None
    version: int = 1
    unreadable: bool = False
    """The secrets were sealed with another key: they are empty here, and kept in the store."""

    @property
    def name(self) -> str:
        """Alias, else name, else id."""
        return str(self.config.get("alias") or self.config.get("server_name") or self.server_id)


class McpServerStore:
    """Stores servers; every method raises `Unavailable` while the database is away."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    async def all(self) -> tuple[McpServerRecord, ...]:
        """Return every server, oldest first."""
        query = select(McpServerRow).order_by(col(McpServerRow.created_at), col(McpServerRow.server_id))
        records: list[McpServerRecord] = []
        async with self._database.read() as session:
            rows = await session.stream_scalars(query)
            async for batch in rows.partitions(_BATCH):
                records.extend(self._record(row) for row in batch)
                await asyncio.sleep(0)
        return tuple(records)

    async def get(self, server_id: str) -> McpServerRecord | None:
        """Return the server with this id, None if there is none."""
        async with self._database.read() as session:
            row = await session.get(McpServerRow, server_id)
            return None if row is None else self._record(row)

    async def by_name(self, name: str) -> McpServerRecord | None:
        """Return the server that answers to exactly this alias or name, None if there is none; aliases go first."""
        async with self._database.read() as session:
            found = await session.exec(select(McpServerRow.server_id, McpServerRow.config))
            named = [(server_id, config) for server_id, config in found if name in _names(config)]
            for field_name in NAMES:
                for server_id, config in named:
                    if config.get(field_name) == name:
                        row = await session.get(McpServerRow, server_id)
                        return None if row is None else self._record(row)
        return None

    async def create(self, record: McpServerRecord, audit: AuditEntry) -> McpServerRecord:
        """Store a new server at version 1; raises `Conflict` for a known id and `NameTaken` for a name."""
        row = McpServerRow(
            server_id=record.server_id,
            **_plain(record),
            **self._sealed(record),
            created_at=record.created_at,
            created_by=record.created_by,
            version=1,
        )
        async with self._database.write() as unit:
            if await unit.session.get(McpServerRow, record.server_id) is not None:
                raise Conflict(f"MCP Server with id {record.server_id} already exists. Cannot create another.")
            await _require_free_names(unit, record)
            unit.session.add(row)
            unit.changed(KIND, record.server_id, "create")
            trail.record(unit, audit)
        return self._record(row)

    async def replace(self, record: McpServerRecord, expected_version: int, audit: AuditEntry) -> McpServerRecord:
        """Store every field but `created_at` and `created_by` of a known server, at the next version.

        A record that still is `unreadable` keeps the secrets in the store as they are; to give new ones, clear the
        mark. Raises `NotFound`, `StaleVersion` and `NameTaken`.
        """
        async with self._database.write() as unit:
            row = await _known(unit, record.server_id, expected_version)
            await _require_free_names(unit, record)
            values = _plain(record)
            if not record.unreadable:
                values |= self._sealed(record)
            elif record.secrets:
                raise InvalidRequest(
                    f"the stored secrets of MCP server {record.name!r} cannot be opened: send all of them again"
                )
            for column, value in values.items():
                setattr(row, column, value)
            row.version += 1
            unit.changed(KIND, record.server_id, "update")
            trail.record(unit, audit)
        return self._record(row)

    async def delete(self, server_id: str, expected_version: int | None, audit: AuditEntry) -> None:
        """Forget a server and the logins at it, whatever its version if None is expected.

        Raises `NotFound` and `StaleVersion`.
        """
        async with self._database.write() as unit:
            row = await _known(unit, server_id, expected_version)
            await unit.session.delete(row)
            for table in (OAuthFlowRow, OAuthTokenRow):
                await unit.session.exec(delete(table).where(col(table.server_id) == server_id))
            unit.changed(KIND, server_id, "delete")
            trail.record(unit, audit)

    def _sealed(self, record: McpServerRecord) -> dict[str, Any]:
        sealed = seal_mapping(self._sealer, record.secrets or None)
        return {"secrets": sealed, "sealed_with": None if sealed is None else self._sealer.key_id}

    def _record(self, row: McpServerRow) -> McpServerRecord:
        secrets: Mapping[str, Any] | None = None
        unreadable = row.sealed_with not in (None, self._sealer.key_id)
        if not unreadable:
            try:
                secrets = open_mapping(self._sealer, row.secrets)
            except CannotOpen:
                unreadable = True
        return McpServerRecord(
            server_id=row.server_id,
            config=row.config,
            secrets=secrets or {},
            is_public=row.is_public,
            created_at=row.created_at,
            updated_at=row.updated_at,
            created_by=row.created_by,
            updated_by=row.updated_by,
            version=row.version,
            unreadable=unreadable,
        )


def _plain(record: McpServerRecord) -> dict[str, Any]:
    """Columns that a replacement replaces and that hold no secret."""
    return {
        "name_key": record.name.casefold(),
        "config": dict(record.config),
        "is_public": record.is_public,
        "updated_at": record.updated_at,
        "updated_by": record.updated_by,
    }


async def _known(unit: UnitOfWork, server_id: str, expected_version: int | None) -> McpServerRow:
    row = await unit.session.get(McpServerRow, server_id)
    if row is None:
        raise NotFound(f"MCP Server not found, passed server_id={server_id}")
    if expected_version is not None and row.version != expected_version:
        raise StaleVersion(server_id, expected_version, row.version, "MCP Server")
    return row


async def _require_free_names(unit: UnitOfWork, record: McpServerRecord) -> None:
    """Refuse a name or id under which another server is reached, in whatever case: grants are made by any of them."""
    query = select(McpServerRow.server_id, McpServerRow.config).where(col(McpServerRow.server_id) != record.server_id)
    others = list(await unit.session.exec(query))
    require_free(record.server_id, record.config, others)


def require_free(server_id: str, config: Mapping[str, Any], others: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Raise `NameTaken` where one of `others`, as (id, configuration), answers to a name or the id of a server."""
    taken = {name.casefold(): other for other, known in others for name in (other, *_names(known))}
    for field_name, value in (*((name, config.get(name)) for name in NAMES), ("server_id", server_id)):
        owner = taken.get(str(value).casefold()) if value else None
        if owner is not None:
            raise NameTaken(field_name, str(value), owner)


def _names(config: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(config[name]) for name in NAMES if config.get(name))

"""MCP servers at rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlmodel import col, delete, select

from routeiq_plugin.errors import Conflict
from routeiq_plugin.store.engine import Database, UnitOfWork
from routeiq_plugin.store.registered import Kind, RegisteredStore, Secrets
from routeiq_plugin.store.sealing import Sealer
from routeiq_plugin.store.tables import McpServerRow, OAuthFlowRow, OAuthTokenRow

KIND: Final = "mcp_server"
"""What followers and the audit trail call these objects."""

NAMES: Final = ("alias", "server_name")
"""Fields of the configuration by which a server is called, besides its id."""

_KIND: Final = Kind(
    KIND,
    "MCP Server",
    "MCP Server with id {} already exists. Cannot create another.",
    "MCP Server not found, passed server_id={}",
    "server_id",
    ("secrets",),
)


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
    def object_id(self) -> str:
        """Its id."""
        return self.server_id

    @property
    def name(self) -> str:
        """Alias, else name, else id."""
        return str(self.config.get("alias") or self.config.get("server_name") or self.server_id)


class McpServerStore(RegisteredStore[McpServerRow, McpServerRecord]):
    """Stores servers; every method raises `Unavailable` while the database is away.

    `create` and `replace` raise `NameTaken` for a name of another server; `delete` also forgets the logins at it.
    """

    def __init__(self, database: Database, sealer: Sealer) -> None:
        super().__init__(database, sealer, _KIND, McpServerRow)

    async def by_name(self, name: str) -> McpServerRecord | None:
        """Return the server that answers to exactly this alias or name, None if there is none; aliases go first."""
        async with self._database.read() as session:
            found = await session.exec(select(McpServerRow.server_id, McpServerRow.config))
            named = [(server_id, config) for server_id, config in found if name in _names(config)]
            for field_name in NAMES:
                for server_id, config in named:
                    if config.get(field_name) == name:
                        row = await session.get(McpServerRow, server_id)
                        return None if row is None else self._opened(row)
        return None

    def _columns(self, record: McpServerRecord) -> Mapping[str, Any]:
        return {"name_key": record.name.casefold(), "config": dict(record.config)}

    def _secrets(self, record: McpServerRecord) -> Secrets:
        return {"secrets": record.secrets or None}

    def _record(self, row: McpServerRow, secrets: Secrets, *, unreadable: bool) -> McpServerRecord:
        return McpServerRecord(
            server_id=row.server_id,
            config=row.config,
            secrets=secrets["secrets"] or {},
            is_public=row.is_public,
            created_at=row.created_at,
            updated_at=row.updated_at,
            created_by=row.created_by,
            updated_by=row.updated_by,
            version=row.version,
            unreadable=unreadable,
        )

    async def _require_free_names(self, unit: UnitOfWork, record: McpServerRecord) -> None:
        """Refuse a name or id that another server is reached by, in whatever case: grants are made by any of them."""
        known = select(McpServerRow.server_id, McpServerRow.config)
        others = await unit.session.exec(known.where(col(McpServerRow.server_id) != record.server_id))
        require_free(record.server_id, record.config, list(others))

    async def _forget(self, unit: UnitOfWork, object_id: str) -> None:
        for table in (OAuthFlowRow, OAuthTokenRow):
            await unit.session.exec(delete(table).where(col(table.server_id) == object_id))


def require_free(server_id: str, config: Mapping[str, Any], others: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Raise `NameTaken` where one of `others`, as (id, configuration), answers to a name or the id of a server."""
    taken = {name.casefold(): other for other, known in others for name in (other, *_names(known))}
    for field_name, value in (*((name, config.get(name)) for name in NAMES), ("server_id", server_id)):
        owner = taken.get(str(value).casefold()) if value else None
        if owner is not None:
            raise NameTaken(field_name, str(value), owner)


def _names(config: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(config[name]) for name in NAMES if config.get(name))

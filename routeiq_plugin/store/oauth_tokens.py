"""What was got by logging in: users' tokens and the gateway's own registrations, sealed, one row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from sqlmodel import col, delete, select

from routeiq_plugin.errors import CannotOpen
from routeiq_plugin.store import audit as trail
from routeiq_plugin.store.audit import AuditEntry
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.oauth_flows import Stage
from routeiq_plugin.store.sealing import Sealer, open_mapping, seal_mapping
from routeiq_plugin.store.tables import OAuthFlowRow, OAuthTokenRow

KIND: Final = "mcp_login"
"""What followers call these rows; the object is the server."""


class TokenKind(StrEnum):
    """What a row holds."""

    USER = "user"
    """A user's token, from a login."""
    CLIENT = "client"
    """How the gateway is known to an authorization server; `owner` is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One row, payload in clear: keep it in memory only."""

    server_id: str
    owner: str
    kind: TokenKind
    payload: Mapping[str, Any] = field(repr=False)
    expires_at: datetime | None = None
    """When the row itself may go; None keeps it."""
    updated_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    version: int = 1


class TokenStore:
    """Stores them; every method raises `Unavailable` while the database is away."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    async def get(self, server_id: str, owner: str, kind: TokenKind) -> Held | None:
        """Return what is held; raises `CannotOpen` when it was sealed with another key."""
        async with self._database.read() as session:
            row = await session.get(OAuthTokenRow, (server_id, owner, kind.value))
            return None if row is None else self._held(row)

    async def of_owner(self, owner: str) -> tuple[Held, ...]:
        """Return a user's tokens, by server; those sealed with another key are left out."""
        query = (
            select(OAuthTokenRow)
            .where(col(OAuthTokenRow.owner) == owner, col(OAuthTokenRow.kind) == TokenKind.USER.value)
            .order_by(col(OAuthTokenRow.server_id))
        )
        async with self._database.read() as session:
            rows = list(await session.exec(query))
        return tuple(self._held(row) for row in rows if row.sealed_with == self._sealer.key_id)

    async def put(self, held: Held, audit: AuditEntry, *, code_id: str | None = None) -> bool:
        """Store in place of whatever is held; False, and nothing stored, when the code it came by was replayed."""
        async with self._database.write() as unit:
            if code_id is not None:
                code = await unit.session.get(OAuthFlowRow, code_id)
                if code is None or code.kind != Stage.USED.value:
                    return False
            row = await unit.session.get(OAuthTokenRow, _key(held))
            if row is None:
                unit.session.add(self._row(held))
            else:
                self._update(row, held)
            unit.changed(KIND, held.server_id, "update")
            trail.record(unit, audit)
        return True

    async def add(self, held: Held, audit: AuditEntry, *, instead_of: int | None = None) -> Held:
        """Store what nobody holds yet, or in place of that version; returns what is held then, by whoever was first."""
        async with self._database.write() as unit:
            row = await unit.session.get(OAuthTokenRow, _key(held))
            if row is not None and row.version != instead_of:
                return self._held(row)
            if row is None:
                unit.session.add(self._row(held))
            else:
                self._update(row, held)
            trail.record(unit, audit)
        return held

    async def replace(self, held: Held) -> bool:
        """Store the next version of what was read; False when someone else wrote or removed it since."""
        async with self._database.tally() as session:
            row = await session.get(OAuthTokenRow, _key(held), with_for_update=True)
            if row is None or row.version != held.version:
                return False
            self._update(row, held)
            return True

    async def remove(
        self, server_id: str, owner: str, kind: TokenKind, audit: AuditEntry, *, version: int | None = None
    ) -> bool:
        """Forget what is held, in that version if one is given; returns whether there was any."""
        async with self._database.write() as unit:
            row = await unit.session.get(OAuthTokenRow, (server_id, owner, kind.value))
            if row is None or version not in (None, row.version):
                return False
            await unit.session.delete(row)
            unit.changed(KIND, server_id, "delete")
            trail.record(unit, audit)
        return True

    async def replayed(self, code_id: str, audit: AuditEntry) -> bool:
        """Note that a used code came again and forget what it was exchanged for; False for a code that was not used."""
        async with self._database.write() as unit:
            code = await unit.session.get(OAuthFlowRow, code_id)
            if code is None or code.kind not in (Stage.USED.value, Stage.REPLAYED.value):
                return False
            code.kind = Stage.REPLAYED.value
            row = await unit.session.get(OAuthTokenRow, (code.server_id, code.owner, TokenKind.USER.value))
            if row is not None and self._came_by(row, code_id):
                await unit.session.delete(row)
            unit.changed(KIND, code.server_id, "delete")
            trail.record(unit, audit)
        return True

    async def prune(self, now: datetime) -> int:
        """Forget the rows whose time has come, and return how many that were."""
        async with self._database.tally() as session:
            done = await session.exec(delete(OAuthTokenRow).where(col(OAuthTokenRow.expires_at) <= now))
            return int(done.rowcount)

    def _came_by(self, row: OAuthTokenRow, code_id: str) -> bool:
        try:
            return self._held(row).payload.get("grant") == code_id
        except CannotOpen:
            return True

    def _row(self, held: Held) -> OAuthTokenRow:
        row = OAuthTokenRow(
            server_id=held.server_id,
            owner=held.owner,
            kind=held.kind.value,
            payload="",
            updated_at=held.updated_at,
            version=0,
        )
        self._update(row, held)
        return row

    def _update(self, row: OAuthTokenRow, held: Held) -> None:
        sealed = seal_mapping(self._sealer, held.payload)
        assert sealed is not None
        row.payload = sealed
        row.sealed_with = self._sealer.key_id
        row.expires_at = held.expires_at
        row.updated_at = held.updated_at
        row.version += 1

    def _held(self, row: OAuthTokenRow) -> Held:
        if row.sealed_with != self._sealer.key_id:
            raise CannotOpen
        return Held(
            server_id=row.server_id,
            owner=row.owner,
            kind=TokenKind(row.kind),
            payload=open_mapping(self._sealer, row.payload) or {},
            expires_at=row.expires_at,
            updated_at=row.updated_at,
            version=row.version,
        )


def _key(held: Held) -> tuple[str, str, str]:
    return held.server_id, held.owner, held.kind.value

"""What outlives one request of a client on the MCP endpoints, for whichever worker gets the next: sessions, letters."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlmodel import col, delete, select, update

from routeiq_plugin.errors import CannotOpen, Unavailable
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.sealing import Sealer, open_mapping, seal_mapping
from routeiq_plugin.store.tables import McpRelayRow
from routeiq_plugin.store.upserts import insert

SESSIONS: Final = "mcp_session"
"""What followers call them."""
LETTERS: Final = "mcp_letter"
NEWS: Final = "mcp_news"
"""What is told to all, and stored nowhere: the object is `{entry id} {word} {who tells it}`."""

SESSION_LIFETIME: Final = timedelta(hours=24)
"""After that long without a request a session is forgotten."""
UNUSED_LIFETIME: Final = timedelta(hours=1)
"""After that long one is forgotten that was only begun."""
LETTER_LIFETIME: Final = timedelta(minutes=10)
_RENEWED_AFTER: Final = timedelta(minutes=10)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A client's session; `state` in clear: keep it in memory only."""

    name: str
    """The secret that names it."""
    state: Mapping[str, Any]
    version: int = 1


class RelayStore:
    """Stores them; every method raises `Unavailable` while the database is away."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    # Sessions

    async def begin(self, session: StoredSession, owner: str, now: datetime, *, most: int) -> None:
        """Store a new session of an owner's; of more than `most` those are forgotten that were not used for longest."""
        row = self._row(session.name, SESSIONS, session.state, now + UNUSED_LIFETIME)
        row.owner, row.used_at = owner, now
        others = select(McpRelayRow.entry_id).where(
            col(McpRelayRow.owner) == owner, col(McpRelayRow.entry_id) != row.entry_id
        )
        async with self._database.tally() as opened:
            opened.add(row)
            surplus = (await opened.exec(others.order_by(col(McpRelayRow.used_at).desc()).offset(most - 1))).all()
        for each in surplus:
            with suppress(Unavailable):  # the session is there; what is too many goes with the next one
                await self._forget(each)

    async def session(self, name: str, now: datetime) -> StoredSession | None:
        """Return a session that has neither ended nor expired; raises `CannotOpen` for one of another key."""
        async with self._database.read() as opened:
            row = await opened.get(McpRelayRow, entry_id(name))
        if row is None or row.kind != SESSIONS or row.expires_at <= now:
            return None
        if row.expires_at - now < SESSION_LIFETIME - _RENEWED_AFTER:
            await self._renew(row.entry_id, now)
        return StoredSession(name, self._opened(row), row.version)

    async def replace(self, session: StoredSession, state: Mapping[str, Any], now: datetime) -> bool:
        """Store another state, and tell followers; False where another worker was faster, or the session is gone."""
        sealed = seal_mapping(self._sealer, state)
        written = (
            update(McpRelayRow)
            .where(col(McpRelayRow.entry_id) == entry_id(session.name), col(McpRelayRow.version) == session.version)
            .values(
                payload=sealed,
                sealed_with=self._sealer.key_id,
                version=session.version + 1,
                expires_at=now + SESSION_LIFETIME,
                used_at=now,
            )
        )
        async with self._database.write() as unit:
            if not int((await unit.session.exec(written)).rowcount):
                return False
            unit.changed(SESSIONS, entry_id(session.name), "update")
            return True

    async def end(self, name: str) -> bool:
        """Forget a session, and tell followers; False where there was none."""
        return await self._forget(entry_id(name))

    async def _forget(self, row_id: str) -> bool:
        gone = delete(McpRelayRow).where(col(McpRelayRow.entry_id) == row_id, col(McpRelayRow.kind) == SESSIONS)
        async with self._database.write() as unit:
            if not int((await unit.session.exec(gone)).rowcount):
                return False
            unit.changed(SESSIONS, row_id, "delete")
            return True

    # Letters

    async def post(self, name: str, content: Mapping[str, Any], now: datetime) -> None:
        """Leave a letter for whoever waits under this name, in place of an older one, and tell followers."""
        row = self._row(name, LETTERS, content, now + LETTER_LIFETIME).model_dump()
        posted = insert(self._database.kind, McpRelayRow).values(row)
        changed = {column: posted.excluded[column] for column in ("payload", "sealed_with", "expires_at")}
        async with self._database.write() as unit:
            await unit.session.exec(posted.on_conflict_do_update(index_elements=["entry_id"], set_=changed))
            unit.changed(LETTERS, entry_id(name), "create")

    async def take(self, name: str, now: datetime) -> Json | None:
        """Remove a letter and return it, to one caller only."""
        taken = (
            delete(McpRelayRow)
            .where(col(McpRelayRow.entry_id) == entry_id(name), col(McpRelayRow.kind) == LETTERS)
            .returning(McpRelayRow)
            .execution_options(synchronize_session=False)
        )
        async with self._database.tally() as opened:
            row: McpRelayRow | None = (await opened.exec(taken)).scalars().one_or_none()
        return None if row is None or row.expires_at <= now else dict(self._opened(row))

    async def announce(self, name: str, word: str, teller: str) -> None:
        """Tell a word to whoever follows what this name stands for."""
        async with self._database.write() as unit:
            unit.changed(NEWS, f"{entry_id(name)} {word} {teller}", "create")

    async def prune(self, now: datetime) -> int:
        """Forget what has expired, and return how many that were."""
        async with self._database.tally() as opened:
            done = await opened.exec(delete(McpRelayRow).where(col(McpRelayRow.expires_at) <= now))
            return int(done.rowcount)

    async def _renew(self, row_id: str, now: datetime) -> None:
        async with self._database.tally() as opened:
            renewed = update(McpRelayRow).where(col(McpRelayRow.entry_id) == row_id)
            await opened.exec(renewed.values(expires_at=now + SESSION_LIFETIME, used_at=now))

    def _row(self, name: str, kind: str, content: Mapping[str, Any], expires_at: datetime) -> McpRelayRow:
        sealed = seal_mapping(self._sealer, content)
        assert sealed is not None
        return McpRelayRow(
            entry_id=entry_id(name),
            kind=kind,
            payload=sealed,
            sealed_with=self._sealer.key_id,
            version=1,
            expires_at=expires_at,
        )

    def _opened(self, row: McpRelayRow) -> Mapping[str, Any]:
        if row.sealed_with != self._sealer.key_id:
            raise CannotOpen
        return open_mapping(self._sealer, row.payload) or {}


def entry_id(name: str) -> str:
    """Return what followers are told instead of a name, which is a secret."""
    return hashlib.sha256(name.encode()).hexdigest()

"""Logins on their way: staged servers, registered clients, states and codes; each used once, by whichever worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import func
from sqlmodel import col, delete, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from routeiq_plugin.errors import CannotOpen, TooManyRequests
from routeiq_plugin.store import audit as trail
from routeiq_plugin.store.audit import AuditEntry
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.sealing import Sealer, open_mapping, seal_mapping
from routeiq_plugin.store.tables import OAuthFlowRow
from routeiq_plugin.store.upserts import insert


class Stage(StrEnum):
    """How far a login is; the column `kind`."""

    SERVER = "server"
    """A server that was only staged, to log in at before it is registered."""
    CLIENT = "client"
    """A client that registered with the gateway (RFC 7591)."""
    STATE = "state"
    """The browser is at the authorization server."""
    CODE = "code"
    """The browser came back; the client has not fetched its tokens yet."""
    USED = "used"
    """The code was presented; kept so that a second time is noticed (RFC 6749 4.1.2)."""
    REPLAYED = "replayed"
    """It was presented again."""
    LEASE = "lease"
    """One worker refreshes a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One row, payload in clear: keep it in memory only."""

    flow_id: str
    """SHA-256 of the secret that names it, or an id that is no secret."""
    stage: Stage
    server_id: str
    owner: str
    expires_at: datetime
    payload: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Quota:
    """How many clients one owner may register at one server."""

    alive: int
    """At any time."""
    recent: int
    """Within `window`."""
    window: timedelta
    lifetime: timedelta
    """Of a registration, from which its age is told."""


class FlowStore:
    """Stores them; every method raises `Unavailable` while the database is away."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    async def put(self, flow: Flow) -> None:
        """Store a flow in place of another of the same id."""
        async with self._database.tally() as session:
            await session.merge(self._row(flow))

    async def begin(self, flow: Flow, most: int, now: datetime) -> None:
        """Store a login; raises `TooManyRequests` when its owner has so many under way at this server already."""
        async with self._database.tally() as session:
            if await _count(session, flow, now) >= most:
                raise TooManyRequests("too many logins were begun and not ended; end one, or wait", retry_after=600)
            session.add(self._row(flow))

    async def register(self, flow: Flow, quota: Quota, now: datetime, audit: AuditEntry) -> None:
        """Store a client; raises `TooManyRequests` when its owner has enough of them at this server."""
        async with self._database.write() as unit:
            fresh = now + quota.lifetime - quota.window
            if await _count(unit.session, flow, fresh) >= quota.recent:
                raise TooManyRequests("too many clients were registered just now", quota.window.total_seconds())
            if await _count(unit.session, flow, now) >= quota.alive:
                raise TooManyRequests("too many clients are registered for this key", retry_after=3600)
            unit.session.add(self._row(flow))
            trail.record(unit, audit)

    async def get(self, flow_id: str, stage: Stage, now: datetime) -> Flow | None:
        """Return a flow that has not expired; raises `CannotOpen` when it was sealed with another key."""
        async with self._database.read() as session:
            row = await session.get(OAuthFlowRow, flow_id)
        return None if row is None or row.kind != stage or row.expires_at <= now else self._flow(row)

    async def take(self, flow_id: str, stage: Stage, now: datetime) -> Flow | None:
        """Remove a flow and return it, to one caller only; None when it is unknown, used or expired."""
        taken = (
            delete(OAuthFlowRow)
            .where(col(OAuthFlowRow.flow_id) == flow_id, col(OAuthFlowRow.kind) == stage.value)
            .returning(OAuthFlowRow)
            .execution_options(synchronize_session=False)
        )
        async with self._database.tally() as session:
            row: OAuthFlowRow | None = (await session.exec(taken)).scalars().one_or_none()
            return None if row is None or row.expires_at <= now else self._flow(row)

    async def use(self, code_id: str, now: datetime, kept_until: datetime) -> Flow | None:
        """Mark a code as used and return it, to one caller only; None when it is unknown, used or expired."""
        used = (
            update(OAuthFlowRow)
            .where(
                col(OAuthFlowRow.flow_id) == code_id,
                col(OAuthFlowRow.kind) == Stage.CODE.value,
                col(OAuthFlowRow.expires_at) > now,
            )
            .values(kind=Stage.USED.value, expires_at=kept_until)
            .returning(OAuthFlowRow)
            .execution_options(synchronize_session=False)
        )
        async with self._database.tally() as session:
            row: OAuthFlowRow | None = (await session.exec(used)).scalars().one_or_none()
            return None if row is None else self._flow(row)

    async def lease(self, lease: Flow, now: datetime) -> bool:
        """Take a lease that nobody holds, or whose holder is overdue; returns whether it is ours now."""
        row = self._row(lease).model_dump()
        fresh = insert(self._database.kind, OAuthFlowRow).values(row)
        taken = fresh.on_conflict_do_update(
            index_elements=["flow_id"],
            set_={"expires_at": lease.expires_at, "owner": lease.owner},
            where=col(OAuthFlowRow.expires_at) <= now,
        ).returning(OAuthFlowRow.flow_id)
        async with self._database.tally() as session:
            return (await session.exec(taken)).first() is not None

    async def release(self, lease: Flow) -> None:
        """Give a lease back, unless someone else has taken it over."""
        async with self._database.tally() as session:
            await session.exec(
                delete(OAuthFlowRow).where(
                    col(OAuthFlowRow.flow_id) == lease.flow_id,
                    col(OAuthFlowRow.kind) == Stage.LEASE.value,
                    col(OAuthFlowRow.owner) == lease.owner,
                )
            )

    async def prune(self, now: datetime) -> int:
        """Forget what has expired, and return how many that were."""
        async with self._database.tally() as session:
            done = await session.exec(delete(OAuthFlowRow).where(col(OAuthFlowRow.expires_at) <= now))
            return int(done.rowcount)

    def _row(self, flow: Flow) -> OAuthFlowRow:
        sealed = seal_mapping(self._sealer, flow.payload)
        assert sealed is not None
        return OAuthFlowRow(
            flow_id=flow.flow_id,
            kind=flow.stage.value,
            server_id=flow.server_id,
            owner=flow.owner,
            payload=sealed,
            sealed_with=self._sealer.key_id,
            expires_at=flow.expires_at,
        )

    def _flow(self, row: OAuthFlowRow) -> Flow:
        if row.sealed_with != self._sealer.key_id:
            raise CannotOpen
        return Flow(
            flow_id=row.flow_id,
            stage=Stage(row.kind),
            server_id=row.server_id,
            owner=row.owner,
            expires_at=row.expires_at,
            payload=open_mapping(self._sealer, row.payload) or {},
        )


async def _count(session: AsyncSession, flow: Flow, alive_at: datetime) -> int:
    query = select(func.count()).where(
        col(OAuthFlowRow.kind) == flow.stage.value,
        col(OAuthFlowRow.server_id) == flow.server_id,
        col(OAuthFlowRow.owner) == flow.owner,
        col(OAuthFlowRow.expires_at) > alive_at,
    )
    return (await session.exec(query)).one()

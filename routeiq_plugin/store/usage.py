"""Usage of agents by day: increments of all workers added up, and read back page by page."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, func, or_
from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.location import Kind
from routeiq_plugin.store.tables import AgentDailyRow, UsageWriterRow
from routeiq_plugin.store.upserts import insert

WRITERS_KEPT: Final = timedelta(days=7)
"""How long the last batch of a worker that has ended is remembered."""

_COUNTED: Final = (
    "successful_requests",
    "failed_requests",
    "timed_requests",
    "response_seconds",
    "prompt_tokens",
    "completion_tokens",
    "spend",
)


@dataclass(frozen=True, slots=True, order=True)
class UsageKey:
    """Whose usage of what on which day; '' where unknown."""

    day: date
    """In UTC."""
    agent_id: str
    api_key: str
    """Hash of the key."""
    user_id: str
    team_id: str
    method: str


_KEY: Final = ("day", "agent_id", "api_key", "user_id", "team_id", "method")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Calls of one key added up."""

    agent_name: str
    key_alias: str | None = None
    successful_requests: int = 0
    failed_requests: int = 0
    timed_requests: int = 0
    """Calls whose duration is part of `response_seconds`."""
    response_seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    spend: float = 0.0
    """US dollars, as LiteLLM counts."""

    def plus(self, later: Usage) -> Usage:
        """Add up; names are those of the later."""
        sums = {name: getattr(self, name) + getattr(later, name) for name in _COUNTED}
        return replace(later, key_alias=later.key_alias or self.key_alias, **sums)


@dataclass(frozen=True, slots=True)
class Batch:
    """Increments that are written together; sent again after a lost answer it is still counted once."""

    writer: str
    """Names one worker's life."""
    number: int
    """Grows by one with each batch of the writer."""
    increments: Mapping[UsageKey, Usage] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Owner:
    """A caller who sees usage of their own; '' matches nothing."""

    api_key: str
    user_id: str
    team_id: str

    def owns(self, key: UsageKey) -> bool:
        """Tell whether the row is about this caller or their team."""
        mine = ((self.api_key, key.api_key), (self.user_id, key.user_id), (self.team_id, key.team_id))
        return any(known and known == found for known, found in mine)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFilter:
    """Which rows; what is None does not narrow."""

    first: date
    last: date
    """Inclusive."""
    agent_ids: Collection[str] | None = None
    without_agent_ids: Collection[str] = ()
    api_key: str | None = None
    agent_name: str | None = None
    owner: Owner | None = None
    """Only what this caller or their team did, and what anybody did with `open_agent_ids`; None: everything."""
    open_agent_ids: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class UsagePage:
    """Some rows, newest day first, and how many there are in all."""

    rows: Sequence[tuple[UsageKey, Usage]]
    total: int


class UsageStore:
    """Stores usage; every method raises `Unavailable` while the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, batch: Batch) -> bool:
        """Add a batch in one transaction; False if it was there already, whatever its first answer was."""
        async with self._database.tally() as session:
            if not await _is_new(session, self._database.kind, batch):
                return False
            # In one order, so that two workers on PostgreSQL never wait for each other's rows in a circle.
            rows = [_columns(key, batch.increments[key]) for key in sorted(batch.increments)]
            if rows:
                await session.exec(_upsert(self._database.kind), params=rows)
            if batch.number == 1:
                too_old = datetime.now(UTC) - WRITERS_KEPT
                await session.exec(delete(UsageWriterRow).where(col(UsageWriterRow.at) < too_old))
            return True

    async def page(self, wanted: UsageFilter, *, offset: int, limit: int) -> UsagePage:
        """Return `limit` rows after the first `offset`, and the number of all that match."""
        conditions = _conditions(wanted)
        query = (
            select(AgentDailyRow)
            .where(*conditions)
            .order_by(col(AgentDailyRow.day).desc(), *(getattr(AgentDailyRow, name) for name in _KEY[1:]))
            .offset(offset)
            .limit(limit)
        )
        async with self._database.read() as session:
            total = (await session.exec(select(func.count()).select_from(AgentDailyRow).where(*conditions))).one()
            rows = (await session.exec(query)).all() if total > offset else []
        return UsagePage([_usage(row) for row in rows], total)


async def _is_new(session: AsyncSession, kind: Kind, batch: Batch) -> bool:
    writer = insert(kind, UsageWriterRow)
    statement = writer.on_conflict_do_update(
        index_elements=["writer"],
        set_={"batch": writer.excluded.batch, "at": writer.excluded.at},
        where=col(UsageWriterRow.batch) < writer.excluded.batch,
    )
    fields = {"writer": batch.writer, "batch": batch.number, "at": datetime.now(UTC)}
    written = await session.exec(statement.values(**fields).returning(col(UsageWriterRow.batch)))
    return written.first() is not None


@cache
def _upsert(kind: Kind) -> Any:
    table = AgentDailyRow.metadata.tables[AgentDailyRow.__tablename__]
    row = insert(kind, table)
    added = {name: table.c[name] + row.excluded[name] for name in _COUNTED}
    alias = func.coalesce(row.excluded.key_alias, table.c.key_alias)
    return row.on_conflict_do_update(
        index_elements=list(_KEY), set_={**added, "agent_name": row.excluded.agent_name, "key_alias": alias}
    )


def _conditions(wanted: UsageFilter) -> list[ColumnElement[bool]]:
    row = AgentDailyRow
    found: list[ColumnElement[bool]] = [col(row.day).between(wanted.first, wanted.last)]
    if wanted.agent_ids is not None:
        found.append(col(row.agent_id).in_(wanted.agent_ids))
    if wanted.without_agent_ids:
        found.append(col(row.agent_id).not_in(wanted.without_agent_ids))
    if wanted.agent_name is not None:
        found.append(col(row.agent_name) == wanted.agent_name)
    if wanted.api_key is not None:
        found.append(col(row.api_key) == wanted.api_key)
    if wanted.owner is not None:
        own = _owned(wanted.owner)
        # Who asks for a key by its hash may be guessing somebody else's: then only their own will do.
        shared = col(row.agent_id).in_(wanted.open_agent_ids if wanted.api_key is None else ())
        found.append(or_(own, shared))
    return found


def _owned(owner: Owner) -> ColumnElement[bool]:
    row = AgentDailyRow
    mine = ((row.api_key, owner.api_key), (row.user_id, owner.user_id), (row.team_id, owner.team_id))
    return or_(*(and_(col(column) == known, col(column) != "") for column, known in mine))


def _columns(key: UsageKey, usage: Usage) -> dict[str, Any]:
    names = (*_COUNTED, "agent_name", "key_alias")
    return {name: getattr(key, name) for name in _KEY} | {name: getattr(usage, name) for name in names}


def _usage(row: AgentDailyRow) -> tuple[UsageKey, Usage]:
    counted = {name: getattr(row, name) for name in _COUNTED}
    key = UsageKey(*(getattr(row, name) for name in _KEY))
    return key, Usage(agent_name=row.agent_name, key_alias=row.key_alias, **counted)

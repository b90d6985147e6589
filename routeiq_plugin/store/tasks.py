"""Whose tasks and conversations are: one row each, written once by whoever named it first."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, Final, NamedTuple

from sqlmodel import and_, col, delete, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from routeiq_plugin.errors import InvalidRequest
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.tables import TaskRow, UtcDateTime
from routeiq_plugin.store.upserts import insert

LONGEST_ID: Final = 200
"""Characters of an id that are kept as they are; a longer one is kept as its digest, PostgreSQL indexes no more."""

MOST_CLAIMS: Final = 64
"""How many share one commit."""

_KEY: Final = ("agent_id", "kind", "object_id")
_Key = tuple[str, str, str]
"""Values of these columns."""
_Wanted = dict[_Key, tuple[str, datetime]]
"""Who would have each, seen when."""


class Kind(StrEnum):
    """What can have an owner."""

    TASK = "task"
    CONTEXT = "context"


class Owned(NamedTuple):
    """One task or conversation of an agent, by the id that the protocol gives it."""

    kind: Kind
    id: str


@dataclass(frozen=True, slots=True)
class _Claim:
    agent_id: str
    owner: str
    objects: tuple[Owned, ...]
    now: datetime
    answer: asyncio.Future[Mapping[Owned, str]]

    def rows(self) -> Iterator[tuple[_Key, str]]:
        return (((self.agent_id, each.kind.value, key(each.id)), self.owner) for each in self.objects)


class TaskStore:
    """Remembers owners; every method raises `Unavailable` while the database is away.

    A claim delays an answer, and its cost is the commit: claims that come during one commit share the next.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Claim] = []
        self._writing: asyncio.Task[None] | None = None

    async def claim(self, agent_id: str, owner: str, objects: Collection[Owned], now: datetime) -> Mapping[Owned, str]:
        """Give `owner` what nobody has yet, note that all of it was seen `now`, and return who has each.

        What was begun is written also when the caller does not wait for it.
        """
        if not objects:
            return {}
        loop = asyncio.get_running_loop()
        claim = _Claim(agent_id, owner, tuple(objects), now, loop.create_future())
        self._waiting.append(claim)
        if self._writing is None:
            self._writing = loop.create_task(self._write_waiting())
        return await claim.answer

    async def _write_waiting(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MOST_CLAIMS], self._waiting[MOST_CLAIMS:]
                await self._write(batch)
        finally:
            self._writing = None

    async def _write(self, batch: Sequence[_Claim]) -> None:
        """Write claims in one transaction; one that cannot be stored must not fail the others."""
        try:
            answers = await self._written(batch)
        except InvalidRequest as invalid:
            if len(batch) > 1:
                for each in batch:
                    await self._write([each])
            else:
                _fail(batch, invalid)
        except BaseException as failure:
            _fail(batch, failure)
            if not isinstance(failure, Exception):
                raise
        else:
            for claim, answer in zip(batch, answers, strict=True):
                if not claim.answer.done():
                    claim.answer.set_result(answer)

    async def _written(self, batch: Sequence[_Claim]) -> Sequence[Mapping[Owned, str]]:
        wanted: _Wanted = {}
        for claim in batch:
            for row, owner in claim.rows():
                wanted.setdefault(row, (owner, claim.now))  # of two in one batch the first was first
        if await self._inserted(wanted) == len(wanted):
            holders: Mapping[_Key, str] = {row: owner for row, (owner, _) in wanted.items()}
        else:
            holders = await self._seen_again(wanted)
        return [
            {each: holders[row] for each, (row, _) in zip(claim.objects, claim.rows(), strict=True) if row in holders}
            for claim in batch
        ]

    async def _inserted(self, wanted: _Wanted) -> int:
        """Insert what is new and return how many that was: all of it, nearly always."""
        to_driver = UtcDateTime().bind_processor(self._database.dialect) or (lambda value: value)
        parameters = [value for row, owner, now in _in_order(wanted) for value in (*row, owner, to_driver(now))]
        return await self._database.at_once(_insertion(len(wanted)), parameters)

    async def _seen_again(self, wanted: _Wanted) -> Mapping[_Key, str]:
        """Insert what is new, note when the rest was seen, and return who has each."""
        rows = [
            {**dict(zip(_KEY, row, strict=True)), "owner": owner, "seen_at": now}
            for row, owner, now in _in_order(wanted)
        ]
        new = insert(self._database.kind, TaskRow).values(rows)
        again = new.on_conflict_do_update(index_elements=list(_KEY), set_={"seen_at": new.excluded.seen_at})
        query = select(TaskRow).where(or_(*(and_(*_is(row)) for row in wanted)))
        async with self._database.tally() as session:
            await session.exec(again)
            return {(row.agent_id, row.kind, row.object_id): row.owner for row in await session.exec(query)}

    async def owners(self, agent_id: str, objects: Collection[Owned]) -> Mapping[Owned, str]:
        """Return who has each of these; what nobody has is left out."""
        if not objects:
            return {}
        async with self._database.read() as session:
            return await _owners(session, agent_id, objects)

    async def prune(self, before: datetime) -> int:
        """Forget what was last seen before then, and return how much that was."""
        async with self._database.tally() as session:
            done = await session.exec(delete(TaskRow).where(col(TaskRow.seen_at) < before))
            return int(done.rowcount)


async def _owners(session: AsyncSession, agent_id: str, objects: Collection[Owned]) -> Mapping[Owned, str]:
    query = select(TaskRow).where(
        col(TaskRow.agent_id) == agent_id,
        or_(
            *(
                and_(
                    col(TaskRow.kind) == kind.value,
                    col(TaskRow.object_id).in_([key(each.id) for each in objects if each.kind is kind]),
                )
                for kind in {each.kind for each in objects}
            )
        ),
    )
    found = {(row.kind, row.object_id): row.owner for row in await session.exec(query)}
    held = ((each, found.get((each.kind.value, key(each.id)))) for each in objects)
    return {each: owner for each, owner in held if owner is not None}


def _in_order(wanted: _Wanted) -> Iterator[tuple[_Key, str, datetime]]:
    """Give everybody the same order: two writers of the same pair cannot deadlock."""
    return ((row, *wanted[row]) for row in sorted(wanted))


def _is(row: _Key) -> tuple[Any, ...]:
    columns = (TaskRow.agent_id, TaskRow.kind, TaskRow.object_id)
    return tuple(col(column) == value for column, value in zip(columns, row, strict=True))


@cache
def _insertion(rows: int) -> str:
    columns = ", ".join((*_KEY, "owner", "seen_at"))
    values = ", ".join(["(?, ?, ?, ?, ?)"] * rows)
    return f"INSERT INTO {TaskRow.__tablename__} ({columns}) VALUES {values} ON CONFLICT DO NOTHING"  # noqa: S608  constants


def _fail(batch: Sequence[_Claim], failure: BaseException) -> None:
    for claim in batch:
        if not claim.answer.done():
            claim.answer.set_exception(failure)


def key(object_id: str) -> str:
    """Return what an id is stored as: itself, or its digest where it is too long or no text for a database."""
    if len(object_id) <= LONGEST_ID and object_id.isprintable() and not object_id.startswith("sha256:"):
        return object_id
    return "sha256:" + hashlib.sha256(object_id.encode(errors="surrogatepass")).hexdigest()

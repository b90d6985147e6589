"""Whose tasks and conversations are: one row each, written once by whoever named it first."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import and_, col, delete, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.tables import TaskRow

LONGEST_ID: Final = 200
"""Characters of an id that are kept as they are; a longer one is kept as its digest, PostgreSQL indexes no more."""

_KEY: Final = ("agent_id", "kind", "object_id")


class Kind(StrEnum):
    """What can have an owner."""

    TASK = "task"
    CONTEXT = "context"


class Owned(NamedTuple):
    """One task or conversation of an agent, by the id that the protocol gives it."""

    kind: Kind
    id: str


class TaskStore:
    """Remembers owners; every method raises `Unavailable` while the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, agent_id: str, owner: str, objects: Collection[Owned], now: datetime) -> Mapping[Owned, str]:
        """Give `owner` what nobody has yet, note that all of it was seen `now`, and return who has each."""
        if not objects:
            return {}
        rows = [
            {"agent_id": agent_id, "kind": each.kind.value, "object_id": key(each.id), "owner": owner, "seen_at": now}
            for each in sorted(set(objects))  # in one order everywhere: two claims of the same pair cannot deadlock
        ]
        dialect: Any = sqlite if self._database.kind == "sqlite" else postgresql
        insert = dialect.insert(TaskRow).values(rows)
        insert = insert.on_conflict_do_update(index_elements=list(_KEY), set_={"seen_at": now})
        async with self._database.tally() as session:
            await session.exec(insert)
            return await _owners(session, agent_id, objects)

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


def key(object_id: str) -> str:
    """Return what an id is stored as: itself, or its digest where it is too long or no text for a database."""
    if len(object_id) <= LONGEST_ID and object_id.isprintable() and not object_id.startswith("sha256:"):
        return object_id
    return "sha256:" + hashlib.sha256(object_id.encode(errors="surrogatepass")).hexdigest()

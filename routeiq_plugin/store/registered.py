"""Registered objects at rest: whole records in and out, secrets sealed, no writer overwriting another unseen."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, Protocol, TypeVar

from sqlmodel import col, select

from routeiq_plugin.errors import CannotOpen, Conflict, InvalidRequest, NotFound
from routeiq_plugin.store import audit as trail
from routeiq_plugin.store.audit import AuditEntry
from routeiq_plugin.store.engine import Database, UnitOfWork
from routeiq_plugin.store.sealing import Sealer, open_mapping, seal_mapping
from routeiq_plugin.store.tables import RegisteredRow

_BATCH: Final = 50
"""Rows opened between two turns of the event loop: a few milliseconds of decryption."""

Secrets = Mapping[str, Mapping[str, Any] | None]
"""What a row seals, by column; None where there is nothing to seal."""


class StaleVersion(Conflict):
    """Someone else wrote first: read again and decide again."""

    def __init__(self, object_id: str, expected: int, current: int, noun: str) -> None:
        super().__init__(f"{noun} with ID {object_id} is at version {current}, not {expected}: read it again")
        self.expected = expected
        self.current = current


class Registered(Protocol):
    """A record: one registered object, secrets in clear, for memory only."""

    @property
    def object_id(self) -> str:
        """What it is stored under."""
        ...

    @property
    def name(self) -> str:
        """What operators call it."""
        ...

    @property
    def is_public(self) -> bool:
        """Whether everybody may know of it."""
        ...

    @property
    def created_at(self) -> datetime:
        """Aware, UTC; as are all times here."""
        ...

    @property
    def updated_at(self) -> datetime:
        """When it was last written."""
        ...

    @property
    def created_by(self) -> str | None:
        """Who registered it."""
        ...

    @property
    def updated_by(self) -> str | None:
        """Who wrote it last."""
        ...

    @property
    def unreadable(self) -> bool:
        """The secrets were sealed with another key: they are empty here, and kept in the store."""
        ...


RecordT = TypeVar("RecordT", bound=Registered)
RowT = TypeVar("RowT", bound=RegisteredRow)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of object is called, in LiteLLM's words."""

    name: str
    """By followers and the audit trail."""
    noun: str
    known: str
    """Refuses an id that is taken; `{}` stands for it."""
    unknown: str
    """Refuses an id that is not there."""
    key: str
    """Column of the id."""
    sealed: tuple[str, ...]
    """Columns that hold sealed JSON, or nothing when there is nothing to seal."""


class RegisteredStore(ABC, Generic[RowT, RecordT]):
    """Stores one kind of object; every method raises `Unavailable` while the database is away."""

    def __init__(self, database: Database, sealer: Sealer, kind: Kind, table: type[RowT]) -> None:
        self._database = database
        self._sealer = sealer
        self._kind = kind
        self._table = table

    async def all(self) -> tuple[RecordT, ...]:
        """Return everything, oldest first."""
        query = select(self._table).order_by(col(self._table.created_at), getattr(self._table, self._kind.key))
        records: list[RecordT] = []
        async with self._database.read() as session:
            rows = await session.stream_scalars(query)
            async for batch in rows.partitions(_BATCH):
                records.extend(self._opened(row) for row in batch)
                await asyncio.sleep(0)
        return tuple(records)

    async def get(self, object_id: str) -> RecordT | None:
        """Return what has this id, None if nothing has."""
        async with self._database.read() as session:
            row = await session.get(self._table, object_id)
            return None if row is None else self._opened(row)

    async def create(self, record: RecordT, audit: AuditEntry) -> RecordT:
        """Store something new at version 1; raises `Conflict` when its name or its id is taken."""
        if record.unreadable:
            text = f"the secrets of {self._kind.noun} {record.name!r} cannot be opened, so it cannot be copied"
            raise InvalidRequest(text)
        values = {
            **self._written(record),
            **self._sealed(record),
            self._kind.key: record.object_id,
            "created_at": record.created_at,
            "created_by": record.created_by,
            "version": 1,
        }
        row = self._table(**values)
        async with self._database.write() as unit:
            if await unit.session.get(self._table, record.object_id) is not None:
                raise Conflict(self._kind.known.format(record.object_id))
            await self._require_free_names(unit, record)
            unit.session.add(row)
            self._noted(unit, record.object_id, "create", audit)
        return self._opened(row)

    async def replace(self, record: RecordT, expected_version: int, audit: AuditEntry) -> RecordT:
        """Store every field but `created_at` and `created_by` of something known, at the next version.

        A record that still is `unreadable` keeps the secrets in the store as they are; to give new ones, clear the
        mark. Raises `NotFound`, `StaleVersion`, and `Conflict` when the name is taken.
        """
        async with self._database.write() as unit:
            row = await self._known(unit, record.object_id, expected_version)
            await self._require_free_names(unit, record)
            for column, value in self._replaced(record).items():
                setattr(row, column, value)
            row.version += 1
            self._noted(unit, record.object_id, "update", audit)
        return self._opened(row)

    async def delete(self, object_id: str, expected_version: int | None, audit: AuditEntry) -> None:
        """Forget it, whatever its version if None is expected; raises `NotFound` and `StaleVersion`."""
        async with self._database.write() as unit:
            row = await self._known(unit, object_id, expected_version)
            await unit.session.delete(row)
            await self._forget(unit, object_id)
            self._noted(unit, object_id, "delete", audit)

    # What a kind of object has of its own

    @abstractmethod
    def _columns(self, record: RecordT) -> Mapping[str, Any]:
        """Render the columns that hold no secret, but for those of every registered object."""

    @abstractmethod
    def _secrets(self, record: RecordT) -> Secrets:
        """Render what is to be sealed."""

    @abstractmethod
    def _record(self, row: RowT, secrets: Secrets, *, unreadable: bool) -> RecordT:
        """Build the record of a row and its secrets, all None where it has none or they are `unreadable`."""

    @abstractmethod
    async def _require_free_names(self, unit: UnitOfWork, record: RecordT) -> None:
        """Raise `Conflict` where the record would be taken for another one."""

    async def _forget(self, unit: UnitOfWork, object_id: str) -> None:
        """Delete what belongs to an object and cannot be without it."""

    # Rows

    def _written(self, record: RecordT) -> dict[str, Any]:
        return {
            **self._columns(record),
            "is_public": record.is_public,
            "updated_at": record.updated_at,
            "updated_by": record.updated_by,
        }

    def _replaced(self, record: RecordT) -> dict[str, Any]:
        if not record.unreadable:
            return {**self._written(record), **self._sealed(record)}
        if any(self._secrets(record).values()):
            noun = self._kind.noun
            raise InvalidRequest(
                f"the stored secrets of {noun} {record.name!r} cannot be opened: send all of them again"
            )
        return self._written(record)

    def _sealed(self, record: RecordT) -> dict[str, Any]:
        sealed = {column: seal_mapping(self._sealer, value) for column, value in self._secrets(record).items()}
        anything = any(value is not None for value in sealed.values())
        return {**sealed, "sealed_with": self._sealer.key_id if anything else None}

    def _opened(self, row: RowT) -> RecordT:
        nothing: Secrets = dict.fromkeys(self._kind.sealed)
        if row.sealed_with not in (None, self._sealer.key_id):
            return self._record(row, nothing, unreadable=True)
        try:
            secrets = {column: open_mapping(self._sealer, getattr(row, column)) for column in nothing}
        except CannotOpen:
            return self._record(row, nothing, unreadable=True)
        return self._record(row, secrets, unreadable=False)

    async def _known(self, unit: UnitOfWork, object_id: str, expected_version: int | None) -> RowT:
        row = await unit.session.get(self._table, object_id)
        if row is None:
            raise NotFound(self._kind.unknown.format(object_id))
        if expected_version is not None and row.version != expected_version:
            raise StaleVersion(object_id, expected_version, row.version, self._kind.noun)
        return row

    def _noted(self, unit: UnitOfWork, object_id: str, op: str, audit: AuditEntry) -> None:
        unit.changed(self._kind.name, object_id, op)
        trail.record(unit, audit)

"""The database: opened and migrated once, read in snapshots, written in whole units that other workers follow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from sqlalchemy import func
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel import col, delete, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from routeiq_plugin.errors import InvalidRequest, RouteIQError, SettingsError
from routeiq_plugin.store import postgresql, schema, sqlite
from routeiq_plugin.store.failures import DatabaseUnavailable, translated
from routeiq_plugin.store.location import Kind, Location, locate
from routeiq_plugin.store.tables import ChangeRow, RevisionRow

CHANGE_HISTORY: Final = 10_000
"""How many revisions of changes are kept for followers; who is further behind reads everything again."""


class UnitOfWork:
    """One write transaction, which holds the revision lock: what it reads stays true until it commits."""

    def __init__(self, session: AsyncSession, revision: int, floor: int) -> None:
        self.session: Final = session
        self.revision: Final = revision
        """The revision that this write becomes."""
        self._floor = floor
        self._changes: list[ChangeRow] = []

    @classmethod
    async def begin(cls, session: AsyncSession) -> UnitOfWork:
        """Take the lock that orders all writes of all workers, and the next revision."""
        await session.exec(update(RevisionRow).values(revision=col(RevisionRow.revision) + 1))
        row = (await session.exec(select(RevisionRow))).one_or_none()
        if row is None:
            raise RouteIQError("the table routeiq_revision has lost its row; restore the database from a backup")
        return cls(session, row.revision, row.floor)

    def changed(self, kind: str, object_id: str, op: str) -> None:
        """Tell followers about a change, for instance `("agent", id, "create")`."""
        self._changes.append(
            ChangeRow(revision=self.revision, position=len(self._changes), kind=kind, object_id=object_id, op=op)
        )

    async def finish(self, history: int) -> None:
        """Write the changes down and drop those that are too old."""
        self.session.add_all(self._changes)
        floor = self.revision - history
        # In batches: a delete per write would double its cost.
        if floor - self._floor > history // 10:
            await self.session.exec(delete(ChangeRow).where(col(ChangeRow.revision) <= floor))
            await self.session.exec(update(RevisionRow).values(floor=floor))


class Database:
    """One worker's access to the store; belongs to one event loop.

    With `create=False` a SQLite file that does not exist is an outage instead of a new, empty store: for commands.
    Raises `SettingsError` for a URL that cannot work and `MissingExtra` when psycopg is needed and absent.
    """

    def __init__(self, url: str, *, create: bool = True, change_history: int = CHANGE_HISTORY) -> None:
        self.location: Final[Location] = locate(url)
        self._create = create
        self._history = change_history
        self._turn = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._file: sqlite.Identity | None = None
        self._opened = False
        self._engine = self._make_engine()
        self._direct = sqlite.Direct(self.location.path) if self.location.path is not None else None

    @property
    def kind(self) -> Kind:
        """`sqlite` or `postgresql`."""
        return self.location.kind

    @property
    def dialect(self) -> Dialect:
        """How SQLAlchemy speaks to it; types turn values into the driver's by it."""
        return self._engine.dialect

    @property
    def safe_url(self) -> str:
        """The URL without its password."""
        return self.location.safe

    async def open(self) -> None:
        """Connect and bring the schema up to date; safe to call again and from several processes at once.

        Raises `Unavailable` when the database cannot be reached, `SchemaTooNew` when a newer version has migrated it
        and `SettingsError` for a file that cannot be. Reads and writes open by themselves when this failed before.
        """
        async with self._opening:
            if not self._opened or self._replaced():
                await self._open()

    async def close(self) -> None:
        """Let go of every connection; a later read or write opens again."""
        async with self._opening:
            self._opened = False
            await self._let_go()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A read-only session that sees one snapshot; raises `Unavailable`."""
        await self._ensure_open()
        with translated():
            async with AsyncSession(self._reader, expire_on_commit=False) as session:
                yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[UnitOfWork]:
        """One transaction, committed on leaving, rolled back whole if anything raises; never nest two.

        Raises `Conflict`, `InvalidRequest` or `Unavailable`. After `Unavailable` out of a lost connection the commit
        may have happened: the caller's retry meets its own `version`.
        """
        await self._ensure_open()
        # Writers of this worker queue here, fairly and without a connection each, instead of in the database.
        async with self._turn:
            with translated():
                async with AsyncSession(self._writer, expire_on_commit=False) as session:
                    unit = await UnitOfWork.begin(session)
                    yield unit
                    await unit.finish(self._history)
                    if self.kind == "postgresql":
                        await session.exec(select(func.pg_notify(postgresql.CHANNEL, str(unit.revision))))
                    await _to_its_end(session.commit())

    @asynccontextmanager
    async def tally(self) -> AsyncIterator[AsyncSession]:
        """One transaction of rows that nobody follows, such as usage: it takes no revision and wakes no worker.

        Committed on leaving, rolled back whole if anything raises; raises as `write` does. Writers of different
        workers run side by side on PostgreSQL, so they must lock their rows in one order.
        """
        await self._ensure_open()
        async with self._turn:
            with translated():
                async with AsyncSession(self._writer, expire_on_commit=False) as session:
                    yield session
                    await _to_its_end(session.commit())

    async def at_once(self, statement: str, parameters: Sequence[Any]) -> int:
        """Run one statement that is a transaction by itself; durable when this returns how many rows it wrote.

        For what every call writes: no session and nothing to compile. `?` stands for each parameter. Raises as `write`
        does.
        """
        await self._ensure_open()
        async with self._turn:
            with translated():
                if self._direct is not None:
                    return await self._direct.run(statement, parameters)
                async with self._writer.begin() as connection:
                    done = await connection.exec_driver_sql(statement.replace("?", "%s"), tuple(parameters))
                    return int(done.rowcount)

    async def migrate(self, target: str = schema.HEAD) -> None:
        """Bring the schema to a revision, or to `base`, which drops every table of ours; for the command line."""
        await schema.load_alembic()
        with translated():
            async with self._writer.begin() as connection:
                await connection.run_sync(partial(schema.migrate, target=target))

    async def schema_revision(self) -> str | None:
        """Read the schema revision of the database, None before its first migration; raises `Unavailable`."""
        with translated():
            async with self._reader.connect() as connection:
                return await connection.run_sync(schema.stored_revision)

    def ensure_same_file(self) -> None:
        """Raise `Unavailable` when the SQLite file was moved or replaced: writes would go to a file without a name."""
        if self._replaced():
            raise DatabaseUnavailable(f"{self.location.path} was moved or replaced")

    async def _ensure_open(self) -> None:
        if not self._opened or self._replaced():
            try:
                await self.open()
            except SettingsError as wrong:
                # Told in full when we start; whoever reads or writes meanwhile must not learn of paths.
                raise DatabaseUnavailable(str(wrong)) from wrong

    def _replaced(self) -> bool:
        path = self.location.path
        return path is not None and self._file is not None and sqlite.identity(path) != self._file

    async def _open(self) -> None:
        self._opened = False
        await self._let_go()
        with translated():
            if self.location.path is not None:
                self._file = await sqlite.prepare(self.location.path, create=self._create and self._file is None)
            if schema.needs_migration(await self.schema_revision()):
                await self.migrate()
        self._opened = True

    async def _let_go(self) -> None:
        if self._direct is not None:
            await self._direct.close()
        await self._engine.dispose()

    def _make_engine(self) -> AsyncEngine:
        options: dict[str, Any] = {"hide_parameters": True, "json_serializer": _to_json}
        if self.location.kind == "sqlite":
            engine = sqlite.engine(self.location, **options)
            self._reader = engine
            self._writer = engine.execution_options(**{sqlite.BEGIN_OPTION: "BEGIN IMMEDIATE"})
        else:
            engine = postgresql.engine(self.location, **options)
            self._reader = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            self._writer = engine.execution_options(**{postgresql.BEGIN_OPTION: postgresql.BEGIN_WRITE})
        return engine


async def _to_its_end(commit: Coroutine[Any, Any, None]) -> None:
    """Await a commit that a cancellation does not cut in half: it ends, then the cancellation goes on."""
    task = asyncio.ensure_future(commit)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _to_json(value: Any) -> str:
    """Write JSON that both databases accept; raises `InvalidRequest` also for NaN, which only PostgreSQL refuses."""
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"a field holds something other than JSON: {error}") from error

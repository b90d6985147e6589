"""The revision feed: hear of every commit of every worker, in order, and never miss one."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from sqlmodel import col, select

from routeiq_plugin.store import postgresql, sqlite
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.failures import DatabaseUnavailable
from routeiq_plugin.store.tables import ChangeRow, RevisionRow

if TYPE_CHECKING:
    import psycopg

SQLITE_POLL_SECONDS: Final = 0.1
"""How often SQLite is asked whether anyone has committed: half of what a second worker may lag."""

POSTGRESQL_POLL_SECONDS: Final = 5.0
"""How often PostgreSQL is asked although it would notify us; notifications do not pass every connection proxy."""

FIRST_DELAY: Final = 0.2
LONGEST_DELAY: Final = 5.0
"""Bounds of the pause between two attempts to reach a database that is away, in seconds."""

_log = logging.getLogger("routeiq_plugin.store")


@dataclass(frozen=True, slots=True)
class Change:
    """One object that one commit changed."""

    revision: int
    kind: str
    object_id: str
    op: str
    """`create`, `update`, `delete`, `reseal` ..."""


@dataclass(frozen=True, slots=True)
class Resync:
    """Changes may have been missed: read everything again; what is read is at this revision or newer."""

    revision: int


Listener = Callable[[Sequence[Change] | Resync], Awaitable[None]]


class Pulse(Protocol):
    """A connection that tells when something may have been committed."""

    async def wait(self) -> None:
        """Return after the next commit, or early; raises `Unavailable` when the connection is lost."""
        ...


class RevisionFeed:
    """Follows the store's revision on a connection of its own, through outages."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._revision = 0
        self._connected = False
        self._last_error: str | None = None

    @property
    def revision(self) -> int:
        """The last revision that was delivered."""
        return self._revision

    @property
    def connected(self) -> bool:
        """Whether commits are being followed right now."""
        return self._connected

    @property
    def last_error(self) -> str | None:
        """Why they are not, or last were not; for operators."""
        return self._last_error

    async def run(self, on_changes: Listener, since: int | None = None) -> None:
        """Deliver changes until cancelled, our own included.

        Begins with a `Resync`, unless `since` names the revision that the caller has already read. After an outage
        there is a `Resync` too: what came back may be a replica or a backup with another history. A listener that
        raises is called again, with a `Resync`.
        """
        self._revision = since or 0
        resync = since is None
        delay = FIRST_DELAY
        while True:
            try:
                async with self._pulse() as pulse:
                    await self._deliver(on_changes, resync=resync)
                    self._found()
                    delay = FIRST_DELAY
                    while True:
                        await pulse.wait()
                        await self._deliver(on_changes)
            except Exception as error:  # noqa: BLE001  whatever it was, following goes on; it is logged and shown
                self._lost(error)
            finally:
                self._connected = False
            resync = True
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_DELAY)

    async def _deliver(self, on_changes: Listener, *, resync: bool = False) -> None:
        async with self._database.read() as session:
            state = (await session.exec(select(RevisionRow))).one()
            if not resync and state.revision == self._revision:
                return
            query = select(ChangeRow).where(col(ChangeRow.revision) > self._revision)
            rows = (
                ()
                if resync
                else await session.exec(query.order_by(*map(col, (ChangeRow.revision, ChangeRow.position))))
            )
            changes = tuple(Change(row.revision, row.kind, row.object_id, row.op) for row in rows)
        if resync or not state.floor <= self._revision <= state.revision:
            await on_changes(Resync(state.revision))
        elif changes:
            await on_changes(changes)
        self._revision = state.revision

    def _pulse(self) -> AbstractAsyncContextManager[Pulse]:
        return _sqlite_pulse(self._database) if self._database.kind == "sqlite" else _postgresql_pulse(self._database)

    def _found(self) -> None:
        if self._last_error is not None and not self._connected:
            _log.info("following the RouteIQ database again, at revision %d", self._revision)
        self._connected = True

    def _lost(self, error: Exception) -> None:
        reason = str(error) or type(error).__name__
        if self._connected or reason != self._last_error:
            _log.warning("not following the RouteIQ database: %s", reason, exc_info=_unexpected(error))
        self._last_error = reason


def _unexpected(error: Exception) -> Exception | None:
    """An outage is told in a line; anything else is a fault of ours or of a listener's, told with its traceback."""
    return None if isinstance(error, DatabaseUnavailable) else error


class _SQLitePulse:
    """`PRAGMA data_version` differs after a commit by any other connection, of this process or another.

    Most commits are of rows that nobody follows (`Database.tally`); those are told apart here, in the thread.
    """

    def __init__(self, database: Database, pool: ThreadPoolExecutor) -> None:
        self._database = database
        self._pool = pool
        self._connection: sqlite3.Connection | None = None
        self._version = 0
        self._revision: int | None = None

    async def open(self) -> None:
        self._revision = await self._in_thread(self._connect)

    async def wait(self) -> None:
        revision = self._revision
        while revision == self._revision:
            await asyncio.sleep(SQLITE_POLL_SECONDS)
            revision = await self._in_thread(self._read)
        self._revision = revision

    async def close(self) -> None:
        await self._in_thread(self._disconnect)

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, function)
        except sqlite3.Error as error:
            raise DatabaseUnavailable(f"{type(error).__name__}: {error}") from error

    def _connect(self) -> int | None:
        path = self._database.location.path
        assert path is not None
        self._connection = sqlite3.connect(sqlite.uri(path), uri=True, timeout=1.0, isolation_level=None)
        return self._read()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _read(self) -> int | None:
        self._database.ensure_same_file()
        assert self._connection is not None
        version = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        if version == self._version:
            return self._revision
        self._version = version
        found = self._connection.execute(f"SELECT revision FROM {RevisionRow.__tablename__}").fetchone()  # noqa: S608
        return int(found[0]) if found else None


@asynccontextmanager
async def _sqlite_pulse(database: Database) -> AsyncIterator[Pulse]:
    await database.open()
    # A thread of its own: the shared ones may all be busy with something slow.
    with ThreadPoolExecutor(1, thread_name_prefix="routeiq-feed") as pool:
        pulse = _SQLitePulse(database, pool)
        try:
            await pulse.open()
            yield pulse
        finally:
            await pulse.close()


class _PostgreSQLPulse:
    """Notifications, and a slow look at the revision that also finds out whether the connection still lives."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def wait(self) -> None:
        import psycopg

        try:
            async for _ in self._connection.notifies(timeout=POSTGRESQL_POLL_SECONDS, stop_after=1):
                return
            await self._connection.execute("SELECT 1")
        except psycopg.Error as error:
            raise DatabaseUnavailable(f"{type(error).__name__}: {error}") from error


@asynccontextmanager
async def _postgresql_pulse(database: Database) -> AsyncIterator[Pulse]:
    await database.open()
    connection = await postgresql.listen(database.location)
    try:
        yield _PostgreSQLPulse(connection)
    finally:
        await connection.close()

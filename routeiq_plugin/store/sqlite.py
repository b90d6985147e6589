"""SQLite as a durable store: the file, its mode and place, and the pragmas of every connection."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from routeiq_plugin.errors import SettingsError
from routeiq_plugin.store.failures import DatabaseUnavailable
from routeiq_plugin.store.location import Location

BUSY_SECONDS: Final = 5.0
"""How long a connection waits for another process's write before the caller is told to retry."""

PRAGMAS: Final = (
    f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}",
    "PRAGMA foreign_keys = ON",
    # FULL syncs the log at every commit. NORMAL, usual with WAL, survives kill -9 but not a power cut:
    # the last commits could roll back after they were answered 2xx (sqlite.org/pragma.html#pragma_synchronous).
    "PRAGMA synchronous = FULL",
    "PRAGMA trusted_schema = OFF",
)

BEGIN_OPTION: Final = "routeiq_begin"
"""Execution option that holds the statement which opens a transaction."""

Identity = tuple[int, int]
"""Device and inode of the file: which file it is, whatever its name."""

_NETWORK_FILESYSTEMS: Final = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"}
    | {"ocfs2", "smb2", "smb3", "smbfs", "virtiofs", "vboxsf"}
)
_log = logging.getLogger("routeiq_plugin.store")
_warned: set[Path] = set()


def engine(location: Location, **options: Any) -> AsyncEngine:
    """Make an engine whose transactions begin when we say so and how we say so; it connects to nothing yet."""
    made = create_async_engine(
        location.url, poolclass=AsyncAdaptedQueuePool, pool_size=2, max_overflow=4, pool_timeout=BUSY_SECONDS, **options
    )

    @event.listens_for(made.sync_engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        # The driver's own transaction handling begins late and never around DDL: switched off.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in PRAGMAS:
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(made.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get(BEGIN_OPTION, "BEGIN"))

    return made


class Direct:
    """A connection of its own for single statements, each a transaction by itself.

    A session of SQLAlchemy's visits the driver's thread a dozen times for one write; this does it once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    async def run(self, statement: str, parameters: Sequence[Any]) -> int:
        """Run one statement and return how many rows it wrote; raises SQLAlchemy's `DBAPIError`."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "routeiq-sqlite")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, statement, parameters)

    async def close(self) -> None:
        """Let go of the file; `run` opens it again."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._close)
            thread.shutdown(wait=False)

    def _run(self, statement: str, parameters: Sequence[Any]) -> int:
        try:
            if self._connection is None:
                self._connection = _connected(self._path)
            return self._connection.execute(statement, parameters).rowcount
        except sqlite3.Error as error:
            self._close()
            raise DBAPIError.instance(None, None, error, sqlite3.Error, hide_parameters=True) from error

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


async def prepare(path: Path, *, create: bool) -> Identity:
    """Make sure that the file is there, private and in WAL mode, and say which file it is.

    Raises `SettingsError` for a file that cannot be created and `DatabaseUnavailable` for what may pass, such as a
    volume that is not mounted any more.
    """
    if create:
        _create(path)
    found = identity(path)
    if found is None:
        raise DatabaseUnavailable(f"the file {path} is gone, or was never there")
    _warn_about_network(path)
    await _use_wal(path)
    return found


def identity(path: Path) -> Identity | None:
    """Say which file the path names now, None if none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def uri(path: Path) -> str:
    """Spell the file for `sqlite3.connect(..., uri=True)`; opens it, never creates it."""
    return f"{path.as_uri()}?mode=rw"


def filesystem(path: Path, mounts: str) -> str:
    """Name the type of filesystem that holds the path; `mounts` is the text of /proc/mounts, '' if unknown."""
    found, depth = "", -1
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(fields[1].encode().decode("unicode_escape"))
        if path.is_relative_to(point) and len(point.parts) >= depth:
            found, depth = fields[2], len(point.parts)
    return found


def is_network(kind: str) -> bool:
    """Tell whether a filesystem type is shared between machines, where SQLite's WAL cannot work."""
    return kind in _NETWORK_FILESYSTEMS or kind.startswith("fuse.")


def _create(path: Path) -> None:
    if not path.parent.is_dir():
        raise SettingsError(f"routeiq.database_url is wrong: the directory {path.parent} does not exist; create it")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return  # its mode is its owner's choice
    except OSError as error:
        raise SettingsError(f"routeiq.database_url is wrong: cannot create {path}: {error.strerror}") from error


def _warn_about_network(path: Path) -> None:
    try:
        mounts = Path("/proc/mounts").read_text(errors="replace")
    except OSError:
        return  # not Linux
    kind = filesystem(path.resolve(), mounts)
    if is_network(kind) and path not in _warned:
        _warned.add(path)
        _log.warning(
            "%s is on a network filesystem (%s): SQLite loses writes there once two machines open it;"
            " use a local disk, or PostgreSQL by routeiq.database_url",
            path,
            kind,
        )


async def _use_wal(path: Path) -> None:
    """Switch to WAL once; SQLite does not wait for its own busy timeout while two processes race to switch."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + BUSY_SECONDS
    while True:
        try:
            mode = await asyncio.to_thread(_journal_mode, path)
        except sqlite3.Error as error:
            if "locked" not in str(error) or clock() > deadline:
                raise DatabaseUnavailable(f"{path}: {error}") from error
            await asyncio.sleep(0.02)
            continue
        if mode != "wal":
            raise SettingsError(
                f"routeiq.database_url is wrong: {path} cannot use WAL (journal mode {mode}); use a local disk"
            )
        return


def _journal_mode(path: Path) -> str:
    with closing(_connected(path)) as connection:
        mode = str(connection.execute("PRAGMA journal_mode").fetchone()[0])
        return mode if mode == "wal" else str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(uri(path), uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    for pragma in PRAGMAS:
        connection.execute(pragma)
    return connection

"""Which schema a database has, and how it becomes ours; alembic is imported only when there is something to do."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

from routeiq_plugin.errors import Unavailable

if TYPE_CHECKING:
    from alembic.config import Config

REVISIONS: Final = ("0001", "0002", "0003", "0004", "0005", "0006", "0007")
"""Every schema revision this version knows, oldest first; kept here so that a start need not import alembic."""

HEAD: Final = REVISIONS[-1]

VERSION_TABLE: Final = "routeiq_alembic_version"

MIGRATIONS: Final = Path(__file__).with_name("migrations")


class SchemaTooNew(Unavailable):
    """The database was migrated by a newer version of this package; running on would damage it."""

    def __init__(self, stored: str) -> None:
        super().__init__(
            f"the RouteIQ database has schema {stored!r}, this version knows up to {HEAD!r}: install the newer"
            " routeiq-plugin again, or downgrade the database with it, or restore a backup",
            retry_after=60,
        )
        self.stored = stored


def stored_revision(connection: Connection) -> str | None:
    """Read the schema revision of the database; None before the first migration."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608  a constant


def needs_migration(stored: str | None) -> bool:
    """Tell whether the database is older than this version; raises `SchemaTooNew` when it is newer."""
    if stored is not None and stored not in REVISIONS:
        raise SchemaTooNew(stored)
    return stored != HEAD


async def load_alembic() -> None:
    """Import alembic beside the event loop, which serves requests meanwhile."""
    await asyncio.to_thread(importlib.import_module, "alembic.command")


def migrate(connection: Connection, target: str = HEAD) -> None:
    """Bring the schema to `target` ('base' removes it) inside the caller's transaction.

    One process does it: under a PostgreSQL advisory lock, or SQLite's write lock, which the caller has taken. Whoever
    comes second finds the work done.
    """
    if connection.dialect.name == "postgresql":
        # Any fixed number that others are unlikely to use; released with the transaction.
        connection.execute(text("SELECT pg_advisory_xact_lock(7020389213)"))
    stored = stored_revision(connection)
    needs_migration(stored)
    if stored == target:
        return
    from alembic import command

    if target != "base" and (stored is None or REVISIONS.index(stored) < REVISIONS.index(target)):
        command.upgrade(config(connection), target)
    else:
        command.downgrade(config(connection), target)


def config(connection: Connection | None = None) -> Config:
    """Make alembic's configuration without an ini file."""
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    attributes: dict[str, Any] = made.attributes
    attributes["connection"] = connection
    return made

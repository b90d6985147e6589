"""PostgreSQL as a durable store: the lazily imported driver and connections that notice a dead network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from routeiq_plugin.errors import MissingExtra, SettingsError
from routeiq_plugin.store.failures import DatabaseUnavailable
from routeiq_plugin.store.location import Location

if TYPE_CHECKING:
    import psycopg

CHANNEL: Final = "routeiq_revision"
"""NOTIFY channel; its payload is the new revision."""

BEGIN_OPTION: Final = "routeiq_begin"
"""Execution option that holds statements to run first in a transaction."""

BEGIN_WRITE: Final = (
    # A worker that hangs or is frozen inside a write must not stop all the others for long.
    "SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '15s';"
    " SET LOCAL idle_in_transaction_session_timeout = '15s'"
)

_OPTIONS: Final[dict[str, Any]] = {
    # Without these a network that swallows packets holds a connection for many minutes.
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
    "application_name": "routeiq",
}


def engine(location: Location, **options: Any) -> AsyncEngine:
    """Make an engine; connects to nothing yet.

    Raises `MissingExtra` without psycopg, `SettingsError` for a URL parameter that libpq does not know.
    """
    _require_driver(location)
    defaults = {name: value for name, value in _OPTIONS.items() if name not in location.url.query}
    made = create_async_engine(
        location.url,
        pool_size=2,
        max_overflow=4,
        pool_timeout=5,
        pool_pre_ping=True,
        pool_recycle=1800,
        # Server-side prepared statements break behind a transaction-pooling proxy such as PgBouncer.
        connect_args={**defaults, "prepare_threshold": None},
        **options,
    )

    @event.listens_for(made.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        statements = connection.get_execution_options().get(BEGIN_OPTION)
        if statements:
            connection.exec_driver_sql(statements)

    return made


async def listen(location: Location) -> psycopg.AsyncConnection[Any]:
    """Open a connection of its own that is subscribed to `CHANNEL`; raises `DatabaseUnavailable`."""
    import psycopg

    dialect = location.url.get_dialect(_is_async=True)()
    _, arguments = dialect.create_connect_args(location.url)
    defaults = {name: value for name, value in _OPTIONS.items() if name not in location.url.query}
    try:
        connection = await psycopg.AsyncConnection.connect(**{**defaults, **arguments}, autocommit=True)
    except psycopg.Error as error:
        raise DatabaseUnavailable(f"{type(error).__name__}: {error}") from error
    try:
        await connection.execute(f"LISTEN {CHANNEL}")
    except psycopg.Error as error:
        await connection.close()
        raise DatabaseUnavailable(f"{type(error).__name__}: {error}") from error
    return connection


def _require_driver(location: Location) -> None:
    try:
        import psycopg
    except ImportError:
        raise MissingExtra("psycopg", "postgres") from None
    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    for name in location.url.query:
        if name not in known:
            raise SettingsError(
                f"routeiq.database_url is wrong: PostgreSQL has no connection parameter {name!r}; remove it"
            )

"""Where the database is: our URL forms, what the drivers make of them, and a form without the password."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from sqlalchemy.engine import URL, make_url

from routeiq_plugin.errors import SettingsError

Kind = Literal["sqlite", "postgresql"]

_KINDS: Final[dict[str, Kind]] = {
    "sqlite": "sqlite",
    "sqlite+aiosqlite": "sqlite",
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "postgresql+psycopg": "postgresql",
}
_FORMS: Final = "use sqlite:///path/to/file.db or postgresql://user:password@host/database"
_SECRET_OPTIONS: Final = ("password", "sslpassword", "passfile")


@dataclass(frozen=True, slots=True)
class Location:
    """A database that we can connect to."""

    kind: Kind
    safe: str
    """The URL as people may see it: user, host and database, no password."""
    url: URL = field(repr=False)
    """What SQLAlchemy connects to; holds the password."""
    path: Path | None = None
    """Absolute path of the SQLite file."""


def locate(url: str) -> Location:
    """Understand a database URL; raises `SettingsError` that never quotes it, since it may hold a password."""
    try:
        parsed = make_url(url)
        kind = _KINDS.get(parsed.drivername)
    except Exception:  # noqa: BLE001  parsers quote the part they choke on, which may be the password
        raise SettingsError(f"routeiq.database_url is wrong: not a database URL; {_FORMS}") from None
    if kind is None:
        raise SettingsError(f"routeiq.database_url is wrong: unknown scheme; {_FORMS}")
    return _sqlite(url) if kind == "sqlite" else _postgresql(parsed)


def _sqlite(url: str) -> Location:
    # The path is taken as it is written: releases of SQLAlchemy differ in whether they decode %41.
    _, separator, name = url.partition(":///")
    if "?" in name or (not separator and url.partition("://")[2]):
        raise SettingsError(
            "routeiq.database_url is wrong: a SQLite URL is sqlite:///relative.db or sqlite:////absolute.db"
        )
    if name in ("", ":memory:"):
        raise SettingsError("routeiq.database_url is wrong: a database in memory would forget every agent; name a file")
    path = Path(name).expanduser().absolute()
    return Location(
        kind="sqlite",
        safe=f"sqlite:///{path}",
        # mode=rw: a file that has vanished is an outage, not the beginning of an empty database.
        url=URL.create("sqlite+aiosqlite", database=f"file:{quote(str(path))}", query={"mode": "rw", "uri": "true"}),
        path=path,
    )


def _postgresql(parsed: URL) -> Location:
    if "@" in (parsed.database or ""):
        raise SettingsError("routeiq.database_url is wrong: write / @ : ? # % in a password as %2F %40 %3A %3F %23 %25")
    hidden = {name: "hidden" if name in _SECRET_OPTIONS else value for name, value in parsed.query.items()}
    safe = parsed.set(drivername="postgresql", query=hidden).render_as_string(hide_password=True)
    return Location(kind="postgresql", safe=safe, url=parsed.set(drivername="postgresql+psycopg"))

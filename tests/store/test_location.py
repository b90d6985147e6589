"""Database URLs: what is accepted, and that no password is ever shown."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from routeiq_plugin.errors import MissingExtra, SettingsError, Unavailable
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.location import locate

PASSWORD = "hunter2-canary"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql(scheme: str) -> None:
    location = locate(f"{scheme}://me:{PASSWORD}@db.example.com:6543/app?sslmode=require&sslpassword={PASSWORD}")
    assert location.kind == "postgresql"
    assert location.safe == "postgresql://me:***@db.example.com:6543/app?sslmode=require&sslpassword=hidden"
    assert location.url.password == PASSWORD
    assert PASSWORD not in repr(location)


def test_a_password_with_a_slash_is_a_password() -> None:
    location = locate(f"postgresql://me:1/{PASSWORD}@db/app")
    assert location.safe == "postgresql://me:***@db/app"
    assert location.url.password == f"1/{PASSWORD}"


def test_sqlite_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("sqlite:///./a b#%41@x:y.db").path == tmp_path / "a b#%41@x:y.db"
    assert locate("sqlite:////var/lib/x.db").path == Path("/var/lib/x.db")
    assert locate("sqlite+aiosqlite:///x.db").path == tmp_path / "x.db"
    assert locate("sqlite:///x.db").safe == f"sqlite:///{tmp_path}/x.db"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite://host/x.db",
        "sqlite:///x.db?mode=memory",
        f"mysql://me:{PASSWORD}@db/app",
        f"postgresql://me:{PASSWORD}@db:{PASSWORD}/app",
        f"postgresql://me@db/{PASSWORD}@db/app",
        f"postgresql://me:{PASSWORD}@db/app?schema=mine",
        PASSWORD,
        "",
    ],
)
def test_what_cannot_work_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^routeiq\.database_url is wrong: ") as refused:
        Database(url)
    assert PASSWORD not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_missing_driver_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtra, match=r"routeiq-plugin\[postgres\]"):
        Database("postgresql://db/app")


async def test_an_unreachable_server_is_unavailable_and_hides_the_password(
    unused_tcp_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    database = Database(f"postgresql://me:{PASSWORD}@127.0.0.1:{unused_tcp_port}/app")
    with pytest.raises(Unavailable) as refused:
        await database.open()
    await database.close()
    seen: BaseException | None = refused.value
    while seen is not None:
        assert PASSWORD not in f"{seen!s} {seen!r}"
        seen = seen.__cause__ or seen.__context__
    assert "refused" in str(refused.value)
    assert "127.0.0.1" not in refused.value.detail
    assert PASSWORD not in caplog.text
    assert PASSWORD not in database.safe_url

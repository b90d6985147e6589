"""The SQLite file: private, durable, in a sane place, and missed when it is gone."""

from __future__ import annotations

import logging
import shutil
import stat
from pathlib import Path

import pytest
from sqlalchemy import text

from routeiq_plugin.errors import SettingsError, Unavailable
from routeiq_plugin.store import sqlite
from routeiq_plugin.store.agents import AgentStore
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.feed import Resync
from tests.store.parts import SEALER, agent, entry, following, opened

MOUNTS = """\
/dev/vda / ext4 rw 0 0
server:/export /mnt/shared\\040disk nfs4 rw 0 0
tmpfs /mnt/shared\\040disk/local tmpfs rw 0 0
bucket /data fuse.s3fs rw 0 0
/dev/sdb1 /usb fuseblk rw 0 0
"""


async def test_the_files_are_private(tmp_path: Path) -> None:
    path = tmp_path / "routeiq.db"
    async with opened(f"sqlite:///{path}") as database:
        await AgentStore(database, SEALER).create(agent("a"), entry())
        modes = _modes(tmp_path)
    assert modes == {"routeiq.db": 0o600, "routeiq.db-wal": 0o600, "routeiq.db-shm": 0o600}


def _modes(directory: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()}


async def test_a_file_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "routeiq.db"
    path.touch(mode=0o640)
    async with opened(f"sqlite:///{path}"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


async def test_odd_names_are_files_like_others(tmp_path: Path) -> None:
    path = tmp_path / "a b#%41.db"
    async with opened(f"sqlite:///{path}") as database, following(database) as follower:
        assert await follower.next() == Resync(0)
    assert path.exists()


async def test_every_connection_is_durable_and_checked(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/routeiq.db") as database, database.read() as session:
        connection = await session.connection()
        found = {
            name: (await connection.execute(text(f"PRAGMA {name}"))).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "trusted_schema")
        }
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 5000,
        "trusted_schema": 0,
    }


async def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/no/routeiq.db")
    with pytest.raises(SettingsError, match=f"{tmp_path}/no does not exist"):
        await database.open()
    await database.close()


async def test_a_command_does_not_begin_an_empty_store(tmp_path: Path) -> None:
    path = tmp_path / "routeiq.db"
    database = Database(f"sqlite:///{path}", create=False)
    with pytest.raises(Unavailable, match="never there"):
        await AgentStore(database, SEALER).all()
    assert not path.exists()
    async with opened(f"sqlite:///{path}"):
        assert await AgentStore(database, SEALER).all() == ()
    await database.close()


async def test_another_kind_of_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to look like one " * 50)
    before = path.read_bytes()
    database = Database(f"sqlite:///{path}")
    with pytest.raises(Unavailable, match="not a database"):
        await database.open()
    await database.close()
    assert path.read_bytes() == before


async def test_a_deleted_file_is_an_outage_and_not_a_new_beginning(tmp_path: Path) -> None:
    path = tmp_path / "routeiq.db"
    async with opened(f"sqlite:///{path}") as database:
        store = AgentStore(database, SEALER)
        await store.create(agent("a"), entry())
        path.unlink()
        with pytest.raises(Unavailable, match="is gone"):
            await store.create(agent("b"), entry())
        with pytest.raises(Unavailable, match="is gone"):
            await store.all()
        assert not path.exists()


async def test_a_volume_that_is_unmounted_is_an_outage(tmp_path: Path) -> None:
    volume, away = tmp_path / "volume", tmp_path / "away"
    volume.mkdir()
    async with opened(f"sqlite:///{volume}/routeiq.db") as database:
        store = AgentStore(database, SEALER)
        volume.rename(away)
        with pytest.raises(Unavailable, match="is gone"):
            await store.create(agent("a"), entry())
        away.rename(volume)
        await store.create(agent("a"), entry())


async def test_a_restored_backup_is_noticed_and_followed(tmp_path: Path) -> None:
    path, backup = tmp_path / "routeiq.db", tmp_path / "backup.db"
    async with opened(f"sqlite:///{path}") as database:
        await AgentStore(database, SEALER).create(agent("a"), entry())
    shutil.copy(path, backup)
    async with opened(f"sqlite:///{path}") as database, following(database) as follower:
        store = AgentStore(database, SEALER)
        assert await follower.next() == Resync(1)
        await store.create(agent("b"), entry())
        await follower.changes(1)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink()
        backup.rename(path)
        assert await follower.next() == Resync(1)
        assert [record.agent_name for record in await store.all()] == ["a"]


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/var/lib/routeiq.db", "ext4", False),
        ("/mnt/shared disk/routeiq.db", "nfs4", True),
        ("/mnt/shared disk/local/routeiq.db", "tmpfs", False),
        ("/mnt/shared diskette/routeiq.db", "ext4", False),
        ("/data/routeiq.db", "fuse.s3fs", True),
        ("/usb/routeiq.db", "fuseblk", False),
    ],
)
def test_network_filesystems_are_known(path: str, kind: str, network: bool) -> None:
    assert sqlite.filesystem(Path(path), MOUNTS) == kind
    assert sqlite.is_network(kind) is network


def test_without_a_mount_table_nothing_is_claimed() -> None:
    assert not sqlite.is_network(sqlite.filesystem(Path("/x"), ""))


async def test_a_network_filesystem_is_warned_about_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sqlite, "is_network", lambda _: True)
    for _ in range(2):
        async with opened(f"sqlite:///{tmp_path}/routeiq.db"):
            pass
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "network filesystem" in warnings[0].getMessage()

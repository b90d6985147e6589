"""What the store's tests are made of: a real sealer, records, audit entries and ways to break a database."""

from __future__ import annotations

import asyncio
import base64
import hmac
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from routeiq_plugin.errors import CannotOpen
from routeiq_plugin.store.agents import AgentRecord
from routeiq_plugin.store.audit import AuditEntry
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.feed import Change, Resync, RevisionFeed
from tests.support import postgres


class AESSealer:
    """AES-256-GCM under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._cipher = AESGCM(key)

    @property
    def key_id(self) -> str:
        return hmac.new(self._key, b"routeiq-sealing", "sha256").hexdigest()[:16]

    def seal(self, plain: str) -> str:
        nonce = os.urandom(12)
        return base64.b64encode(nonce + self._cipher.encrypt(nonce, plain.encode(), None)).decode()

    def open(self, sealed: str) -> str:
        try:
            raw = base64.b64decode(sealed, validate=True)
            return self._cipher.decrypt(raw[:12], raw[12:], None).decode()
        except (InvalidTag, ValueError):
            raise CannotOpen from None


SEALER = AESSealer(b"a" * 32)
OTHER_SEALER = AESSealer(b"b" * 32)


def agent(name: str, **fields: Any) -> AgentRecord:
    card = {"name": name, "url": f"https://{name}.example.com", "skills": [{"id": "s", "ü": None}]}
    return AgentRecord(**{"agent_id": f"id-{name}", "agent_name": name, "card": card, **fields})


def entry(action: str = "agent.create", object_id: str = "x") -> AuditEntry:
    return AuditEntry(actor="alice", action=action, object_kind="agent", object_id=object_id, request_id="r-1")


@contextmanager
def outage(url: str) -> Iterator[None]:
    """Take the database away and give it back."""
    if url.startswith("postgresql"):
        with postgres.outage(url):
            yield
        return
    path = Path(url.removeprefix("sqlite:///"))
    away = path.with_suffix(".away")
    path.rename(away)
    try:
        yield
    finally:
        away.rename(path)


def sql(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement behind the store's back."""
    if url.startswith("postgresql"):
        return postgres.execute(url, statement)
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        return connection.execute(statement).fetchall()


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Database]:
    database = Database(url, **options)
    try:
        await database.open()
        yield database
    finally:
        await database.close()


class Follower:
    """A running feed and the queue of what it delivered."""

    def __init__(self, database: Database, since: int | None = None) -> None:
        self.feed = RevisionFeed(database)
        self.queue: asyncio.Queue[Sequence[Change] | Resync] = asyncio.Queue()
        self.task = asyncio.create_task(self.feed.run(self._put, since))

    async def _put(self, delivered: Sequence[Change] | Resync) -> None:
        await self.queue.put(delivered)

    async def next(self) -> Sequence[Change] | Resync:
        """Wait for what comes next; fails with the feed instead of hanging."""
        waiting = asyncio.ensure_future(self.queue.get())
        await asyncio.wait({waiting, self.task}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            self.task.result()
        return waiting.result()

    async def changes(self, count: int) -> list[Change]:
        found: list[Change] = []
        while len(found) < count:
            delivered = await self.next()
            assert not isinstance(delivered, Resync), delivered
            found.extend(delivered)
        return found

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


@asynccontextmanager
async def following(database: Database, since: int | None = None) -> AsyncIterator[Follower]:
    follower = Follower(database, since)
    try:
        yield follower
    finally:
        await follower.stop()

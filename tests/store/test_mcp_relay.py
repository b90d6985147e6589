"""Sessions of MCP clients and letters between workers, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from routeiq_plugin.errors import CannotOpen
from routeiq_plugin.mcp.relay.mailbox import Mailbox
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.feed import Change, Resync, RevisionFeed
from routeiq_plugin.store.mcp_relay import LETTER_LIFETIME, SESSION_LIFETIME, UNUSED_LIFETIME, RelayStore, StoredSession
from tests.store.parts import OTHER_SEALER, SEALER

pytestmark = pytest.mark.requirement("MCP-21")

NOW: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECONDS: Final = 30.0
OWNER: Final = "owner"


@pytest.fixture
def store(database: Database) -> RelayStore:
    return RelayStore(database, SEALER)


async def test_a_session_is_found_until_it_ends(store: RelayStore) -> None:
    await store.begin(StoredSession("s", {"a": 1}), OWNER, NOW, most=10)
    found = await store.session("s", NOW)
    assert found == StoredSession("s", {"a": 1}, 1)
    assert await store.session("another", NOW) is None
    assert await store.end("s")
    assert not await store.end("s")
    assert await store.session("s", NOW) is None


async def test_of_two_changes_from_one_state_the_first_is_kept(store: RelayStore) -> None:
    await store.begin(StoredSession("s", {"a": 1}), OWNER, NOW, most=10)
    session = await store.session("s", NOW)
    assert session is not None
    assert await store.replace(session, {"a": 2}, NOW)
    assert not await store.replace(session, {"a": 3}, NOW)
    assert await store.session("s", NOW) == StoredSession("s", {"a": 2}, 2)
    assert not await store.replace(StoredSession("gone", {}), {"a": 3}, NOW)


async def test_a_session_that_is_used_lives_on_and_another_is_forgotten(store: RelayStore) -> None:
    for name in ("used", "unused"):
        await store.begin(StoredSession(name, {}), OWNER, NOW, most=10)
    later = NOW + UNUSED_LIFETIME / 2
    assert await store.session("used", later)
    assert await store.session("used", NOW + SESSION_LIFETIME)
    assert await store.prune(NOW + UNUSED_LIFETIME) == 1
    assert await store.session("unused", NOW) is None
    assert await store.prune(NOW + 2 * SESSION_LIFETIME) == 1


async def test_of_too_many_sessions_of_one_those_are_forgotten_that_were_unused_for_longest(store: RelayStore) -> None:
    await store.begin(StoredSession("of another", {}), "another", NOW, most=3)
    used_again = NOW + timedelta(hours=2)
    for minutes, name in enumerate(("busy", "quiet")):
        await store.begin(StoredSession(name, {}), OWNER, NOW + timedelta(minutes=minutes), most=3)
        assert await store.session(name, NOW + timedelta(minutes=20))
    assert await store.session("busy", used_again)
    for minutes, name in enumerate(("first", "second")):  # neither is used before the other begins
        await store.begin(StoredSession(name, {}), OWNER, used_again + timedelta(minutes=minutes), most=3)
    assert await _kept(store) == ["of another", "busy", "first", "second"]

    later = used_again + timedelta(minutes=30)
    assert await store.session("busy", later)
    await store.begin(StoredSession("third", {}), OWNER, later, most=3)
    assert await _kept(store) == ["of another", "busy", "second", "third"]


async def _kept(store: RelayStore) -> list[str]:
    names = ("of another", "busy", "quiet", "first", "second", "third")
    return [name for name in names if await _is_kept(store, name)]


async def _is_kept(store: RelayStore, name: str) -> bool:
    """Tell whether a session is there, without using it."""
    return await store.session(name, NOW - SESSION_LIFETIME) is not None


async def test_a_letter_is_taken_once_and_the_latest_counts(store: RelayStore) -> None:
    await store.post("l", {"n": 1}, NOW)
    await store.post("l", {"n": 2}, NOW)
    assert await store.take("l", NOW) == {"n": 2}
    assert await store.take("l", NOW) is None
    await store.post("l", {"n": 3}, NOW)
    assert await store.take("l", NOW + LETTER_LIFETIME) is None


async def test_what_another_key_sealed_is_not_read(database: Database, store: RelayStore) -> None:
    await store.begin(StoredSession("s", {"secret": 1}), OWNER, NOW, most=10)
    other = RelayStore(database, OTHER_SEALER)
    with pytest.raises(CannotOpen):
        await other.session("s", NOW)
    mailbox = Mailbox(other)
    await store.post("l", {"n": 1}, datetime.now(UTC))  # which mailboxes go by
    with pytest.raises(CannotOpen):
        async with asyncio.timeout(SECONDS):
            await mailbox.receive("l")


class Worker:
    """A worker's mailbox, and the feed that it follows."""

    def __init__(self, database: Database) -> None:
        self.mailbox = Mailbox(RelayStore(database, SEALER))
        self._feed = RevisionFeed(database)
        self._follows = asyncio.Event()

    async def __aenter__(self) -> Mailbox:
        self._task = asyncio.create_task(self._feed.run(self._heard))
        await self._follows.wait()
        return self.mailbox

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.mailbox.aclose()

    async def _heard(self, news: Sequence[Change] | Resync) -> None:
        self.mailbox.follow(news)
        self._follows.set()


async def test_a_letter_reaches_who_waits_on_any_worker(database: Database) -> None:
    async with asyncio.timeout(SECONDS), Worker(database) as one, Worker(database) as two:
        with one.waiting("here") as letter:
            await one.post("here", {"n": 1})
            assert await letter == {"n": 1}
        with one.waiting("there") as letter:
            await two.post("there", {"n": 2})
            assert await letter == {"n": 2}
        await two.post("before", {"n": 3})
        assert await one.receive("before") == {"n": 3}


async def test_all_who_watch_a_session_hear_that_it_changed(database: Database, store: RelayStore) -> None:
    await store.begin(StoredSession("s", {}), OWNER, NOW, most=10)
    async with asyncio.timeout(SECONDS), Worker(database) as one, Worker(database) as two:
        with one.watching("s") as first, two.watching("s") as second, two.watching("another") as another:
            await store.end("s")
            await first.wait()
            await second.wait()
            assert not another.is_set()


async def test_who_watches_a_session_that_is_one_too_many_hears_that_it_ended(
    database: Database, store: RelayStore
) -> None:
    await store.begin(StoredSession("s", {}), OWNER, NOW, most=1)
    async with asyncio.timeout(SECONDS), Worker(database) as mailbox:
        with mailbox.watching("s") as changed:
            await store.begin(StoredSession("t", {}), OWNER, NOW, most=1)
            await changed.wait()
    assert not await _is_kept(store, "s")


async def test_news_reach_the_other_workers_only(database: Database) -> None:
    async with asyncio.timeout(SECONDS), Worker(database) as one, Worker(database) as two:
        heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        with (
            one.tuned("name", lambda word: heard.put_nowait(("one", word))),
            two.tuned("name", lambda word: heard.put_nowait(("two", word))),
        ):
            await one.announce("name", "notifications/tools/list_changed")
            assert await heard.get() == ("two", "notifications/tools/list_changed")
            await two.announce("name", "last")
            assert await heard.get() == ("one", "last")
            assert heard.empty()

"""Letters to a request that waits, which may be another worker's: a client's answer is a request of its own."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from routeiq_plugin.errors import CannotOpen, Unavailable
from routeiq_plugin.store.feed import Change, Resync
from routeiq_plugin.store.mcp_relay import LETTERS, NEWS, SESSIONS, RelayStore, entry_id

logger = logging.getLogger(__name__)

Json = dict[str, Any]
Letter = asyncio.Future[Mapping[str, Any]]


class Mailbox:
    """Brings letters to those who wait; one per worker. Names are secrets that nobody can guess."""

    def __init__(self, store: RelayStore) -> None:
        self._store = store
        self._waiting: dict[str, tuple[str, Letter]] = {}
        self._watching: dict[str, set[asyncio.Event]] = {}
        self._tuned: dict[str, list[Callable[[str], None]]] = {}
        self._teller = secrets.token_hex(8)
        self._fetching: set[asyncio.Task[None]] = set()

    @contextmanager
    def waiting(self, name: str) -> Iterator[Letter]:
        """Wait for a letter from now on; of two that wait under one name the later has it."""
        letter: Letter = asyncio.get_running_loop().create_future()
        self._waiting[entry_id(name)] = (name, letter)
        try:
            yield letter
        finally:
            if self._waiting.get(entry_id(name)) == (name, letter):
                del self._waiting[entry_id(name)]
            letter.cancel()

    async def receive(self, name: str) -> Mapping[str, Any]:
        """Return the letter of this name, also one that was posted before."""
        with self.waiting(name) as letter:
            await self._fetch(name, letter)
            return await letter

    async def post(self, name: str, content: Mapping[str, Any]) -> None:
        """Bring a letter to who waits here, or leave it for another worker to find."""
        _, letter = self._waiting.get(entry_id(name), (name, None))
        if letter is None:
            await self._store.post(name, content, datetime.now(UTC))
        elif not letter.done():
            letter.set_result(content)

    @contextmanager
    def watching(self, session: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set whenever some worker changes or ends a session."""
        changed = asyncio.Event()
        watchers = self._watching.setdefault(entry_id(session), set())
        watchers.add(changed)
        try:
            yield changed
        finally:
            watchers.discard(changed)
            if not watchers:
                self._watching.pop(entry_id(session), None)

    async def announce(self, name: str, word: str) -> None:
        """Tell a word, without blanks in it, to those on other workers who are tuned to this name."""
        await self._store.announce(name, word, self._teller)

    @contextmanager
    def tuned(self, name: str, hear: Callable[[str], None]) -> Iterator[None]:
        """Hear what other workers announce."""
        hearing = self._tuned.setdefault(entry_id(name), [])
        hearing.append(hear)
        try:
            yield
        finally:
            hearing.remove(hear)
            if not hearing:
                self._tuned.pop(entry_id(name), None)

    def follow(self, news: Sequence[Change] | Resync) -> None:
        """Hear what workers have stored."""
        if isinstance(news, Resync):
            for watchers in self._watching.values():
                _set(watchers)
            found = list(self._waiting.values())
        else:
            for change in news:
                if change.kind == SESSIONS:
                    _set(self._watching.get(change.object_id, ()))
                elif change.kind == NEWS:
                    self._heard(change.object_id)
            ids = (change.object_id for change in news if change.kind == LETTERS)
            found = [self._waiting[each] for each in ids if each in self._waiting]
        for name, letter in found:
            task = asyncio.get_running_loop().create_task(self._fetch(name, letter))
            self._fetching.add(task)
            task.add_done_callback(self._fetching.discard)

    def _heard(self, news: str) -> None:
        entry, word, teller = news.split(" ")
        if teller != self._teller:
            for hear in list(self._tuned.get(entry, ())):
                hear(word)

    async def aclose(self) -> None:
        """Stop fetching."""
        for task in list(self._fetching):
            task.cancel()
        await asyncio.gather(*self._fetching, return_exceptions=True)

    async def _fetch(self, name: str, letter: Letter) -> None:
        try:
            content = await self._store.take(name, datetime.now(UTC))
        except CannotOpen as lost:
            if not letter.done():
                letter.set_exception(lost)
        except Unavailable as away:
            logger.debug("routeiq: a letter is fetched when the database is back (%s)", away)
        else:
            if content is not None and not letter.done():
                letter.set_result(content)


def _set(watchers: Any) -> None:
    for changed in watchers:
        changed.set()

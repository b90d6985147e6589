"""Sessions with servers that need one, kept for clients that have none (2026-07-28)."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from routeiq_plugin.errors import BackendError, Unavailable
from routeiq_plugin.mcp.http.carrier import SESSION
from routeiq_plugin.mcp.http.facts import LATEST_WITH_SESSIONS, Facts
from routeiq_plugin.mcp.http.lists import CHANGES
from routeiq_plugin.mcp.http.wire import VERSION, SessionLost, Wire
from routeiq_plugin.mcp.relay.mailbox import Mailbox
from routeiq_plugin.mcp.relay.translation import shapes

IDLE_SECONDS: Final = 300.0
AGE_SECONDS: Final = 3600.0
MOST_SESSIONS: Final = 500
"""Of one worker; the one that is idle for the longest makes room."""
MOST_OF_ONE: Final = 50
"""Of one client."""
_AGAIN_SECONDS: Final = 1.0
"""Before a stream that the server ended is opened again."""
OPENED_SECONDS: Final = 5.0
"""How long that stream is waited for: some servers say nothing, not even that it is open, until something happens."""
_GATHERED_SECONDS: Final = 0.1
"""For so long changes of a list are gathered before other workers are told, once."""

logger = logging.getLogger(__name__)

Json = dict[str, Any]
Heard = asyncio.Queue[Json | None]
"""What a server says beside its answers; None where nothing will come any more."""


@dataclass(frozen=True, slots=True)
class News:
    """How the workers that serve one client tell each other of changed lists."""

    mailbox: Mailbox
    name: str


class ServerSession:
    """One session; requests of one client side by side are told apart by ids that are ours."""

    def __init__(self, wire: Wire, headers: Mapping[str, str], introduction: Json, news: News) -> None:
        self.wire = wire
        self.headers = headers
        self.introduction = introduction
        self.opened_at = self.used_at = time.monotonic()
        self.level: str | None = None
        self.is_lost = False
        """The server has forgotten it."""
        self.ids = itertools.count(1)
        self._news = news
        self._announcing: dict[str, asyncio.Task[None]] = {}
        self._requests: list[Heard] = []
        self._listeners: list[Heard] = []
        self._subscribed: Counter[str] = Counter()
        self._stream: asyncio.Task[None] | None = None
        self._is_open = asyncio.Event()
        self._is_unused = asyncio.Event()
        self._is_unused.set()

    @property
    def is_used(self) -> bool:
        """Tell whether somebody waits for something."""
        return bool(self._requests or self._listeners)

    @contextmanager
    def request(self) -> Iterator[Heard]:
        """Count a request, and give what the server says beside its answer: the latest request hears it."""
        heard: Heard = asyncio.Queue()
        with self._counted(self._requests, heard):
            self._open()
            yield heard

    @asynccontextmanager
    async def listening(self, uris: Sequence[str]) -> AsyncIterator[tuple[Heard, Sequence[str]]]:
        """Give what the server says by itself from now on, and for which of the resources; None ends it.

        Raises `SessionLost`.
        """
        heard: Heard = asyncio.Queue()
        granted: list[str] = []

        def announced(method: str) -> None:
            heard.put_nowait({"jsonrpc": "2.0", "method": method})

        with self._counted(self._listeners, heard):
            try:
                await self._opened()
                for uri in uris:
                    if self._subscribed[uri] or await self._is_done("resources/subscribe", uri):
                        self._subscribed[uri] += 1
                        granted.append(uri)
                with self._news.mailbox.tuned(self._news.name, announced):
                    yield heard, granted
            finally:
                await asyncio.shield(self._unsubscribe(granted))

    async def retire(self) -> None:
        """End it when nobody waits for anything any more; who listens is told to listen anew."""
        for each in self._listeners:
            each.put_nowait(None)
        try:
            await self._is_unused.wait()
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """End it at the server."""
        ending = [*self._announcing.values(), *([] if self._stream is None else [self._stream])]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await self.wire.end(self.headers)

    @contextmanager
    def _counted(self, waiting: list[Heard], heard: Heard) -> Iterator[None]:
        waiting.append(heard)
        self._is_unused.clear()
        try:
            yield
        finally:
            waiting.remove(heard)
            self.used_at = time.monotonic()
            if not self.is_used:
                self._is_unused.set()

    async def _opened(self) -> None:
        """Wait for the server's own stream, where it says that there is one; raises `SessionLost`."""
        self._open()
        with suppress(TimeoutError):
            async with asyncio.timeout(OPENED_SECONDS):
                await self._is_open.wait()
        if self.is_lost:
            raise SessionLost

    def _open(self) -> None:
        if self._stream is None or self._stream.done():
            self._is_open.clear()
            self._stream = asyncio.get_running_loop().create_task(self._listen())

    async def _listen(self) -> None:
        try:
            while True:
                if not await self._heard_all():
                    return
                await asyncio.sleep(_AGAIN_SECONDS)
        except SessionLost:
            self.is_lost = await self._is_forgotten()
        except BackendError as ended:
            logger.debug("routeiq: an MCP server's own stream ended (%s)", ended)
        finally:
            self._is_open.set()
            for each in self._listeners:
                each.put_nowait(None)

    async def _heard_all(self) -> bool:
        """Spread what one stream brings; False where the server has none."""
        async with self.wire.listening(self.headers) as said:
            self._is_open.set()
            if said is None:
                return False
            async for each in said:
                if "id" not in each:
                    self._tell(each)
                    self._announce(str(each.get("method")))
                if self._requests:
                    self._requests[-1].put_nowait(each)
        return True

    async def _is_forgotten(self) -> bool:
        """Ask once more: a server that has no stream at all may say the same of it."""
        try:
            await self.wire.once({"jsonrpc": "2.0", "id": next(self.ids), "method": "ping"}, self.headers)
        except SessionLost:
            return True
        except BackendError as failure:
            logger.debug("routeiq: it is not known whether an MCP server has forgotten a session (%s)", failure)
        return False

    def _tell(self, notification: Json) -> None:
        for listener in self._listeners:
            listener.put_nowait(notification)

    def _announce(self, method: str) -> None:
        """Tell other workers, whose sessions of this client may not be told: what many servers do."""
        if method in CHANGES and method not in self._announcing:
            self._announcing[method] = asyncio.get_running_loop().create_task(self._announced(method))

    async def _announced(self, method: str) -> None:
        try:
            await asyncio.sleep(_GATHERED_SECONDS)
            del self._announcing[method]  # what changes from now on is another piece of news
            await self._news.mailbox.announce(self._news.name, method)
        except Unavailable as away:
            logger.debug("routeiq: other workers do not hear of a changed list (%s)", away)

    async def _unsubscribe(self, uris: Sequence[str]) -> None:
        for uri in uris:
            self._subscribed[uri] -= 1
            if not self._subscribed[uri]:
                with suppress(BackendError):
                    await self._is_done("resources/unsubscribe", uri)

    async def _is_done(self, method: str, uri: str) -> bool:
        asked = {"jsonrpc": "2.0", "id": next(self.ids), "method": method, "params": {"uri": uri}}
        reply = await self.wire.once(asked, self.headers)
        return isinstance(reply.message, dict) and "result" in reply.message


@dataclass(frozen=True, slots=True)
class Key:
    """What a session is known by."""

    owner: str
    rest: str
    """Digest of server, credential, and what the client says of itself."""

    @property
    def name(self) -> str:
        """It as one word."""
        return f"{self.owner} {self.rest}"


class ServerSessions:
    """Opens and keeps them, by server, credential, client and what the client can do; one per worker."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._pool: OrderedDict[Key, asyncio.Task[ServerSession]] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    async def of(self, wire: Wire, owner: str, identity: str, facts: Facts) -> ServerSession:
        """Return the session of this client, which is opened where there is none; raises `BackendError`."""
        key = Key(owner, _rest(wire, identity, facts))
        known = self._pool.get(key)
        if known is None or (known.done() and _is_over(known, time.monotonic())):
            self.forget(key)
            self._make_room(owner)
            known = self._pool[key] = asyncio.get_running_loop().create_task(
                _opened(wire, facts, News(self._mailbox, key.name))
            )
            known.add_done_callback(_retrieved)
        self._pool.move_to_end(key)
        session = await asyncio.shield(known)
        session.used_at = time.monotonic()
        return session

    def lost(self, session: ServerSession) -> None:
        """Hear that a server has forgotten a session."""
        for key, task in list(self._pool.items()):
            if _result(task) is session:
                del self._pool[key]

    def sweep(self, now: float) -> None:
        """Close what is idle or old at `now`, in seconds of the monotonic clock."""
        for key, task in list(self._pool.items()):
            if task.done() and _is_over(task, now):
                self.forget(key)

    def forget(self, key: Key) -> None:
        """Close one session, if it is there."""
        session = _result(self._pool.pop(key, None))
        if session is not None:
            task = asyncio.get_running_loop().create_task(session.retire())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Close them all."""
        sessions = [_result(task) for task in self._pool.values()]
        for task in (*self._pool.values(), *self._closing):
            task.cancel()
        await asyncio.gather(*(each.aclose() for each in sessions if each is not None))
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _make_room(self, owner: str) -> None:
        own = [key for key in self._pool if key.owner == owner]
        if len(own) >= MOST_OF_ONE:
            self._drop_one(own)
        elif len(self._pool) >= MOST_SESSIONS:
            self._drop_one(list(self._pool))

    def _drop_one(self, keys: Sequence[Key]) -> None:
        for key in keys:
            task, session = self._pool[key], _result(self._pool[key])
            if task.done() and (session is None or not session.is_used):
                self.forget(key)
                return
        raise Unavailable("too many sessions with MCP servers are in use")


async def begins_sessions(wire: Wire) -> bool:
    """Tell whether a server begins a session, which is ended at once; raises `BackendError`."""
    reply = await wire.once(shapes.initialize(Facts(LATEST_WITH_SESSIONS)), {})
    if "result" not in (reply.message or {}):
        return False
    if given := reply.headers.get(SESSION):
        await wire.end({VERSION: LATEST_WITH_SESSIONS, SESSION: given})
    return True


async def _opened(wire: Wire, facts: Facts, news: News) -> ServerSession:
    headers, introduction = await begun(wire, facts)
    return ServerSession(wire, headers, introduction, news)


async def begun(wire: Wire, facts: Facts) -> tuple[Mapping[str, str], Json]:
    """Begin a session; returns the headers that name it, and what the server says of itself. Raises `BackendError`."""
    reply = await wire.once(shapes.initialize(facts), {})
    result = (reply.message or {}).get("result")
    if not isinstance(result, dict) or not isinstance(result.get("protocolVersion"), str):
        raise BackendError("the MCP server does not begin a session")
    shapes.require_introduction(result)
    given = reply.headers.get(SESSION)
    headers = {VERSION: result["protocolVersion"]} | ({SESSION: given} if given else {})
    await wire.tell({"jsonrpc": "2.0", "method": "notifications/initialized"}, headers)
    return headers, result


def _rest(wire: Wire, identity: str, facts: Facts) -> str:
    server = wire.server
    parts = [server.server_id, str(server.version), server.url, identity, facts.info, facts.capabilities]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _is_over(task: asyncio.Task[ServerSession], now: float) -> bool:
    session = _result(task)
    if session is None or session.is_lost or now - session.opened_at > AGE_SECONDS:
        return True
    return not session.is_used and now - session.used_at > IDLE_SECONDS


def _result(task: asyncio.Task[ServerSession] | None) -> ServerSession | None:
    if task is None or not task.done() or task.cancelled() or task.exception() is not None:
        return None
    return task.result()


def _retrieved(task: asyncio.Task[ServerSession]) -> None:
    """Nobody may be waiting any more: an exception is not for the loop's log."""
    if not task.cancelled():
        task.exception()

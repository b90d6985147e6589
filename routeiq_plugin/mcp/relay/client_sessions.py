"""Sessions that clients have with the gateway itself, where no server's own session could carry what they need."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from routeiq_plugin.errors import CannotOpen, Conflict, InvalidRequest, NotFound
from routeiq_plugin.mcp.http.facts import Facts
from routeiq_plugin.mcp.relay.mailbox import Mailbox
from routeiq_plugin.store.mcp_relay import RelayStore, StoredSession

MOST_OF_ONE: Final = 1000
"""Sessions that one key, user and team may have; of more those are forgotten that were not used for longest."""
MOST_SUBSCRIPTIONS: Final = 1000
LONGEST_URI: Final = 2048
"""Characters of a resource that is subscribed to."""
MOST_FACTS: Final = 64 * 1024
"""Bytes that a client may say of itself, where that is kept."""
_QUESTION: Final = "routeiq."
_ATTEMPTS: Final = 20

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class State:
    """What is remembered of a session."""

    facts: Facts
    subscriptions: tuple[str, ...] = ()
    """URIs of the resources whose changes the client wants to hear of."""
    listeners: int = 0
    """How many streams are open for what servers say by themselves."""
    servers: Mapping[str, Json] = field(default_factory=dict)
    """By server: how it is talked to, where that outlives a request."""

    @classmethod
    def restored(cls, stored: Mapping[str, Any]) -> State:
        """Read what `stored` was made of."""
        return cls(
            Facts.restored(stored["facts"]), tuple(stored["subscriptions"]), stored["listeners"], stored["servers"]
        )

    def stored(self) -> Json:
        """Render for the store."""
        return {
            "facts": self.facts.stored(),
            "subscriptions": list(self.subscriptions),
            "listeners": self.listeners,
            "servers": dict(self.servers),
        }


class ClientSession:
    """One session, as one request finds it."""

    def __init__(self, sessions: ClientSessions, stored: StoredSession) -> None:
        self._sessions = sessions
        self._stored = stored
        self.state = State.restored(stored.state)

    @property
    def name(self) -> str:
        """The secret that names it."""
        return self._stored.name

    def question(self) -> str:
        """Name a request to the client, so that any worker knows where the answer belongs, and that it was asked."""
        name = secrets.token_urlsafe(16)
        return f"{_QUESTION}{name}.{self._proof(name)}"

    def has_asked(self, question: Any) -> bool:
        """Tell whether a question of this name was put to the client."""
        if not isinstance(question, str) or not question.startswith(_QUESTION):
            return False
        name, _, proof = question.removeprefix(_QUESTION).rpartition(".")
        return hmac.compare_digest(proof.encode(), self._proof(name).encode())

    def _proof(self, name: str) -> str:
        return hmac.new(self.name.encode(), name.encode(), hashlib.sha256).hexdigest()[:32]

    def letter(self, question: Any) -> str:
        """Name the letter that brings the answer to a question."""
        return f"{self.name} answer {json.dumps(question)}"

    def cancellation(self, request_id: Any) -> str:
        """Name the letter that cancels a request of the client's."""
        return f"{self.name} cancel {json.dumps(request_id)}"

    @property
    def version(self) -> int:
        """Of the state: it grows with each change."""
        return self._stored.version

    def followed(self, version: int) -> str:
        """Name the letter that tells that what is listened for is what this version of the state says."""
        return f"{self.name} follows {version}"

    async def subscribe(self, uri: str) -> None:
        """Remember that changes of a resource are wanted; raises `InvalidRequest`, and `Conflict` for one too many."""
        if len(uri) > LONGEST_URI:
            raise InvalidRequest(f"params.uri: a resource that is subscribed to has {LONGEST_URI} characters at most")

        def added(state: State) -> State:
            if len(state.subscriptions) >= MOST_SUBSCRIPTIONS:
                raise Conflict(f"a session may subscribe to {MOST_SUBSCRIPTIONS} resources")
            return replace(state, subscriptions=(*dict.fromkeys((*state.subscriptions, uri)),))

        await self.change(added)

    async def unsubscribe(self, uri: str) -> None:
        """Forget it."""
        await self.change(
            lambda state: replace(state, subscriptions=tuple(each for each in state.subscriptions if each != uri))
        )

    async def count_listener(self, count: int) -> None:
        """Remember that a stream was opened (1) or ended (-1)."""
        await self.change(lambda state: replace(state, listeners=max(0, state.listeners + count)))

    async def set_level(self, level: str) -> None:
        """Remember which log messages are wanted."""
        await self.change(lambda state: replace(state, facts=replace(state.facts, level=level)))

    async def change(self, changed: Callable[[State], State]) -> State:
        """Change the state, whoever else does at the same time; raises `NotFound` when the session has ended."""
        for _ in range(_ATTEMPTS):
            state = changed(self.state)
            if state == self.state:
                return state
            if await self._sessions.store.replace(self._stored, state.stored(), datetime.now(UTC)):
                await self.refresh()
                return self.state
            await self.refresh()
        raise Conflict("the session is being changed by too many requests at once")

    async def refresh(self) -> None:
        """Read the state again; raises `NotFound` when the session has ended."""
        self._stored = await self._sessions.stored(self.name)
        self.state = State.restored(self._stored.state)


class ClientSessions:
    """Begins, finds and ends them; one per worker."""

    def __init__(self, store: RelayStore, mailbox: Mailbox) -> None:
        self.store = store
        self.mailbox = mailbox

    async def begin(self, facts: Facts, owner: str) -> ClientSession:
        """Store a new session; raises `InvalidRequest`."""
        if len(json.dumps(facts.stored())) > MOST_FACTS:
            raise InvalidRequest(f"params: clientInfo and capabilities may have {MOST_FACTS} bytes")
        stored = StoredSession(secrets.token_urlsafe(24), State(facts).stored())
        await self.store.begin(stored, owner, datetime.now(UTC), most=MOST_OF_ONE)
        return ClientSession(self, stored)

    async def find(self, name: str) -> ClientSession:
        """Return a session; raises `NotFound` for one that has ended."""
        return ClientSession(self, await self.stored(name))

    async def stored(self, name: str) -> StoredSession:
        """Read one from the store; raises `NotFound`."""
        try:
            stored = await self.store.session(name, datetime.now(UTC))
        except CannotOpen:
            stored = None
        if stored is None:
            raise NotFound("Session not found")
        return stored

    async def end(self, session: ClientSession) -> None:
        """Forget a session; raises `NotFound` when it has ended already."""
        if not await self.store.end(session.name):
            raise NotFound("Session not found")

    async def answered(self, session: ClientSession, message: Json) -> None:
        """Bring the client's answer to whoever asked; what nobody asked for is not kept."""
        if session.has_asked(message.get("id")):
            await self.mailbox.post(session.letter(message.get("id")), message)

    async def cancel(self, session: ClientSession, message: Json) -> None:
        """Bring a cancellation to the request that it is for."""
        await self.mailbox.post(session.cancellation((message.get("params") or {}).get("requestId")), {})

    async def changes(self, session: ClientSession) -> None:
        """Return when the session's state has changed or it has ended; `session` shows the new state.

        Raises `NotFound` when it has ended.
        """
        with self.mailbox.watching(session.name) as changed:
            before = session.state
            await session.refresh()
            while session.state == before:
                await changed.wait()
                changed.clear()
                await session.refresh()

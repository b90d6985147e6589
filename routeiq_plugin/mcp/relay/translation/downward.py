"""A client without a session (2026-07-28) and a server that needs one (up to 2025-11-25)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final, TypeVar

from routeiq_plugin.errors import BackendError, BackendTimeout, CannotOpen, InvalidRequest, Unavailable
from routeiq_plugin.mcp.http.carrier import PARAMETERS
from routeiq_plugin.mcp.http.facts import LEVELS, Facts
from routeiq_plugin.mcp.http.lists import CHANGES, KINDS
from routeiq_plugin.mcp.http.messages import is_answer, unheard
from routeiq_plugin.mcp.http.wire import SessionLost, Wire
from routeiq_plugin.mcp.relay.client_sessions import MOST_SUBSCRIPTIONS
from routeiq_plugin.mcp.relay.conversation import Headers
from routeiq_plugin.mcp.relay.mailbox import Mailbox
from routeiq_plugin.mcp.relay.streams import merged, until
from routeiq_plugin.mcp.relay.translation import shapes
from routeiq_plugin.mcp.relay.translation.parking import PARKED_SECONDS, Parking
from routeiq_plugin.mcp.relay.translation.server_sessions import ServerSession, ServerSessions
from routeiq_plugin.store.sealing import Sealer

LISTEN: Final = "subscriptions/listen"
REPLY_SECONDS: Final = 5.0
"""How long a server may take to hear the answer to what it asked; what it says next waits for that."""
MOST_KEPT: Final = 1000
"""Notifications that wait for a client to come back; more are not kept."""

_PASSED: Final = frozenset({"notifications/progress", "notifications/message"})
"""What may come in answer to a request; the rest comes on subscriptions only."""
_QUESTIONS: Final = frozenset({"sampling/createMessage", "elicitation/create", "roots/list"})
_READ: Final[Mapping[str, Any]] = {"read": True}
"""What is found in the place of a letter that somebody has read."""

logger = logging.getLogger(__name__)

Json = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose requests these are: a server's session is never shared between two."""

    key: str
    """Digest of key, user and team."""
    identity: str
    """Of the credential that the server is shown."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What all downward conversations of a worker share."""

    sessions: ServerSessions
    parking: Parking
    mailbox: Mailbox
    sealer: Sealer


class Downward:
    """Keeps for the server what the client does not: a session, and requests that wait for an answer of the client."""

    def __init__(self, wire: Wire, bench: Bench, owner: Owner, facts: Facts) -> None:
        self._wire = wire
        self._bench = bench
        self._owner = owner
        self._facts = facts

    async def introduction(self) -> Json:
        """Return the server's word on itself as a result of `server/discover`."""
        return shapes.discovered((await self._session()).introduction)

    async def ask(self, message: Json, headers: Headers) -> AsyncGenerator[Json, None]:
        """Send a request; what the server asks back ends it as `input_required`, until the client repeats it."""
        method, params = message["method"], message.get("params") or {}
        if method == "server/discover":
            yield shapes.completed(method, _result(message["id"], await self.introduction()))
            return
        if method == LISTEN:
            stream = self._on_session(partial(self._subscribed, message["id"], params))
        elif isinstance(params.get("requestState"), str):
            stream = self._continued(message, params)
        else:
            stream = self._begun(message, {name: headers[name] for name in headers if not name.startswith(PARAMETERS)})
        async with aclosing(stream):
            async for each in stream:
                yield shapes.completed(method, each) if is_answer(each) else each

    # Requests

    async def _begun(self, message: Json, headers: Headers) -> AsyncGenerator[Json, None]:
        exchange = Exchange(self._bench, self._owner, message)
        said, is_ours = self._on_session(partial(self._said, message, headers)), True
        try:
            async for each in said:
                if isinstance(each, Question):
                    required = exchange.asked(each, said)
                    is_ours = False  # the exchange goes on reading
                    yield required
                    return
                yield each
        finally:
            if is_ours:
                await said.aclose()

    async def _on_session(self, talk: Callable[[ServerSession], AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
        """Talk on the client's session, and once more on a new one where the server has forgotten it."""
        session = await self._session()
        try:
            async with aclosing(talk(session)) as said:
                async for each in said:
                    yield each
            return
        except SessionLost:
            self._bench.sessions.lost(session)
        async with aclosing(talk(await self._session())) as said:
            async for each in said:
                yield each

    async def _said(
        self, message: Json, headers: Headers, session: ServerSession
    ) -> AsyncGenerator[Json | Question, None]:
        await self._set_level(session)
        own_id = next(session.ids)
        sent = {**shapes.bare(message), "id": own_id}
        token = _token(sent)
        if token is not None:
            sent["params"]["_meta"] = {**sent["params"]["_meta"], "progressToken": own_id}
        is_over = False
        try:
            asking = session.wire.ask(sent, {**headers, **session.headers})
            with session.request() as beside:
                async for each in merged(asking, beside):
                    is_over = is_answer(each)
                    if is_over:
                        yield {**each, "id": message["id"]}
                    elif "id" in each:
                        question = await self._heard(session, each)
                        if question is not None:
                            yield question
                    elif each.get("method") in _PASSED and self._is_wanted(each, own_id):
                        yield _with_token(each, token)
        except SessionLost:
            is_over = True
            raise
        finally:
            if not is_over:
                await asyncio.shield(session.wire.cancel(own_id, session.headers))

    async def _heard(self, session: ServerSession, request: Json) -> Question | None:
        """Answer what the client need not hear of."""
        if request.get("method") in _QUESTIONS:
            return Question(session, request)
        with suppress(BackendError, TimeoutError):  # what becomes of the request is told on its own stream
            async with asyncio.timeout(REPLY_SECONDS):
                await session.wire.tell(unheard(request), session.headers)
        return None

    async def _continued(self, message: Json, params: Mapping[str, Any]) -> AsyncGenerator[Json, None]:
        """Bring the client's answer to the server, and yield what comes of it, which some worker hears."""
        asked_id, waiting = message["id"], self._opened(params["requestState"])
        if waiting.request != _request(message):  # what comes would be judged as the answer to another
            raise InvalidRequest("params.requestState: not a state of this request")
        responses = params.get("inputResponses")
        given = responses.get(waiting.name) if isinstance(responses, Mapping) else None
        if not isinstance(given, Mapping):
            yield _result(asked_id, _required(waiting, params["requestState"]))
            return
        answer = {"jsonrpc": "2.0", "id": waiting.question, "result": dict(given)}
        await self._wire.tell(answer, waiting.headers)
        for each in await self._following(waiting):
            yield {**each, "id": asked_id} if is_answer(each) else each

    async def _following(self, waiting: Waiting) -> Sequence[Json]:
        """Return what came of an answer, once: who repeats it waits for nothing, and who leaves cancels it."""
        mailbox = self._bench.mailbox
        try:
            async with asyncio.timeout(PARKED_SECONDS):
                found = await mailbox.receive(waiting.letter)
        except TimeoutError:
            raise BackendTimeout("the MCP server did not go on with the request in time") from None
        except asyncio.CancelledError:
            await asyncio.shield(_posted(mailbox, _left(waiting.exchange)))
            raise
        with suppress(Unavailable):  # the next one to ask waits, then
            await mailbox.post(waiting.letter, _READ)
        if found == _READ:
            raise InvalidRequest("params.requestState: has been answered already")
        messages: Sequence[Json] = found["messages"]
        return messages

    def _opened(self, state: str) -> Waiting:
        try:
            sealed, _, checksum = state.rpartition(".")
            if checksum != _checksum(sealed):  # base64 has several spellings of the same bytes
                raise CannotOpen
            told = json.loads(self._bench.sealer.open(sealed))
            waiting = Waiting(**told)
        except (CannotOpen, ValueError, TypeError):
            raise InvalidRequest("params.requestState: not a state of this gateway, or damaged") from None
        if (waiting.owner, waiting.server_id) != (self._owner.key, self._wire.server.server_id):
            raise InvalidRequest("params.requestState: not a state of this client and server")
        return waiting

    # Subscriptions

    async def _subscribed(
        self, asked_id: Any, params: Mapping[str, Any], session: ServerSession
    ) -> AsyncGenerator[Json, None]:
        """Listen on the client's own session, where its calls may change what is told of."""
        honored, uris = _honored(session, params.get("notifications"))
        async with session.listening(uris) as (heard, granted):
            honored |= {"resourceSubscriptions": list(granted)} if granted else {}
            acknowledged = {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged"}
            yield shapes.subscribed({**acknowledged, "params": {"notifications": honored}}, asked_id)
            if not honored:
                await asyncio.Event().wait()  # for the client to leave: nothing will come
            wanted = {method for method, kind in CHANGES.items() if honored.get(f"{kind}ListChanged")}
            while (each := await heard.get()) is not None:
                if each.get("method") in wanted or _updated(each) in granted:
                    yield shapes.subscribed(each, asked_id)
        yield shapes.subscribed_result(asked_id)

    # Sessions

    async def _session(self) -> ServerSession:
        return await self._bench.sessions.of(self._wire, self._owner.key, self._owner.identity, self._facts)

    async def _set_level(self, session: ServerSession) -> None:
        """Ask for log messages where the client does; more than it wants are left out one by one."""
        level = self._facts.level
        if level not in LEVELS or "logging" not in (session.introduction.get("capabilities") or {}):
            return
        if session.level is not None and LEVELS.index(session.level) <= LEVELS.index(level):
            return
        session.level = level
        asked = {"jsonrpc": "2.0", "id": next(session.ids), "method": "logging/setLevel", "params": {"level": level}}
        await session.wire.once(asked, session.headers)

    def _is_wanted(self, notification: Json, own_id: int) -> bool:
        if notification["method"] != "notifications/message":  # progress, which may be another request's
            return bool((notification.get("params") or {}).get("progressToken") == own_id)
        level, wanted = (notification.get("params") or {}).get("level"), self._facts.level
        if wanted not in LEVELS:
            return False
        return level not in LEVELS or LEVELS.index(level) >= LEVELS.index(wanted)


@dataclass(frozen=True, slots=True)
class Question:
    """What a server asks a client in the course of a request."""

    session: ServerSession
    request: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Where the answer to a question belongs; sealed, it is the client's `requestState`."""

    name: str
    """Of the question, in `inputRequests`."""
    question: str | int
    """The server's id of it."""
    asked: Json
    """It itself, for a client that comes back without an answer."""
    letter: str
    """Name of the letter with what the server says after that."""
    exchange: str
    """Names the request that waits."""
    request: str
    """Method, and name of the tool or prompt, that the server works on."""
    owner: str
    server_id: str
    headers: Mapping[str, str]
    """That name the server's session."""


class Exchange:
    """A request that outlives the HTTP request that brought it: it is read on while the client thinks."""

    def __init__(self, bench: Bench, owner: Owner, message: Json) -> None:
        self._bench = bench
        self._owner = owner
        self._asked_id = message["id"]
        self._request = _request(message)
        self._name = secrets.token_urlsafe(24)

    def asked(self, question: Question, said: AsyncGenerator[Json | Question, None]) -> Json:
        """Return the answer that passes a question on, and read the rest in the background."""
        letter = secrets.token_urlsafe(24)
        self._bench.parking.park(self._owner.key, self._read(letter, said))
        return self._required(question, letter)

    async def _read(self, letter: str, said: AsyncGenerator[Json | Question, None]) -> None:
        """Post what the server says as letters, one for each time that the client comes back; until it leaves."""
        messages: list[Json] = []
        with self._bench.mailbox.waiting(_left(self._name)) as left:
            try:
                async with aclosing(until(left, said)) as heard:
                    async for each in heard:
                        if not isinstance(each, Question):
                            if is_answer(each) or len(messages) < MOST_KEPT:
                                messages.append(each)
                            continue
                        following = secrets.token_urlsafe(24)
                        messages.append(self._required(each, following))
                        await self._bench.mailbox.post(letter, {"messages": messages})
                        letter, messages = following, []
            except BackendError as failure:
                error = {"code": -32603, "message": str(failure.detail)}
                messages.append({"jsonrpc": "2.0", "id": self._asked_id, "error": error})
            if not left.done():
                await self._bench.mailbox.post(letter, {"messages": messages})

    def _required(self, question: Question, letter: str) -> Json:
        session, request = question.session, question.request
        waiting = Waiting(
            name=f"question-{json.dumps(request['id'])}",
            question=request["id"],
            asked=shapes.asked(request),
            letter=letter,
            exchange=self._name,
            request=self._request,
            owner=self._owner.key,
            server_id=session.wire.server.server_id,
            headers=dict(session.headers),
        )
        sealed = self._bench.sealer.seal(json.dumps(asdict(waiting)))
        return _result(self._asked_id, _required(waiting, f"{sealed}.{_checksum(sealed)}"))


def _left(exchange: str) -> str:
    """Name the letter that tells that nobody waits for a request any more."""
    return f"{exchange} left"


async def _posted(mailbox: Mailbox, name: str) -> None:
    with suppress(Unavailable):
        await mailbox.post(name, {})


def _request(message: Json) -> str:
    params = message.get("params") or {}
    return json.dumps([message["method"], params.get("name"), params.get("uri")])


def _checksum(sealed: str) -> str:
    return hashlib.sha256(sealed.encode()).hexdigest()[:16]


def _required(waiting: Waiting, state: str) -> Json:
    return {
        "resultType": shapes.INPUT_REQUIRED,
        "inputRequests": {waiting.name: waiting.asked},
        "requestState": state,
    }


def _honored(session: ServerSession, asked: Any) -> tuple[Json, Sequence[str]]:
    """Choose what the server can tell of: kinds of lists, and resources."""
    wanted: Mapping[str, Any] = asked if isinstance(asked, Mapping) else {}
    capabilities = session.introduction.get("capabilities") or {}
    honored: Json = {
        name: True
        for kind in KINDS
        if wanted.get(name := f"{kind}ListChanged") is True and (capabilities.get(kind) or {}).get("listChanged")
    }
    uris = wanted.get("resourceSubscriptions")
    if not isinstance(uris, list) or not (capabilities.get("resources") or {}).get("subscribe"):
        return honored, ()
    return honored, [uri for uri in uris if isinstance(uri, str)][:MOST_SUBSCRIPTIONS]


def _updated(notification: Json) -> Any:
    if notification.get("method") != "notifications/resources/updated":
        return None
    return (notification.get("params") or {}).get("uri")


def _token(message: Mapping[str, Any]) -> Any:
    return ((message.get("params") or {}).get("_meta") or {}).get("progressToken")


def _with_token(notification: Json, token: Any) -> Json:
    if notification["method"] != "notifications/progress":
        return notification
    return {**notification, "params": {**(notification.get("params") or {}), "progressToken": token}}


def _result(asked_id: Any, result: Json) -> Json:
    return {"jsonrpc": "2.0", "id": asked_id, "result": result}

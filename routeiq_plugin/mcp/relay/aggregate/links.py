"""The sessions with servers that belong to one session of a client: begun on first use, carried on by any worker."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from routeiq_plugin.errors import BackendError, Conflict
from routeiq_plugin.mcp.http.carrier import SESSION
from routeiq_plugin.mcp.http.facts import Facts
from routeiq_plugin.mcp.http.wire import VERSION, Wire
from routeiq_plugin.mcp.relay.client_sessions import MOST_SUBSCRIPTIONS, ClientSession, ClientSessions, State
from routeiq_plugin.mcp.relay.translation.server_sessions import begun

LISTENED_SECONDS: Final = 5.0
"""Longest wait of a request for the stream that brings what its server says by itself."""
_MARK: Final = "routeiq.at."

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Link:
    """A session with a server."""

    session: str
    """The server's id for it, '' where it gives none."""
    version: str
    row: str
    """Version of the server's registration that it was begun with."""
    identity: str
    """Of the credential that it was begun with."""
    logs: bool
    level: str | None = None
    """Log messages of this level and above were asked for."""
    heard: bool = False
    """What the server says by itself is listened to."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers that name it."""
        return {VERSION: self.version} | ({SESSION: self.session} if self.session else {})


@dataclass(frozen=True, slots=True)
class Part:
    """What a client's session remembers of one server."""

    link: Link | None = None
    subscribed: Mapping[str, str] = field(default_factory=dict)
    """URIs of the resources whose changes the client wants to hear of: the server's own, and as the client has them."""

    @classmethod
    def of(cls, state: State, server_id: str) -> Part:
        """Read it from the state of a session."""
        stored = state.servers.get(server_id) or {}
        link = stored.get("link")
        return cls(Link(**link) if link else None, stored.get("subscribed") or {})

    def stored(self) -> Json:
        """Render for the state."""
        return {"link": asdict(self.link) if self.link else None, "subscribed": dict(self.subscribed)}


async def linked(sessions: ClientSessions, session: ClientSession, wire: Wire, identity: str) -> Link:
    """Return the session with a server, which is begun where there is none; raises `BackendError`."""
    link = _good(Part.of(session.state, wire.server.server_id).link, wire, identity)
    if link is None:
        link = await _begun(session, wire, identity)
    level = session.state.facts.level
    if link.logs and level not in (None, link.level):
        link = await _leveled(session, wire, link, str(level))
    if session.state.listeners and not link.heard:
        await _listened_to(sessions, session, wire.server.server_id, link)
    return link


async def _begun(session: ClientSession, wire: Wire, identity: str) -> Link:
    facts = session.state.facts
    headers, introduction = await begun(wire, Facts(facts.version, facts.info, facts.capabilities))
    logs = "logging" in (introduction.get("capabilities") or {})
    own = Link(headers.get(SESSION, ""), headers[VERSION], str(wire.server.version), identity, logs)

    def with_own(part: Part) -> Part:
        return part if _good(part.link, wire, identity) else replace(part, link=own)

    kept = (await _change(session, wire.server.server_id, with_own)).link or own
    if kept.session != own.session:
        await wire.end(own.headers)  # another request was faster
        return kept
    for uri in Part.of(session.state, wire.server.server_id).subscribed:
        await _subscribe_again(wire, own, uri)
    return own


async def _listened_to(sessions: ClientSessions, session: ClientSession, server_id: str, link: Link) -> None:
    """Wait until the client's stream has reached the server: what it asks on its own would be lost before."""
    try:
        async with asyncio.timeout(LISTENED_SECONDS):
            while session.state.listeners and _is_unheard(session, server_id, link):
                await sessions.changes(session)
    except TimeoutError:
        await heard(session, server_id, link)  # nobody is going to: the next request need not wait


def _is_unheard(session: ClientSession, server_id: str, link: Link) -> bool:
    now = Part.of(session.state, server_id).link
    return now is not None and now.session == link.session and not now.heard


async def heard(session: ClientSession, server_id: str, link: Link) -> None:
    """Remember that what a server says by itself is listened to."""
    await _change(session, server_id, lambda part: _with(part, link, heard=True))


async def unheard(session: ClientSession) -> None:
    """Remember that one of the client's streams has ended, and that nobody listens after the last."""

    def without(state: State) -> State:
        listeners = max(0, state.listeners - 1)
        parts = {server_id: Part.of(state, server_id) for server_id in state.servers}
        if not listeners:
            parts = {each: _with(part, part.link, heard=False) for each, part in parts.items()}
        return replace(state, listeners=listeners, servers={each: part.stored() for each, part in parts.items()})

    await session.change(without)


async def lost(session: ClientSession, server_id: str, link: Link) -> None:
    """Hear that a server has forgotten a session."""
    await _change(session, server_id, lambda part: replace(part, link=None) if _has(part, link) else part)


async def subscribe(session: ClientSession, server_id: str, own: str, given: str) -> None:
    """Remember that changes of a resource are wanted; raises `Conflict` where there are too many."""

    def added(part: Part) -> Part:
        if own not in part.subscribed and len(part.subscribed) >= MOST_SUBSCRIPTIONS:
            raise Conflict(f"a session may subscribe to {MOST_SUBSCRIPTIONS} resources of a server")
        return replace(part, subscribed={**part.subscribed, own: given})

    await _change(session, server_id, added)


def followed(session: ClientSession, server_id: str, own: str) -> str:
    """Name the letter that tells that changes of a resource are listened for."""
    return f"{session.name} follows {json.dumps([server_id, own])}"


async def unsubscribe(session: ClientSession, server_id: str, own: str) -> None:
    """Forget it."""

    def without(part: Part) -> Part:
        return replace(part, subscribed={uri: given for uri, given in part.subscribed.items() if uri != own})

    await _change(session, server_id, without)


def outward(server_id: str, name: Any) -> str:
    """Name what a server names, a question or a progress token, so that any worker knows whose it is."""
    told = json.dumps([server_id, name], separators=(",", ":"))
    return _MARK + base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")


def inward(name: Any) -> tuple[str, Any] | None:
    """Read such a name: the server's id, and the server's own name; None for what is none."""
    if not isinstance(name, str) or not name.startswith(_MARK):
        return None
    told = name.removeprefix(_MARK)
    try:
        server_id, own = json.loads(base64.urlsafe_b64decode(told + "=" * (-len(told) % 4)))
    except (ValueError, TypeError):
        return None
    return (server_id, own) if isinstance(server_id, str) else None


async def _leveled(session: ClientSession, wire: Wire, link: Link, level: str) -> Link:
    request_id = f"routeiq.{secrets.token_urlsafe(8)}"
    asked = {"jsonrpc": "2.0", "id": request_id, "method": "logging/setLevel", "params": {"level": level}}
    await wire.once(asked, link.headers)
    await _change(session, wire.server.server_id, lambda part: _with(part, link, level=level))
    return replace(link, level=level)


async def _subscribe_again(wire: Wire, link: Link, uri: str) -> None:
    request_id = f"routeiq.{secrets.token_urlsafe(8)}"
    asked = {"jsonrpc": "2.0", "id": request_id, "method": "resources/subscribe", "params": {"uri": uri}}
    with suppress(BackendError):
        await wire.once(asked, link.headers)


async def _change(session: ClientSession, server_id: str, changed: Callable[[Part], Part]) -> Part:
    def with_part(state: State) -> State:
        before = Part.of(state, server_id)
        after = changed(before)
        if after == before:
            return state
        return replace(state, servers={**state.servers, server_id: after.stored()})

    return Part.of(await session.change(with_part), server_id)


def _has(part: Part, link: Link | None) -> bool:
    return part.link is not None and link is not None and part.link.session == link.session


def _with(part: Part, link: Link | None, **changed: Any) -> Part:
    """Change a link, if it is the one that is there."""
    if part.link is None or not _has(part, link):
        return part
    return replace(part, link=replace(part.link, **changed))


def _good(link: Link | None, wire: Wire, identity: str) -> Link | None:
    if link is None or (link.row, link.identity) != (str(wire.server.version), identity):
        return None
    return link

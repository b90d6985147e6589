"""What comes by itself: changes of lists and resources, and what servers say on their sessions' own streams."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, Final

from routeiq_plugin.errors import NotFound, RouteIQError
from routeiq_plugin.mcp.http import lists
from routeiq_plugin.mcp.http.messages import is_answer
from routeiq_plugin.mcp.http.stateless import enveloped, routing_headers
from routeiq_plugin.mcp.http.wire import Wire
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.relay.aggregate import links
from routeiq_plugin.mcp.relay.aggregate.confluence import Confluence, Source
from routeiq_plugin.mcp.relay.aggregate.conversations import Conversations
from routeiq_plugin.mcp.relay.aggregate.links import Link, Part
from routeiq_plugin.mcp.relay.aggregate.targets import Targets
from routeiq_plugin.mcp.relay.aggregate.visits import Visit
from routeiq_plugin.mcp.relay.aggregate.watching import KINDS, Watching
from routeiq_plugin.mcp.relay.client_sessions import ClientSession, ClientSessions
from routeiq_plugin.mcp.relay.mailbox import Mailbox
from routeiq_plugin.mcp.relay.reach import is_carried
from routeiq_plugin.mcp.relay.translation import shapes

LISTEN: Final = "subscriptions/listen"
ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
UPDATED: Final = "notifications/resources/updated"
AGAIN_SECONDS: Final = 5.0
"""Before a stream that a server ended is asked for again."""
GRANT_SECONDS: Final = 10.0
"""Longest wait for servers to say which subscriptions they grant."""

_LISTS: Final = ("lists",)
_FILTERS: Final = {f"{kind}ListChanged": kind for kind in KINDS}

logger = logging.getLogger(__name__)

Json = dict[str, Any]


class Hearing:
    """Listens for clients; one per worker."""

    def __init__(
        self, conversations: Conversations, sessions: ClientSessions, targets: Targets, watching: Watching
    ) -> None:
        self._conversations = conversations
        self._sessions = sessions
        self._targets = targets
        self._watching = watching

    # Sessions

    async def in_session(self, visit: Visit, session: ClientSession) -> AsyncGenerator[Json, None]:
        """Yield what a client with a session has to hear, until the session ends."""
        confluence = Confluence()
        following = asyncio.ensure_future(self._follow(visit, session, confluence))
        try:
            async with aclosing(confluence.messages()) as messages:
                async for each in messages:
                    yield each
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def _follow(self, visit: Visit, session: ClientSession, confluence: Confluence) -> None:
        """Listen to the servers that the session is in touch with, as that changes."""
        following = Following(self._sessions.mailbox)
        try:
            await session.count_listener(1)
            while True:
                now = await self._conversations.renewed(visit)
                sources = self._sources(now, session, following)
                confluence.flow({_LISTS: partial(self._kinds, visit, tuple(KINDS)), **sources})
                following.follow(session, sources)
                await self._sessions.changes(session)
        except NotFound:
            logger.debug("routeiq: an MCP client's session has ended")
        except RouteIQError as away:
            logger.debug("routeiq: an MCP client has to listen again (%s)", away)
        finally:
            await asyncio.shield(_ended(session, following))
        await confluence.close()

    def _sources(self, visit: Visit, session: ClientSession, following: Following) -> Mapping[Any, Source]:
        found: dict[Any, Source] = {}
        for server in visit.names.servers:
            part = Part.of(session.state, server.server_id)
            if part.link is not None and is_carried(server):
                found[server.server_id, part.link.session] = partial(
                    self._of_link, visit, session, server, part.link, following
                )
            elif part.subscribed and is_carried(server):
                found[server.server_id, *part.subscribed] = partial(
                    self._of_subscriptions, visit, session, server, part.subscribed, following
                )
        return found

    async def _of_link(
        self, visit: Visit, session: ClientSession, server: Server, link: Link, following: Following
    ) -> AsyncGenerator[Json, None]:
        """Yield what a server says on its session by itself, in names that tell the client whose they are."""
        wire, identity = await self._conversations.wire(visit, server)
        heard = self._conversations.heard(server, identity)
        listen = partial(_listened, wire, session, link, following)
        async with aclosing(_again(listen)) as said:
            async for each in said:
                told = heard.told(session, each)
                if each.get("method") not in lists.CHANGES:  # which is told once it is seen
                    yield told

    async def _of_subscriptions(
        self,
        visit: Visit,
        session: ClientSession,
        server: Server,
        subscribed: Mapping[str, str],
        following: Following,
    ) -> AsyncGenerator[Json, None]:
        """Yield changes of resources of a server that has no sessions."""
        wire, _ = await self._conversations.wire(visit, server)
        async with aclosing(_again(partial(self._updates, wire, session, list(subscribed), following))) as said:
            async for each in said:
                yield shapes.unsubscribed(_as_given(each, subscribed))

    async def _updates(
        self, wire: Wire, session: ClientSession, uris: Sequence[str], following: Following
    ) -> AsyncGenerator[Json, None]:
        asked = {"notifications": {"resourceSubscriptions": list(uris)}}
        request = {"jsonrpc": "2.0", "id": 1, "method": LISTEN, "params": asked}
        sent = enveloped(request, session.state.facts)
        async with aclosing(wire.ask(sent, routing_headers(sent))) as said:
            async for each in said:
                if each.get("method") == UPDATED:
                    yield each
                following.heard((wire.server.server_id, *uris))

    # Without sessions

    async def subscribed(self, visit: Visit, message: Json) -> AsyncGenerator[Json, None]:
        """Answer `subscriptions/listen`: say what is granted, then what has changed, without end."""
        asked_id, params = message["id"], message.get("params") or {}
        wanted = params.get("notifications")
        wanted = wanted if isinstance(wanted, dict) else {}
        kinds = [kind for name, kind in _FILTERS.items() if wanted.get(name) is True]
        grants = Grants()
        sources: dict[Any, Source] = {"lists": partial(self._kinds, visit, kinds)} if kinds else {}
        for server, uris in (await self._by_server(visit, wanted.get("resourceSubscriptions"))).items():
            sources[server] = partial(self._of_server, visit, message, server, uris, grants)
            grants.expect(server, uris)
        confluence = Confluence()
        confluence.flow(sources)
        async with aclosing(confluence.messages()) as messages:
            granted = await grants.settled()
            honored: Json = {f"{kind}ListChanged": True for kind in kinds}
            honored |= {"resourceSubscriptions": granted} if granted else {}
            told = {"jsonrpc": "2.0", "method": ACKNOWLEDGED, "params": {"notifications": honored}}
            yield shapes.subscribed(told, asked_id)
            async for each in messages:
                yield shapes.subscribed(each, asked_id)

    async def _kinds(self, visit: Visit, kinds: Sequence[str]) -> AsyncGenerator[Json, None]:
        async with aclosing(self._watching.changes(visit, kinds)) as changes:
            async for kind in changes:
                yield lists.changed(kind)

    async def _by_server(self, visit: Visit, uris: Any) -> Mapping[str, Mapping[str, str]]:
        """Return, by server, the URIs that are its, each with the client's form of it."""
        found: dict[str, dict[str, str]] = {}
        for given in uris if isinstance(uris, list) else ():
            if not isinstance(given, str):
                continue
            try:
                server, own = await self._targets.located(visit, given)
            except RouteIQError as unknown:
                logger.debug("routeiq: a subscription is not granted (%s)", unknown)
                continue
            if is_carried(server):
                found.setdefault(server.server_id, {})[own] = given
        return found

    async def _of_server(
        self, visit: Visit, message: Json, server_id: str, uris: Mapping[str, str], grants: Grants
    ) -> AsyncGenerator[Json, None]:
        server = next(each for each in visit.names.servers if each.server_id == server_id)
        try:
            async with aclosing(_again(partial(self._asked_of, visit, message, server, uris, grants))) as said:
                async for each in said:
                    yield each
        finally:
            grants.granted(server_id, ())

    async def _asked_of(
        self, visit: Visit, message: Json, server: Server, uris: Mapping[str, str], grants: Grants
    ) -> AsyncGenerator[Json, None]:
        """Yield changes of resources, and hear which of them the server grants."""
        params = {**message["params"], "notifications": {"resourceSubscriptions": list(uris)}}
        talk = await self._conversations.with_server(visit, server)
        async with aclosing(talk.ask({**message, "params": params}, {})) as said:
            async for each in said:
                told = each.get("params") or {}
                if each.get("method") == ACKNOWLEDGED:
                    grants.granted(server.server_id, (told.get("notifications") or {}).get("resourceSubscriptions"))
                elif each.get("method") == UPDATED:
                    yield _as_given(each, uris)
                elif is_answer(each):
                    grants.granted(server.server_id, ())


class Following:
    """Tells those who subscribe when their resource is listened for."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._heard: dict[Any, asyncio.Event] = {}
        self._told: frozenset[tuple[str, str]] = frozenset()
        self._telling: set[asyncio.Task[None]] = set()

    def heard(self, source: Any) -> None:
        """Hear that nothing is missed any more of what this source says."""
        if source in self._heard:
            self._heard[source].set()

    def follow(self, session: ClientSession, sources: Iterable[tuple[str, ...]]) -> None:
        """Hear what the sources are, and tell of each subscription that is new once its source is heard."""
        self._heard = {source: self._heard.get(source) or asyncio.Event() for source in sources}
        wanted = {
            (server_id, uri): links.followed(session, server_id, uri)
            for server_id in session.state.servers
            for uri in Part.of(session.state, server_id).subscribed
        }
        by_server = {source[0]: event for source, event in self._heard.items()}
        for (server_id, uri), letter in wanted.items():
            if (server_id, uri) not in self._told and server_id in by_server:
                task = asyncio.get_running_loop().create_task(self._tell(by_server[server_id], letter))
                self._telling.add(task)
                task.add_done_callback(self._telling.discard)
        self._told = frozenset(wanted)

    async def aclose(self) -> None:
        """Tell no more."""
        for task in self._telling:
            task.cancel()
        await asyncio.gather(*self._telling, return_exceptions=True)

    async def _tell(self, heard: asyncio.Event, letter: str) -> None:
        await heard.wait()
        try:
            await self._mailbox.post(letter, {})
        except RouteIQError as away:
            logger.debug("routeiq: nobody hears that a resource is listened for (%s)", away)


class Grants:
    """Which subscriptions the servers grant, as far as they have said."""

    def __init__(self) -> None:
        self._asked: dict[str, Mapping[str, str]] = {}
        self._granted: dict[str, asyncio.Future[Sequence[str]]] = {}

    def expect(self, server_id: str, uris: Mapping[str, str]) -> None:
        """Wait for a server's word on these."""
        self._asked[server_id] = uris
        self._granted[server_id] = asyncio.get_running_loop().create_future()

    def granted(self, server_id: str, uris: Any) -> None:
        """Hear it; the first time counts."""
        if not self._granted[server_id].done():
            self._granted[server_id].set_result(tuple(uris) if isinstance(uris, list) else ())

    async def settled(self) -> list[str]:
        """Return the client's forms of all that was granted in time."""
        if self._granted:
            await asyncio.wait(self._granted.values(), timeout=GRANT_SECONDS)
        said = {server_id: each.result() for server_id, each in self._granted.items() if each.done()}
        return [
            self._asked[server_id][uri]
            for server_id, uris in said.items()
            for uri in uris
            if uri in self._asked[server_id]
        ]


async def _listened(wire: Wire, session: ClientSession, link: Link, following: Following) -> AsyncGenerator[Json, None]:
    async with wire.listening(link.headers) as said:
        await links.heard(session, wire.server.server_id, link)
        following.heard((wire.server.server_id, link.session))
        if said is None:
            await asyncio.Event().wait()  # it never says anything by itself
            return
        async for each in said:
            yield each


async def _ended(session: ClientSession, following: Following) -> None:
    await following.aclose()
    with suppress(RouteIQError):
        await links.unheard(session)


async def _again(listen: Callable[[], AsyncGenerator[Json, None]]) -> AsyncGenerator[Json, None]:
    """Listen anew when a server ends its stream."""
    while True:
        try:
            async with aclosing(listen()) as said:
                async for each in said:
                    yield each
        except RouteIQError as ended:
            logger.debug("routeiq: an MCP server ended a stream (%s)", ended)
        await asyncio.sleep(AGAIN_SECONDS)


def _as_given(update: Json, given: Mapping[str, str]) -> Json:
    """Name a resource that has changed as the client does."""
    params = update.get("params") or {}
    uri = str(params.get("uri"))
    return {**update, "params": {**params, "uri": given.get(uri, uri)}}

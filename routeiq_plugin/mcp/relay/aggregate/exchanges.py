"""A request to one server and what comes of it, governed, and in the names that the client knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from typing import Any, Final

from routeiq_plugin.errors import LoginRequired, NotFound
from routeiq_plugin.mcp.http.messages import is_answer
from routeiq_plugin.mcp.http.stateless import mirrored
from routeiq_plugin.mcp.plane import DataPlane
from routeiq_plugin.mcp.relay.aggregate import links
from routeiq_plugin.mcp.relay.aggregate.conversations import Conversations
from routeiq_plugin.mcp.relay.aggregate.namespaces import servers_named
from routeiq_plugin.mcp.relay.aggregate.pooled import pooled
from routeiq_plugin.mcp.relay.aggregate.targets import SUBSCRIBE, UNSUBSCRIBE, Target, Targets, named_in, told
from routeiq_plugin.mcp.relay.aggregate.visits import Visit
from routeiq_plugin.mcp.relay.client_sessions import ClientSession
from routeiq_plugin.mcp.relay.conversation import Conversation
from routeiq_plugin.mcp.relay.governance import Rule, Ruling, Untouched, rule_on
from routeiq_plugin.mcp.relay.mailbox import Mailbox
from routeiq_plugin.mcp.relay.reach import is_carried
from routeiq_plugin.mcp.relay.responses import Governed
from routeiq_plugin.mcp.relay.streams import unless_cancelled
from routeiq_plugin.mcp.relay.translation import shapes
from routeiq_plugin.mcp.relay.translation.inbound import mismatch
from routeiq_plugin.mcp.relay.translation.upward import Upward

FOLLOWED_SECONDS: Final = 5.0
"""How long an answer to `resources/subscribe` waits for the stream that brings the changes."""
_SUBSCRIPTIONS: Final = frozenset({SUBSCRIBE, UNSUBSCRIBE})

Json = dict[str, Any]


class Exchanges:
    """Begins them; one per worker."""

    def __init__(self, plane: DataPlane, targets: Targets, conversations: Conversations, mailbox: Mailbox) -> None:
        self._plane = plane
        self._targets = targets
        self._conversations = conversations
        self._mailbox = mailbox

    async def begin(self, visit: Visit, message: Json) -> Governed:
        """Find the server, check what may refuse the request, and begin it; raises what does."""
        try:
            target = await self._targets.of(visit, message)
        except NotFound:
            later = await self._caught_up(visit, message)
            if later is None:
                raise
            visit, target = later, await self._targets.of(later, message)
        try:
            return await self._begun(visit, target)
        except LoginRequired as login:
            raise told(login, target.server.name) from login

    async def _caught_up(self, visit: Visit, message: Json) -> Visit | None:
        """Look for a server that another worker has only just registered; None where there is none."""
        gateway, known = self._plane.offers.gateway, {each.server_id for each in visit.names.servers}
        for label in servers_named(named_in(message)):
            server = await gateway.directory.find(label)
            if server is not None and server.server_id not in known:
                return await self._conversations.renewed(visit)
        return None

    async def _begun(self, visit: Visit, target: Target) -> Governed:
        asked_id = target.message["id"]
        if not is_carried(target.server):
            answer = {"jsonrpc": "2.0", "id": asked_id, "result": await pooled(self._plane, visit, target)}
            return answered(visit, target.message["method"], answer)
        ruling = await rule_on(self._plane.tools, visit.asked, visit.request, target.server, target.message)
        try:
            talk = await self._conversations.with_server(visit, target.server)
            said = self._said(visit, target, talk, ruling)
        except BaseException as failure:
            await ruling.rule.aclose(failure)
            raise
        return Governed(said, ruling.rule, asked_id)

    def _said(self, visit: Visit, target: Target, talk: Conversation, ruling: Ruling) -> AsyncGenerator[Json, None]:
        if target.message["method"] in _SUBSCRIPTIONS and visit.session is not None:
            said = self._subscribed(visit.session, target, talk)
        elif visit.session is None and (refused := mismatch(target.message, ruling.tool, visit.asked.incoming)):
            said = _once(refused)
        else:
            said = talk.ask(ruling.message, {**mirrored(ruling.message, ruling.input_schema), **ruling.headers})
        if target.uri is not None and target.uri[0] != target.uri[1]:
            said = _renamed(said, *target.uri)
        return said if visit.session is None else self._cancellable(visit.session, said, target.message["id"])

    async def _subscribed(
        self, session: ClientSession, target: Target, talk: Conversation
    ) -> AsyncGenerator[Json, None]:
        """Subscribe at the server where it keeps a session, and let who listens for the client hear of it."""
        assert target.uri is not None
        server_id, (given, own) = target.server.server_id, target.uri
        answer: Json = {"jsonrpc": "2.0", "id": target.message["id"], "result": {}}
        if not isinstance(talk, Upward):
            async with aclosing(talk.ask(target.message, {})) as said:
                async for each in said:
                    if is_answer(each):
                        answer = each
                    else:
                        yield each
        if "result" in answer and target.message["method"] == SUBSCRIBE:
            await links.subscribe(session, server_id, own, given)
            if session.state.listeners:
                with suppress(TimeoutError):
                    async with asyncio.timeout(FOLLOWED_SECONDS):
                        await self._mailbox.receive(links.followed(session, server_id, own))
        elif "result" in answer:
            await links.unsubscribe(session, server_id, own)
        yield answer

    async def _cancellable(
        self, session: ClientSession, said: AsyncGenerator[Json, None], asked_id: Any
    ) -> AsyncGenerator[Json, None]:
        """End it when the client says so, by whichever worker that comes."""
        with self._mailbox.waiting(session.cancellation(asked_id)) as letter:
            async with aclosing(unless_cancelled(letter, said)) as messages:
                async for each in messages:
                    yield each


def answered(visit: Visit, method: str, answer: Json) -> Governed:
    """Return an exchange that is over: with an answer of the gateway's own."""
    whole = answer if visit.session is not None else shapes.completed(method, answer)
    rule: Rule = Untouched()
    return Governed(_once(whole), rule, answer.get("id"))


async def _once(answer: Json) -> AsyncGenerator[Json, None]:
    yield answer


async def _renamed(said: AsyncGenerator[Json, None], given: str, own: str) -> AsyncGenerator[Json, None]:
    """Call a resource what the client called it."""
    async with aclosing(said) as messages:
        async for each in messages:
            result = each.get("result")
            contents = result.get("contents") if isinstance(result, Mapping) else None
            if not isinstance(contents, list):
                yield each
                continue
            renamed = [{**content, "uri": given} if _is_of(content, own) else content for content in contents]
            yield {**each, "result": {**each["result"], "contents": renamed}}


def _is_of(content: Any, uri: str) -> bool:
    return isinstance(content, dict) and content.get("uri") == uri

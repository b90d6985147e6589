"""A client with a session (up to 2025-11-25) and a server without any (2026-07-28)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, aclosing, asynccontextmanager, suppress
from typing import Any, Final

from routeiq_plugin.errors import BackendError, Conflict, NotFound, Unavailable
from routeiq_plugin.mcp.http.facts import LEVELS, STATELESS, Facts
from routeiq_plugin.mcp.http.lists import KINDS, changed
from routeiq_plugin.mcp.http.messages import Malformed, is_answer, is_asked
from routeiq_plugin.mcp.http.stateless import enveloped, routing_headers
from routeiq_plugin.mcp.http.wire import Wire
from routeiq_plugin.mcp.relay.client_sessions import ClientSession, ClientSessions
from routeiq_plugin.mcp.relay.conversation import Headers
from routeiq_plugin.mcp.relay.streams import until
from routeiq_plugin.mcp.relay.translation import shapes

MOST_ROUNDS: Final = 100
"""How often a server may ask back in the course of one request."""
_FOLLOWED_SECONDS: Final = 5.0
"""How long an answer to `resources/subscribe` waits for the stream that brings the changes."""
_PAUSE_SECONDS: Final = 0.25
"""Before a request is repeated to a server that asks nothing and only wants it repeated."""
_AGAIN_SECONDS: Final = 1.0
"""Before a subscription that the server ended is opened again."""
_LATER_SECONDS: Final = 30.0
"""Before one that it did not grant is asked for again."""

logger = logging.getLogger(__name__)

Json = dict[str, Any]


class Upward:
    """Keeps for the client what the server does not: the session's level, subscriptions, and questions under way."""

    def __init__(self, wire: Wire, sessions: ClientSessions, session: ClientSession) -> None:
        self._wire = wire
        self._sessions = sessions
        self._session = session
        self._follows_version: int | None = None

    async def ask(self, message: Json, headers: Headers) -> AsyncGenerator[Json, None]:
        """Send a request, and ask the client what the server wants to know before it answers."""
        method = message["method"]
        own = self._own(method)
        if own is not None:
            yield {"jsonrpc": "2.0", "id": message["id"], **await own(message.get("params") or {})}
            return
        sent = enveloped(message, self._session.state.facts)
        for _ in range(MOST_ROUNDS):
            answer: Json = {}
            async with aclosing(self._wire.ask(sent, {**headers, **routing_headers(sent)})) as said:
                async for each in said:
                    if is_answer(each):
                        answer = each
                    elif "id" not in each:
                        yield each
            result = answer.get("result")
            if not isinstance(result, dict) or result.get("resultType") != shapes.INPUT_REQUIRED:
                yield shapes.plain(answer)
                return
            answers: dict[str, Json] = {}
            async with aclosing(self._questions(_wanted(result), answers)) as questions:
                async for question in questions:
                    yield question
            refused = next((each["error"] for each in answers.values() if "error" in each), None)
            if refused is not None:
                yield {"jsonrpc": "2.0", "id": message["id"], "error": refused}
                return
            sent = _repeated(sent, {name: each.get("result") for name, each in answers.items()}, result)
        raise BackendError("the MCP server asks back without end")

    async def tell(self, message: Json) -> None:
        """Bring answers and cancellations to where they are waited for; the server has no use for the rest."""
        if is_answer(message):
            await self._sessions.answered(self._session, message)
        elif message.get("method") == "notifications/cancelled":
            await self._sessions.cancel(self._session, message)

    async def listen(self) -> AsyncGenerator[Json, None]:
        """Keep a subscription at the server that fits the session, until the session ends."""
        capabilities = ((await discovered(self._wire, self._session.state.facts)) or {}).get("capabilities") or {}
        async with self._counted(), aclosing(self._listened(capabilities)) as heard:
            self._follows_version = self._session.version
            async for each in heard:
                yield each

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        """Count a stream while it is open, whenever its client leaves."""
        counting = asyncio.ensure_future(self._session.count_listener(1))
        try:
            await asyncio.shield(counting)
            yield
        finally:
            await asyncio.shield(self._uncounted(counting))

    async def _uncounted(self, counting: asyncio.Future[None]) -> None:
        with suppress(NotFound, Conflict, Unavailable):  # who subscribes waits for a moment, then, for nobody
            await counting
            await self._session.count_listener(-1)

    async def _listened(self, capabilities: Json) -> AsyncGenerator[Json, None]:
        while True:
            changed = asyncio.ensure_future(self._sessions.changes(self._session))
            try:
                async with aclosing(self._heard(capabilities, changed)) as heard:
                    async for each in heard:
                        yield each
                await changed
            finally:
                changed.cancel()
                await asyncio.gather(changed, return_exceptions=True)

    async def end(self) -> None:
        """Forget the session; the server never had one."""
        await self._sessions.end(self._session)

    def _own(self, method: str) -> Any:
        return {
            "ping": self._ping,
            "logging/setLevel": self._set_level,
            "resources/subscribe": self._subscribe,
            "resources/unsubscribe": self._unsubscribe,
        }.get(method)

    async def _ping(self, _params: Json) -> Json:
        return {"result": {}}

    async def _set_level(self, params: Json) -> Json:
        if params.get("level") not in LEVELS:
            return _invalid(f"level must be one of {', '.join(LEVELS)}")
        await self._session.set_level(params["level"])
        return {"result": {}}

    async def _subscribe(self, params: Json) -> Json:
        if not isinstance(params.get("uri"), str):
            return _invalid("uri must be text")
        await self._session.subscribe(params["uri"])
        await self._followed()
        return {"result": {}}

    async def _unsubscribe(self, params: Json) -> Json:
        if not isinstance(params.get("uri"), str):
            return _invalid("uri must be text")
        await self._session.unsubscribe(params["uri"])
        await self._followed()
        return {"result": {}}

    async def _questions(self, wanted: Mapping[str, Any], answers: dict[str, Json]) -> AsyncGenerator[Json, None]:
        """Yield the server's questions as requests to the client, then wait for all answers."""
        if not wanted:
            await asyncio.sleep(_PAUSE_SECONDS)
            return
        with ExitStack() as stack:
            letters = {}
            for name, request in wanted.items():
                question = self._session.question()
                waiting = self._sessions.mailbox.waiting(self._session.letter(question))
                letters[name] = stack.enter_context(waiting)
                yield shapes.question(request, question)
            for name, letter in letters.items():
                answers[name] = dict(await letter)

    async def _heard(self, capabilities: Json, changed: asyncio.Future[None]) -> AsyncGenerator[Json, None]:
        """Yield what one subscription brings, until the session changes."""
        state, version = self._session.state, self._session.version
        wanted = shapes.listening(capabilities, list(state.subscriptions))
        if not wanted:
            await self._follows(version)
            await asyncio.wait({changed})
            return
        request = {"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": {"notifications": wanted}}
        sent = enveloped(request, state.facts)
        acknowledged = False
        async with aclosing(until(changed, self._wire.ask(sent, routing_headers(sent)))) as stream:
            try:
                async for message in stream:
                    if message.get("method") == "notifications/subscriptions/acknowledged":
                        acknowledged = True
                        await self._follows(version)
                    elif not is_answer(message):
                        yield shapes.unsubscribed(message)
            except BackendError as ended:
                logger.debug("routeiq: an MCP server ended a subscription (%s)", ended)
        if changed.done():
            return
        await asyncio.wait({changed}, timeout=_AGAIN_SECONDS if acknowledged else _LATER_SECONDS)
        if acknowledged:
            for each in _all_changed(wanted):  # nobody knows what was missed
                yield each

    async def _followed(self) -> None:
        """Wait until the session's open stream, if there is one, is of what the session now wants."""
        if self._session.state.listeners:
            letter = self._session.followed(self._session.version)
            try:
                async with asyncio.timeout(_FOLLOWED_SECONDS):
                    await self._sessions.mailbox.receive(letter)
            except TimeoutError:
                logger.debug("routeiq: a stream does not follow its session")

    async def _follows(self, version: int) -> None:
        """Let those go on who wait for that."""
        before = version if self._follows_version is None else self._follows_version
        self._follows_version = version
        for each in range(before + 1, version + 1):
            await self._sessions.mailbox.post(self._session.followed(each), {})


async def discovered(wire: Wire, facts: Facts) -> Json | None:
    """Ask a server whether it does without sessions; returns its `server/discover` result, None where it does not.

    Raises `BackendError` when it cannot be reached.
    """
    sent = enveloped({"jsonrpc": "2.0", "id": 1, "method": "server/discover"}, facts)
    reply = await wire.once(sent, routing_headers(sent))
    result = (reply.message or {}).get("result")
    versions = result.get("supportedVersions") if isinstance(result, dict) else None
    if not isinstance(versions, list) or STATELESS not in versions:
        return None
    shapes.require_introduction(result)
    return result


def _wanted(result: Mapping[str, Any]) -> Mapping[str, Json]:
    wanted = result.get("inputRequests") or {}
    if not isinstance(wanted, dict) or not all(is_asked(each) for each in wanted.values()):
        raise Malformed
    return wanted


def _repeated(sent: Json, answers: Mapping[str, Any], result: Mapping[str, Any]) -> Json:
    params = {name: value for name, value in sent["params"].items() if name != "requestState"}
    params |= {"inputResponses": answers} if answers else {}
    params |= {"requestState": result["requestState"]} if result.get("requestState") is not None else {}
    return {**sent, "params": params}


def _all_changed(wanted: Mapping[str, Any]) -> Iterator[Json]:
    for kind in KINDS:
        if wanted.get(f"{kind}ListChanged"):
            yield changed(kind)


def _invalid(message: str) -> Json:
    return {"error": {"code": -32602, "message": message}}

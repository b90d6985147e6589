"""Calls of tools on a pooled session over HTTP: one message each, past the SDK's streams, which cost as much again."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any, Final

from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from routeiq_plugin._version import __version__
from routeiq_plugin.errors import BackendError, BackendTimeout
from routeiq_plugin.mcp.credentials import Credential
from routeiq_plugin.mcp.failures import answered
from routeiq_plugin.mcp.http.carrier import SESSION, Carrier
from routeiq_plugin.mcp.http.facts import STATELESS, Facts
from routeiq_plugin.mcp.http.lists import CHANGES
from routeiq_plugin.mcp.http.stateless import enveloped, mirrored, routing_headers
from routeiq_plugin.mcp.http.wire import VERSION, Wire, is_answer, unheard
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.outbound.headers import added

FIRST_ID: Final = 1_000_000_000
"""The SDK counts its own ids on the same session from nought."""

_FACTS: Final = Facts(STATELESS, {"name": "routeiq-plugin", "version": __version__})
_INITIALIZED: Final = b'"notifications/initialized"'

Json = dict[str, Any]
Headers = Mapping[str, str]


class Posts:
    """Sends calls beside the SDK, which opens the session, lists what there is, and closes it."""

    def __init__(
        self, carrier: Carrier, server: Server, headers: Headers, seconds: float, changed: Callable[[str], None]
    ) -> None:
        """`seconds` is the longest silence of the server; `changed` hears which of its lists it says has changed."""
        self._carrier = carrier
        self._server = server
        self._seconds = seconds
        self._changed = changed
        self._shown: dict[str, str] = {}
        self._session: str | None = None
        self._is_introduced = asyncio.Event()
        self._ids = itertools.count(FIRST_ID)
        self.show(headers)

    def show(self, headers: Headers) -> None:
        """Send these headers from now on."""
        self._shown |= _lowered(headers)

    async def hear(self, response: Any) -> None:
        """Learn of the session from each response (`httpx2.Response`) that the SDK gets."""
        request = response.request
        if SESSION not in request.headers:
            self._session = response.headers.get(SESSION, self._session)
        if not self._is_introduced.is_set() and request.method == "POST" and _INITIALIZED in request.content:
            self._is_introduced.set()

    async def call(self, version: str | None, params: Json, input_schema: Mapping[str, Any]) -> Json:
        """Call a tool in the agreed version and return its result.

        Raises:
            SessionLost: the server has forgotten the session, and did nothing.
            ServerRefused: it answered with an error.
            BackendError: it, or the way to it, failed; the call may have been carried out.
        """
        message: Json = {"jsonrpc": "2.0", "id": next(self._ids), "method": "tools/call", "params": params}
        if version in MODERN_PROTOCOL_VERSIONS:
            message = enveloped(message, _FACTS)
            headers = {**routing_headers(message), **mirrored(message, input_schema)}
            return _result(await self._answer(message, headers))
        await self._is_introduced.wait()
        headers = {VERSION: str(version)} | ({} if self._session is None else {SESSION: self._session})
        return {**_result(await self._cancellable(message, headers)), "resultType": "complete"}

    async def _cancellable(self, message: Json, headers: Headers) -> Json:
        """Ask a server that goes on working unless it is told that nobody waits any more."""
        is_over = False
        try:
            answer = await self._answer(message, headers)
            is_over = True
        except BackendTimeout:
            raise
        except BackendError:
            is_over = True
            raise
        finally:
            if not is_over:
                await asyncio.shield(self._wire().cancel(message["id"], headers))
        return answer

    async def _answer(self, message: Json, headers: Headers) -> Json:
        wire = self._wire()
        async with aclosing(wire.ask(message, headers)) as said:
            async for each in said:
                if is_answer(each):
                    return each
                if "id" in each:
                    with suppress(BackendError):  # what becomes of the call is told on its own stream
                        await wire.tell(unheard(each), headers)
                elif each["method"] in CHANGES:
                    self._changed(CHANGES[each["method"]])
        raise BackendError("the backend ended the stream without a result")

    def _wire(self) -> Wire:
        # Who is told of a credential that was refused is the pool, for all transports alike.
        shown = Credential("", {**self._shown, **_lowered(added.get() or {})})
        return Wire(self._carrier, self._server, shown, self._seconds)


def _lowered(headers: Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _result(answer: Json) -> Json:
    error = answer.get("error")
    if error is not None:
        raise answered(error["code"], error["message"])
    return {"resultType": "complete", **answer["result"]}

"""One session with an MCP server, kept in a task of its own: the SDK's part of the gateway, loaded when first needed.

The SDK's contexts hold cancel scopes, which belong to the task that entered them; requests come from any task.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

import mcp_types as types
from mcp import ClientSession
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost, listen
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from routeiq_plugin._version import __version__
from routeiq_plugin.errors import AddressRefused, BackendError, BackendTimeout, RouteIQError, Unavailable
from routeiq_plugin.mcp.failures import NotCarriedOut, ServerRefused
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.posts import Posts
from routeiq_plugin.mcp.stderr import Stderr
from routeiq_plugin.outbound import Clients, backend_error
from routeiq_plugin.outbound.answering2 import fault_of
from routeiq_plugin.outbound.faults import Fault, Reach

logger = logging.getLogger(__name__)

T = TypeVar("T")

OPEN_SECONDS: Final = 30.0
"""Longest time to connect and to agree on a version."""
CLOSE_SECONDS: Final = 5.0
"""Longest time for a farewell (DELETE, a process that ends by itself); after that the session is dropped."""

Changed = Callable[[str], None]
"""Hears which list of a server changed: tools, resources or prompts."""

_LISTS: Final[Mapping[type[Any], str]] = {
    types.ToolListChangedNotification: "tools",
    types.ResourceListChangedNotification: "resources",
    types.PromptListChangedNotification: "prompts",
}


@dataclass(frozen=True, slots=True)
class Session:
    """What a request is sent through."""

    client: ClientSession
    posts: Posts | None
    """Where the transport is streamable HTTP."""


Request = Callable[[Session], Awaitable[T]]
"""Sends one request and returns its result."""


class Upstream:
    """A session that many calls share; made by `http`, `sse` or `stdio`, and connecting from then on."""

    def __init__(self, changed: Changed) -> None:
        self.opened_at = self.used_at = time.monotonic()
        self.in_flight = 0
        self.retired = False
        self._gives_up_on_silence = False
        self._changed = changed
        self._client: Any = None
        self._posts: Posts | None = None
        self._fault: Fault | None = None
        self._closing = asyncio.Event()
        self._ready: asyncio.Future[Session] = asyncio.get_running_loop().create_future()
        self._ready.add_done_callback(_retrieved)
        self._task: asyncio.Task[None]

    def _begin(self, streams: AbstractAsyncContextManager[Any], client: Any = None) -> Self:
        self._client = client
        self._task = asyncio.create_task(self._run(streams), name="routeiq mcp session")
        return self

    @classmethod
    def http(
        cls, clients: Clients, server: Server, headers: Mapping[str, str], seconds: float, changed: Changed
    ) -> Self:
        """Begin a session over streamable HTTP."""
        client = clients.session_client(headers, seconds=seconds)
        upstream = cls(changed)
        upstream._posts = Posts(client, server.url or "", changed)
        client.event_hooks = {"response": [upstream._posts.hear]}
        streams = streamable_http_client(server.url or "", http_client=client, max_sse_event_size=None)
        return upstream._begin(streams, client)

    @classmethod
    def sse(
        cls, clients: Clients, server: Server, headers: Mapping[str, str], seconds: float, changed: Changed
    ) -> Self:
        """Begin a session over HTTP with SSE, the transport of 2024-11-05."""
        upstream = cls(changed)
        upstream._gives_up_on_silence = True  # messages go out one after the other, and one may be stuck
        client = clients.session_client(headers, seconds=seconds, broken=upstream.fail)

        def same_client(*_: Any, **__: Any) -> Any:
            return client

        streams = sse_client(server.url or "", httpx_client_factory=same_client)
        return upstream._begin(streams, client)

    @classmethod
    def stdio(cls, server: Server, changed: Changed) -> Self:
        """Begin a session with a process of its own; it sees the row's environment and the SDK's harmless basics."""
        fields = server.fields
        parameters = StdioServerParameters(
            command=str(fields.get("command") or ""),
            args=[str(each) for each in fields.get("args") or ()],
            env={str(name): str(value) for name, value in (fields.get("env") or {}).items()},
        )
        return cls(changed)._begin(_process(parameters, server.name))

    @property
    def is_alive(self) -> bool:
        """Tell whether a request may be sent, or the session is still being opened."""
        return not (self.retired or self._closing.is_set() or self._task.done())

    def show(self, headers: Mapping[str, str]) -> None:
        """Send these headers from now on: a token was renewed."""
        if self._client is not None:
            self._client.headers.update(headers)

    def fail(self, fault: Fault) -> None:
        """End the session because of a request whose answer would have come on another connection."""
        self._fault = fault
        self._closing.set()

    async def request(self, send: Request[T], seconds: float) -> T:
        """Send a request and wait for its result.

        Raises:
            NotCarriedOut: nothing was done, because the server has forgotten the session.
            ServerRefused: the server answered with an error.
                BackendError: the server, or the way to it, failed; the request may have been carried out.
        """
        self.in_flight += 1
        task = asyncio.create_task(self._sent(send))
        task.add_done_callback(self._ended)
        try:
            # Not a timeout around the task: giving up takes the SDK as long as telling the server of it does.
            await asyncio.wait({task}, timeout=seconds)
        finally:
            task.cancel()
        if not task.done():
            self.retired = self.retired or self._gives_up_on_silence
            raise BackendTimeout("the backend did not answer in time")
        if task.cancelled():
            raise BackendError("the connection to the backend was lost")
        return task.result()

    async def _sent(self, send: Request[T]) -> T:
        try:
            return await send(await asyncio.shield(self._ready))
        except MCPError as error:
            raise self._translated(error) from None
        except ValidationError:
            raise BackendError("the backend's answer is not what the protocol says it must be") from None

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.in_flight -= 1
        self.used_at = time.monotonic()
        if not task.cancelled():
            task.exception()

    async def aclose(self) -> None:
        """Say goodbye within `CLOSE_SECONDS`, then drop the connection; calls in flight fail."""
        if self._posts is not None:
            await self._posts.aclose()
        self._closing.set()
        done, _ = await asyncio.wait({self._task}, timeout=CLOSE_SECONDS)
        if not done:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CLOSE_SECONDS)

    def _translated(self, error: MCPError) -> RouteIQError:
        fault = fault_of(error.code, error.data)
        if error.code == types.CONNECTION_CLOSED:
            self.retired = True
            fault = self._fault or Fault("the connection to the backend was lost")
        if fault is None:
            return _answered(error)
        if fault.reach is Reach.NO_SESSION:
            self.retired = True
            return NotCarriedOut(BackendError("the backend has forgotten the session"))
        return fault.error

    def _of_opening(self, error: BaseException) -> RouteIQError:
        """Find what kept a session from being opened; the SDK's task groups wrap it."""
        for leaf in _leaves(error):
            if isinstance(leaf, MCPError):
                return self._translated(leaf)
            if isinstance(leaf, AddressRefused):
                return BackendError(leaf.detail)  # the admin's input, not this caller's
            if isinstance(leaf, RouteIQError):
                return leaf
        return backend_error(error) if isinstance(error, Exception) else BackendError("the call to the backend failed")

    async def _run(self, streams: AbstractAsyncContextManager[Any]) -> None:
        too_slow = asyncio.get_running_loop().call_later(OPEN_SECONDS, self._give_up)
        try:
            async with AsyncExitStack() as stack:
                read, write = await stack.enter_async_context(streams)
                dispatcher = _Dispatcher(read, write, self._closing.set)
                client = await stack.enter_async_context(
                    ClientSession(dispatcher=dispatcher, message_handler=self._heard, client_info=_INFO)
                )
                await _agree(client)
                too_slow.cancel()
                if not self._ready.done():
                    self._ready.set_result(Session(client, self._posts))
                listening = asyncio.create_task(self._listen(client))
                try:
                    await self._closing.wait()
                finally:
                    listening.cancel()
        except asyncio.CancelledError:
            self._failed(Unavailable("the session with the backend was dropped"))
            raise
        except OSError:
            self._failed(BackendError("the MCP server's process could not be started"))
        except BaseException as error:
            logger.debug("routeiq: an MCP session ended", exc_info=True)
            self._failed(self._of_opening(error))
        finally:
            too_slow.cancel()
            self._closing.set()
            self._failed(BackendError("the connection to the backend was lost"))

    def _give_up(self) -> None:
        self._failed(BackendTimeout("the backend did not open a session in time"))
        self._task.cancel()

    def _failed(self, error: RouteIQError) -> None:
        if not self._ready.done():
            self._ready.set_exception(error.error if isinstance(error, NotCarriedOut) else error)

    async def _heard(self, message: Any) -> None:
        changed = _LISTS.get(type(message))
        if changed is not None:
            self._changed(changed)

    async def _listen(self, client: ClientSession) -> None:
        """Ask a server without sessions to say what changes; where it ends, the lists' age decides alone."""
        capabilities = client.server_capabilities
        if client.protocol_version not in MODERN_PROTOCOL_VERSIONS or capabilities is None:
            return
        tools, resources, prompts = (
            bool(getattr(getattr(capabilities, kind), "list_changed", False)) for kind in _LISTS.values()
        )
        if not (tools or resources or prompts):
            return
        try:
            async with listen(
                client, tools_list_changed=tools, resources_list_changed=resources, prompts_list_changed=prompts
            ) as changes:
                async for change in changes:
                    self._changed(type(change).__name__.removesuffix("ListChanged").lower())
        except (MCPError, SubscriptionLost, RuntimeError, TimeoutError) as ended:
            logger.debug("routeiq: an MCP server no longer tells what changes (%s)", type(ended).__name__)
        for kind in _LISTS.values():
            self._changed(kind)


class _Dispatcher(JSONRPCDispatcher[Any]):
    """Tells when the connection has ended, and takes results that lack the type which 2026-07-28 asks for."""

    def __init__(self, read: Any, write: Any, ended: Callable[[], None]) -> None:
        super().__init__(read, write)
        self._ended = ended

    async def run(self, *handlers: Any, **options: Any) -> None:
        """Serve until the connection ends."""
        try:
            await super().run(*handlers, **options)
        finally:
            self._ended()

    async def send_raw_request(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        opts: CallOptions | None = None,
        **related: Any,
    ) -> dict[str, Any]:
        """Send, and complete the result."""
        result = await super().send_raw_request(method, params, opts, **related)
        result.setdefault("resultType", "complete")
        return result


_INFO: Final = types.Implementation(name="routeiq-plugin", version=__version__)


def _answered(error: MCPError) -> RouteIQError:
    """Word an error that the server, or the SDK in its name, answered with."""
    if error.code == types.PARSE_ERROR:
        return BackendError("the backend's answer is not what the protocol says it must be")
    if error.code == types.REQUEST_TIMEOUT:
        return BackendTimeout("the backend did not answer in time")
    if error.code == types.INVALID_REQUEST:  # the SDK's own words, where it is its own, hold addresses
        return ServerRefused(error.code, "the backend finds the request invalid")
    return ServerRefused(error.code, error.message)


async def _agree(client: ClientSession) -> None:
    """Agree on a protocol version: ask as 2026-07-28 does, and shake hands where that is not understood.

    What the SDK's `Client(mode="auto")` does, whose policy is not public.
    """
    try:
        await client.discover()
    except MCPError as error:
        fault = fault_of(error.code, error.data)
        if error.code == types.CONNECTION_CLOSED or (fault is not None and fault.status is None):
            raise
        await client.initialize()
    except (RuntimeError, ValidationError):
        await client.initialize()


@asynccontextmanager
async def _process(parameters: StdioServerParameters, name: str) -> AsyncIterator[Any]:
    with Stderr(name, parameters.env or {}) as stderr:
        async with stdio_client(parameters, errlog=stderr.file) as streams:
            yield streams


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _leaves(each)]
    return [error]


def _retrieved(ready: asyncio.Future[Session]) -> None:
    """Nobody may be waiting any more: an exception is not for the loop's log."""
    if not ready.cancelled():
        ready.exception()

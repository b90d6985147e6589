"""The health check's own way to a server: one short session of the MCP SDK over the guarded clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, Protocol

from routeiq_plugin.mcp.health import Probe, StockHealth
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.static_credentials import own_headers
from routeiq_plugin.outbound import backend_error

_REFUSED: Final = (401, 403)
_FAILED: Final = 400


class ClientFactory(Protocol):
    """Makes clients that call vetted addresses only."""

    def httpx2_client(self, headers: Mapping[str, str] | None = None) -> Any:
        """Make a client (`httpx2.AsyncClient`) that sends these headers with each request."""
        ...


class SessionProber:
    """Opens a session (`initialize`), and closes it; processes are LiteLLM's to start."""

    def __init__(self, clients: ClientFactory, stock: StockHealth) -> None:
        self._clients = clients
        self._stock = stock

    async def probe(self, server: Server, *, seconds: float) -> Probe:
        """Ask a server for its `initialize` answer; never raises but for a cancellation."""
        started = time.perf_counter()
        failed: list[int] = []
        try:
            async with asyncio.timeout(seconds):
                if server.transport == "stdio":
                    status, error = await self._stock(server.server_id)
                    return Probe(_since(started), None if status == "healthy" else error or status)
                await self._initialize(server, failed)
        except Exception as failure:  # noqa: BLE001  whatever kept it from answering, it is not well
            if failed and failed[-1] in _REFUSED and _needs_own_login(server):
                return Probe(_since(started), wants_login=True)
            return Probe(error=_told(failure, failed, seconds))
        return Probe(_since(started))

    async def _initialize(self, server: Server, failed: list[int]) -> None:
        """Open a session; `failed` takes the statuses of what was refused, which the SDK keeps to itself."""
        from mcp.client.session import ClientSession

        client = self._clients.httpx2_client(own_headers(server))

        async def note(response: Any) -> None:
            opens = server.transport == "sse" or response.request.method == "POST"
            if opens and response.status_code >= _FAILED:
                failed.append(response.status_code)

        client.event_hooks["response"].append(note)
        async with AsyncExitStack() as stack:
            if server.transport != "sse":  # there the SDK enters it
                await stack.enter_async_context(client)
            read, write = await stack.enter_async_context(_transport(server, client))
            session = await stack.enter_async_context(ClientSession(read, write))
            await session.initialize()


def _transport(server: Server, client: Any) -> Any:
    url = str(server.url)
    if server.transport == "sse":
        from mcp.client.sse import sse_client

        def same_client(*_: Any, **__: Any) -> Any:
            return client

        return sse_client(url, httpx_client_factory=same_client)
    from mcp.client.streamable_http import streamable_http_client

    return streamable_http_client(url, http_client=client)


def _needs_own_login(server: Server) -> bool:
    """Tell whether the gateway itself has nothing to present, so that a refusal is a sign of life."""
    return server.auth_type != "none" and not server.credentials.get("auth_value")


def _told(failure: BaseException, failed: list[int], seconds: float) -> str:
    """Say what went wrong without any address."""
    if isinstance(failure, TimeoutError):
        return f"no answer within {seconds:g} seconds"
    if failed and failed[-1] in _REFUSED:
        return f"the server refused the gateway's credentials (HTTP {failed[-1]})"
    if failed:
        return f"the server answered with HTTP status {failed[-1]}"
    return str(backend_error(failure).detail)


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000

"""The relay's way to a server: one HTTP request there for each that comes, over the guarded pool."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from routeiq_plugin.errors import AddressRefused, BackendError, BackendRefused, RouteIQError
from routeiq_plugin.mcp.credentials import Credential
from routeiq_plugin.mcp.http.silence import silent
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.outbound import ANSWERED, Clients, backend_error, is_lost

SESSION: Final = "mcp-session-id"
PASSED_ON: Final = ("accept", "mcp-method", "mcp-name", "mcp-protocol-version")
"""Headers of a client that describe its message, and so are the server's to read."""
PARAMETERS: Final = "mcp-param-"
"""Begins headers that repeat arguments of a call (2026-07-28)."""

_HARMLESS: Final = frozenset(
    {
        "initialize",
        "server/discover",
        "ping",
        "tools/list",
        "prompts/list",
        "prompts/get",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "completion/complete",
        "notifications/initialized",
    }
)
_REFUSED: Final = (401, 403)
_REDIRECTS: Final = range(300, 400)
_FAILED: Final = 500


class Carrier:
    """Sends requests; one per worker."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._client: Any = None

    async def send(
        self,
        method: str,
        server: Server,
        credential: Credential,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        seconds: float | None,
        answered: asyncio.Event | None = None,
        is_repeatable: bool = False,
    ) -> Any:
        """Send and return the answer (`httpx2.Response`) with its body unread; the caller closes it.

        What it closes after it has set `answered` is read to its end, so that the connection serves again. What is
        repeatable is sent once more where the connection is lost before the answer: one that was kept may be closed by
        its server just when it is used again.

        Raises:
            BackendTimeout: it does not begin to answer within `seconds`.
            BackendRefused: the server does not take our credential (401, 403).
            BackendError: it redirects, fails (5xx), or cannot be reached.
        """
        if self._client is None:
            self._client = self._clients.relaying_client()
        # Events may be far apart: where messages are streamed silence is no failure.
        told = {"timeout": {**self._client.timeout.as_dict(), "read": None}, ANSWERED: answered}
        described = {**headers, "content-type": "application/json"} if body is not None else headers
        request = self._client.build_request(
            method, server.url, content=body, headers=_together(credential.headers, described), extensions=told
        )
        try:
            async with asyncio.timeout(seconds):
                response = await self._sent(request, is_repeatable)
        except AddressRefused as refused:
            raise BackendError(refused.detail) from None  # the admin's input, not this caller's
        except RouteIQError:
            raise
        except TimeoutError:
            raise silent(seconds) from None
        except Exception as failure:
            raise backend_error(failure) from failure
        status = response.status_code
        if status in _REFUSED or status in _REDIRECTS or status >= _FAILED:
            await response.aclose()
            await self._failed(status, credential)
        return response

    async def _sent(self, request: Any, is_repeatable: bool) -> Any:
        try:
            return await self._client.send(request, stream=True)
        except Exception as failure:
            if not is_repeatable or not is_lost(failure):
                raise
        return await self._client.send(request, stream=True)

    async def aclose(self) -> None:
        """Wait for the end of no answer any longer."""
        if self._client is not None:
            await self._client.aclose()

    async def _failed(self, status: int, credential: Credential) -> None:
        if status in _REFUSED:
            if status == _REFUSED[0] and credential.on_refusal is not None:
                await credential.on_refusal()
            raise BackendRefused("the MCP server does not accept the gateway's credential", status)
        raise BackendError(f"the MCP server answered with HTTP status {status}")


def is_repeatable(message: Any) -> bool:
    """Tell whether it does no harm that a server gets a message twice: one that only asks, or begins a session."""
    return isinstance(message, dict) and message.get("method") in _HARMLESS


def _together(shown: Mapping[str, str], described: Mapping[str, str]) -> dict[bytes, bytes]:
    """Join what the server is shown of us with what describes the message, which goes first; hooks may say anything."""
    lowered = {name.lower(): value for name, value in (*shown.items(), *described.items())}
    return {name.encode(): value.encode() for name, value in lowered.items()}


def passed_on(incoming: Mapping[str, str]) -> dict[str, str]:
    """Choose the client's headers that the server gets."""
    return {name: value for name, value in incoming.items() if name in PASSED_ON or name.startswith(PARAMETERS)}

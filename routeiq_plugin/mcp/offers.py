"""What the servers of a caller offer, asked of all at once: one that fails costs its own part of the answer only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from routeiq_plugin.errors import (
    BackendError,
    BackendRefused,
    BackendTimeout,
    InvalidRequest,
    LoginRequired,
    RouteIQError,
    Unavailable,
)
from routeiq_plugin.host import mcp_calls, mcp_names
from routeiq_plugin.host.auth import Caller
from routeiq_plugin.mcp.access import Action
from routeiq_plugin.mcp.catalog import TTL_SECONDS, Catalog, Offer
from routeiq_plugin.mcp.credentials import Credential, Credentials
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.service import McpGateway
from routeiq_plugin.mcp.sessions import Sessions

AT_ONCE: Final = 16
"""Servers that one request asks at the same time."""
LIST_SECONDS: Final = 30.0
"""Longest wait for one server's list; less where its calls may take less."""

DELEGATED: Final = frozenset({"aws_sigv4"})
"""Kinds of `auth_type` for which LiteLLM makes the connection: each request is signed."""
REFUSED: Final = frozenset({"oauth2_token_exchange", "oauth2_id_jag", "true_passthrough", "oauth_delegate"})
"""Kinds that need the caller's own `Authorization`, which these paths never pass on."""

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks, and with which headers (names in lower case)."""

    caller: Caller
    incoming: Headers


@dataclass(frozen=True, slots=True)
class ServerOffer:
    """What one server offers, or why that is not known."""

    server: Server
    items: Sequence[Any] = ()
    error: RouteIQError | None = None

    def named(self, name: str) -> Any | None:
        """Find a tool or prompt by the server's own name for it."""
        return next((each for each in self.items if each.name == name), None)

    @property
    def outcome(self) -> Mapping[str, Any]:
        """LiteLLM's words for it (`outcome_wire_value`): a category and no more."""
        if self.error is None:
            return {"status": "ok", "tool_count": len(self.items)}
        for kind, status in _CATEGORIES:
            if isinstance(self.error, kind):
                return {"status": status}
        return {"status": "internal"}


_CATEGORIES: Final[Sequence[tuple[type[RouteIQError], str]]] = (
    (LoginRequired, "auth_required"),
    (BackendRefused, "auth_required"),
    (BackendTimeout, "timeout"),
    (BackendError, "unreachable"),
    (Unavailable, "unreachable"),
    (InvalidRequest, "internal"),
)


class Offers:
    """Finds servers, their credentials and their lists for a caller."""

    def __init__(
        self,
        gateway: McpGateway,
        sessions: Sessions,
        catalog: Catalog,
        credentials: Credentials,
        *,
        key_header: Callable[[], str | None],
    ) -> None:
        self.gateway = gateway
        self.sessions = sessions
        self.catalog = catalog
        self.integrity = gateway.integrity
        self._credentials = credentials
        self._key_header = key_header

    def asked(self, caller: Caller, headers: Headers) -> Asked:
        """Describe a request, without the header that the operator chose for LiteLLM keys."""
        key = self._key_header()
        return Asked(caller, {name.lower(): value for name, value in headers.items() if name.lower() != key})

    async def servers(self, asked: Asked, reference: str | None) -> Sequence[Server]:
        """Return the one that is named, or all that the caller may use; raises as `McpGateway.get`."""
        if reference is not None:
            return (await self.gateway.get(asked.caller, reference, Action.USE),)
        return await self.gateway.visible(asked.caller)

    async def credential(self, asked: Asked, server: Server) -> Credential:
        """Return what to show a server; raises `Unavailable` for one that cannot be called."""
        if server.unreadable:
            raise Unavailable(
                f"MCP server '{server.name}' was sealed with another key; see `routeiq secrets rotate`", 60
            )
        if server.auth_type in REFUSED:
            raise InvalidRequest(
                f"MCP server '{server.name}' takes the caller's own Authorization ({server.auth_type}), which is not "
                "passed on here; use LiteLLM's /mcp-rest/tools/call or the MCP endpoint"
            )
        return await self._credentials.of(server, asked.caller, asked.incoming)

    async def of(self, asked: Asked, server: Server, offer: Offer, *, max_age: float = TTL_SECONDS) -> Sequence[Any]:
        """Return one server's list; raises what keeps it from being known."""
        if is_delegated(server):
            return await self._delegated(asked, server, offer)
        credential = await self.credential(asked, server)
        items = await self.catalog.list(server, credential, offer, max_age=max_age)
        if offer is Offer.TOOLS:
            self.integrity.noticed(server, items)
        return items

    async def gather(
        self, asked: Asked, servers: Sequence[Server], offer: Offer, *, max_age: float = TTL_SECONDS
    ) -> Sequence[ServerOffer]:
        """Ask every server, some at a time, and say of each what came of it."""
        places = asyncio.Semaphore(AT_ONCE)

        async def ask(server: Server) -> ServerOffer:
            async with places:
                return await self._asked_of(asked, server, offer, max_age)

        return await asyncio.gather(*(ask(server) for server in servers))

    async def _asked_of(self, asked: Asked, server: Server, offer: Offer, max_age: float) -> ServerOffer:
        seconds = min(LIST_SECONDS, self.sessions.policy.seconds(server))
        try:
            async with asyncio.timeout(seconds):
                return ServerOffer(server, await self.of(asked, server, offer, max_age=max_age))
        except TimeoutError:
            return ServerOffer(server, error=BackendTimeout("the backend did not answer in time"))
        except RouteIQError as error:
            return ServerOffer(server, error=error)

    async def _delegated(self, asked: Asked, server: Server, offer: Offer) -> Sequence[Any]:
        if offer is not Offer.TOOLS:
            return ()
        return await mcp_calls.listed(server.server_id, asked.caller, asked.incoming)


def is_delegated(server: Server) -> bool:
    """Tell whether LiteLLM calls it, not we: its tools are made of an OpenAPI document, or its requests are signed."""
    return server.is_openapi or server.auth_type in DELEGATED


def prefix_of(server: Server) -> str:
    """Return what stands before its names in lists over all servers."""
    return mcp_names.prefix(server.server_id, server.fields)


def without_prefix(server: Server, name: str) -> str | None:
    """Return a name without the server's prefix; None where it does not begin with it."""
    prefix = prefix_of(server)
    return name.removeprefix(prefix) if name.startswith(prefix) and name != prefix else None


def described(server: Server) -> Mapping[str, Any]:
    """Say whose something is, as LiteLLM's REST lists do."""
    info = server.fields.get("mcp_info") or {}
    return {**info, "server_id": server.server_id, "alias": server.fields.get("alias")}


def server_named(fields: Mapping[str, Any]) -> str | None:
    """Read which server a request's body names, by id, alias or name; raises `InvalidRequest`."""
    for named in (fields.get("server_id"), fields.get("server_name")):
        if named is None:
            continue
        if not isinstance(named, str):
            raise InvalidRequest(
                {"error": "invalid_request", "message": "server_id must be text", "field": "server_id"}
            )
        if named:
            return named
    return None

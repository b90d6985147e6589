"""Clients that register with the gateway to log users in through it (RFC 7591): public ones, bound to their owner."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from routeiq_plugin.host.requests import Author
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.oauth import redirects
from routeiq_plugin.mcp.oauth.refusals import OAuthRefused
from routeiq_plugin.store.audit import AuditEntry
from routeiq_plugin.store.oauth_flows import Flow, Quota, Stage

LIFETIME: Final = timedelta(days=30)
QUOTA: Final = Quota(alive=50, recent=10, window=timedelta(minutes=1), lifetime=LIFETIME)
"""Per owner and server."""
MOST_REDIRECTS: Final = 5
LONGEST_NAME: Final = 200
_GRANTS: Final = frozenset({"authorization_code", "refresh_token"})


class ClientsAtRest(Protocol):
    """Registered clients at rest; `store.oauth_flows.FlowStore` is one."""

    async def register(self, flow: Flow, quota: Quota, now: datetime, audit: AuditEntry) -> None:
        """Store a client; raises `TooManyRequests`."""
        ...

    async def get(self, flow_id: str, stage: Stage, now: datetime) -> Flow | None:
        """Return what has not expired."""
        ...


@dataclass(frozen=True, slots=True)
class RegisteredClient:
    """What a client registered with."""

    client_id: str
    redirect_uris: tuple[str, ...]
    """Empty for one that named none: it may be answered on our own origin and on loopback."""


@dataclass(frozen=True, slots=True)
class ClientRegistry:
    """Registers clients and knows them again."""

    store: ClientsAtRest

    async def register(self, server: Server, owner: str, body: Any, author: Author) -> dict[str, Any]:
        """Register a client for one owner at one server, and return the answer of RFC 7591 section 3.2.1.

        Raises `OAuthRefused` naming what is wrong, and `TooManyRequests`.
        """
        if not isinstance(body, Mapping):
            raise OAuthRefused("invalid_client_metadata", "send a JSON object")
        uris = _redirect_uris(body.get("redirect_uris"))
        name = _name(body.get("client_name"))
        grants = _grant_types(body.get("grant_types"))
        if body.get("response_types") not in (None, [], ["code"]):
            raise OAuthRefused("invalid_client_metadata", 'response_types: only "code" is supported')
        client_id = f"riq-{secrets.token_urlsafe(24)}"
        now = datetime.now(UTC)
        flow = Flow(
            flow_id=client_id,
            stage=Stage.CLIENT,
            server_id=server.server_id,
            owner=owner,
            expires_at=now + LIFETIME,
            payload={"redirect_uris": list(uris), "client_name": name},
        )
        entry = AuditEntry(
            actor=author.actor,
            action="mcp.oauth.client",
            object_kind="mcp_server",
            object_id=server.server_id,
            request_id=author.request_id,
            details={"client_id": client_id, "client_name": name, "redirect_uris": list(uris)},
        )
        await self.store.register(flow, QUOTA, now, entry)
        return {
            "client_id": client_id,
            "client_id_issued_at": int(time.time()),
            "redirect_uris": list(uris),
            "grant_types": grants,
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            **({"client_name": name} if name else {}),
        }

    async def find(self, client_id: str, server: Server, owner: str) -> RegisteredClient | None:
        """Return a client that this owner registered at this server."""
        flow = await self.store.get(client_id, Stage.CLIENT, datetime.now(UTC))
        if flow is None or flow.owner != owner or flow.server_id != server.server_id:
            return None
        return RegisteredClient(client_id, tuple(flow.payload.get("redirect_uris") or ()))


def _redirect_uris(given: Any) -> tuple[str, ...]:
    if given is None:
        return ()
    if not isinstance(given, list) or not all(isinstance(uri, str) for uri in given):
        raise OAuthRefused("invalid_redirect_uri", "redirect_uris: send a list of URLs")
    if not 0 < len(given) <= MOST_REDIRECTS:
        raise OAuthRefused("invalid_redirect_uri", f"redirect_uris: name 1 to {MOST_REDIRECTS}")
    for uri in given:
        redirects.require_usable(uri)
    return tuple(given)


def _name(given: Any) -> str:
    if given is None:
        return ""
    if not isinstance(given, str) or len(given) > LONGEST_NAME or not (given.isprintable() or not given):
        raise OAuthRefused("invalid_client_metadata", f"client_name: use at most {LONGEST_NAME} printable characters")
    return given


def _grant_types(given: Any) -> list[str]:
    if not given:
        return sorted(_GRANTS)
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given) or not set(given) <= _GRANTS:
        raise OAuthRefused("invalid_client_metadata", "grant_types: only authorization_code and refresh_token")
    return given

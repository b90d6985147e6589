"""The authorization server behind an MCP server: what we know of it, and which of it the operator wrote down."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from routeiq_plugin.mcp.model import Server

if TYPE_CHECKING:
    from mcp.shared.auth import OAuthMetadata

OAUTH: Final = "oauth2"
"""LiteLLM's `auth_type` of a server that wants OAuth."""
MACHINE: Final = "client_credentials"
"""LiteLLM's `oauth2_flow` of a server at which the gateway logs in by itself."""

_BINDING: Final = ("url", "issuer", "authorization_url", "token_url")


@dataclass(frozen=True, slots=True)
class Provider:
    """Where to log in for one MCP server."""

    issuer: str
    """As its metadata spells it; tokens and registrations are for this one alone."""
    resource: str
    """The MCP server as a resource (RFC 8707)."""
    metadata: OAuthMetadata
    scopes: str | None = None
    """What to ask for, space separated; None to leave it to the authorization server."""


def wants_login(server: Server) -> bool:
    """Tell whether each user has to log in."""
    return server.auth_type == OAUTH and not is_machine(server)


def is_machine(server: Server) -> bool:
    """Tell whether the gateway logs in by itself; what is not said is read as LiteLLM reads it."""
    if server.auth_type != OAUTH:
        return False
    flow = server.fields.get("oauth2_flow")
    if flow:
        return bool(flow == MACHINE)
    credentials = server.credentials
    whole = server.fields.get("token_url") and credentials.get("client_id") and credentials.get("client_secret")
    return bool(whole) and not server.fields.get("authorization_url")


def binding(server: Server) -> str:
    """Fingerprint what a token was obtained for: where this differs, it is of no use any more."""
    bound: list[Any] = [server.fields.get(name) or None for name in _BINDING]
    bound.append(server.credentials.get("client_id") or None)
    return hashlib.sha256(json.dumps(bound).encode()).hexdigest()


def configured_scopes(server: Server) -> str | None:
    """Return the scopes that the operator wrote down, space separated."""
    scopes = server.credentials.get("scopes")
    if isinstance(scopes, str):
        return scopes or None
    return " ".join(map(str, scopes)) if isinstance(scopes, Sequence) and scopes else None

"""Credentials that are written down: the row's own, headers that a caller may pass on, and what they address to it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from routeiq_plugin.errors import InvalidRequest
from routeiq_plugin.host.auth import Caller
from routeiq_plugin.host.headers import VALUES, is_name, is_value
from routeiq_plugin.mcp.credentials import Credential
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.outbound.headers import CONNECTION, CREDENTIALS

SHARED: Final = "gateway"
"""Identity of the gateway itself: callers who bring nothing of their own share its sessions."""
FORWARDED: Final = "x-mcp-auth"
"""A caller's own credential for whichever server is called; LiteLLM calls it deprecated and still reads it."""
ADDRESSED: Final = "x-mcp-"
"""Begins `x-mcp-<alias>-<header>`, a caller's own header for one server."""

HANDLED: Final = frozenset({"none", "api_key", "bearer_token", "basic", "authorization", "token"})
"""Kinds of `auth_type` that are a header; others are LiteLLM's to work out, or a login."""

_OURS: Final = CONNECTION | {
    "accept",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
}
_SANITIZED: Final = re.compile(r"[^a-z0-9_]")


class StaticCredentials:
    """Finds them for the kinds in `HANDLED`; `key_header` names the header that the operator chose for LiteLLM keys."""

    def __init__(self, key_header: Callable[[], str | None]) -> None:
        self._key_header = key_header

    async def of(self, server: Server, caller: Caller, incoming: Mapping[str, str]) -> Credential:
        """Compose what to send; later sources win, as in LiteLLM: own credential, passed on, static headers.

        What a caller brings makes the identity, so that nobody uses another's session. Raises `InvalidRequest` for a
        header that cannot be sent.
        """
        own = dict(_brought(server, incoming))
        return _composed(server, own, dict(self._passed_on(server, incoming)))

    async def own(self, server: Server) -> Credential:
        """Return the row's own credential: for what the gateway asks by itself."""
        return _composed(server, {}, {})

    def _passed_on(self, server: Server, incoming: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        refused = CREDENTIALS | _OURS | {self._key_header() or ""}
        for name in server.fields.get("extra_headers") or ():
            lowered = str(name).lower()
            if lowered in incoming and lowered not in refused and not lowered.startswith(("x-litellm-", "sec-")):
                yield str(name), incoming[lowered]


def own_headers(server: Server) -> Mapping[str, str]:
    """Return what the row itself says is sent; raises `InvalidRequest` for what cannot be."""
    return _composed(server, {}, {}).headers


def _composed(server: Server, own: Mapping[str, str], passed_on: Mapping[str, str]) -> Credential:
    static = {str(name): str(value) for name, value in (server.fields.get("static_headers") or {}).items()}
    headers: dict[str, str] = {}
    for source in (own or dict(_configured(server)), passed_on, static):
        for name, value in source.items():
            _check(name, value)
            headers = {kept: text for kept, text in headers.items() if kept.lower() != name.lower()}
            headers[name] = value
    return Credential(_identity({**own, **passed_on}), headers)


def _brought(server: Server, incoming: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What the caller means for this server, and which stands in place of the row's own credential."""
    for prefix in _prefixes(server):
        addressed = {
            name.removeprefix(prefix): value
            for name, value in incoming.items()
            if name.startswith(prefix) and name != prefix and name.removeprefix(prefix) not in _OURS
        }
        if addressed:
            yield from addressed.items()
            return
    forwarded = incoming.get(FORWARDED)
    if forwarded:
        yield from _header(server.auth_type, forwarded)


def _prefixes(server: Server) -> Iterator[str]:
    for name in (server.fields.get("alias"), server.fields.get("server_name")):
        if name:
            lowered = str(name).lower()
            sanitized = re.sub("_+", "_", _SANITIZED.sub("_", lowered.strip())).strip("_")
            yield from dict.fromkeys(f"{ADDRESSED}{each}-" for each in (lowered, sanitized) if each)


def _configured(server: Server) -> Iterator[tuple[str, str]]:
    value = server.credentials.get("auth_value")
    if isinstance(value, str) and value:
        yield from _header(server.auth_type, value)


def _header(auth_type: str, value: str) -> Iterator[tuple[str, str]]:
    """LiteLLM's forms (`MCPClient._get_auth_headers`)."""
    value = value.strip()
    if auth_type in ("bearer_token", "oauth2"):
        yield "Authorization", f"Bearer {_bare(value, 'Bearer')}"
    elif auth_type == "token":
        yield "Authorization", f"token {_bare(value, 'token')}"
    elif auth_type == "basic":
        yield "Authorization", f"Basic {_basic(value)}"
    elif auth_type == "authorization":
        yield "Authorization", value
    elif auth_type == "api_key":
        yield "X-API-Key", value


def _bare(value: str, scheme: str) -> str:
    begins, _, rest = value.partition(" ")
    return rest.strip() if rest and begins.lower() == scheme.lower() else value


def _basic(value: str) -> str:
    """Encode `user:password`; what says of itself that it is encoded already stays as it is."""
    bare = _bare(value, "Basic")
    if bare != value and _is_encoded(bare):
        return bare
    return base64.b64encode(bare.encode()).decode()


def _is_encoded(value: str) -> bool:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _check(name: str, value: str) -> None:
    if not is_name(name) or not is_value(value):
        raise InvalidRequest(f"header {name!r} cannot be sent to the MCP server. {VALUES}")


def _identity(brought: Mapping[str, str]) -> str:
    """Name whose credential it is, without saying what it is."""
    if not brought:
        return SHARED
    told = sorted((name.lower(), value) for name, value in brought.items())
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()

"""Asking an authorization server's token endpoint: for a code, for a refresh, or for the gateway itself."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from routeiq_plugin.errors import BackendError
from routeiq_plugin.mcp.oauth.exchanges import Exchanges
from routeiq_plugin.mcp.oauth.providers import Provider
from routeiq_plugin.mcp.oauth.refusals import OAuthRefused

if TYPE_CHECKING:
    from mcp.shared.auth import OAuthClientInformationFull

_THEIRS_TO_FIX: Final = frozenset({"invalid_grant", "invalid_scope", "invalid_target", "access_denied"})
"""Refusals that speak of the user's login; any other speaks of the gateway's request or of the server itself."""
EARLY_SECONDS: Final = 30.0
"""A token is renewed that long before its end, a short-lived one in its last quarter."""
LONGEST_SECONDS: Final = 10 * 366 * 86_400
CLIENT_UNKNOWN: Final = "invalid_client"
SENDABLE: Final = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What a token endpoint gave, in clear: keep it in memory only."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    expires_at: float | None = None
    """Unix time; None when it was not said."""
    renew_at: float | None = None
    """When to ask for the next one: a little before."""
    scope: str | None = None


class UnknownClient(BackendError):
    """The authorization server does not know the gateway (any more)."""


class Grants:
    """Makes token requests; each names the resource that the token is for (RFC 8707)."""

    def __init__(self, exchanges: Exchanges) -> None:
        self._exchanges = exchanges

    async def for_code(
        self, provider: Provider, client: OAuthClientInformationFull, code: str, verifier: str, redirect_uri: str
    ) -> Granted:
        """Exchange a code; raises `OAuthRefused` (invalid_grant and the like), `UnknownClient` or `BackendError`."""
        asked = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        return await self._ask(provider, client, asked)

    async def for_refresh(self, provider: Provider, client: OAuthClientInformationFull, refresh_token: str) -> Granted:
        """Refresh; raises as `for_code` does. The answer may hold the next refresh token, or none to keep the old."""
        return await self._ask(provider, client, {"grant_type": "refresh_token", "refresh_token": refresh_token})

    async def for_itself(self, provider: Provider, client: OAuthClientInformationFull) -> Granted:
        """Log the gateway itself in (client credentials); raises as `for_code` does."""
        asked = {"grant_type": "client_credentials"}
        return await self._ask(provider, client, asked | ({"scope": provider.scopes} if provider.scopes else {}))

    async def revoke(self, provider: Provider, client: OAuthClientInformationFull, token: str) -> None:
        """Tell the authorization server that a token is not needed any more, if it wants to know (RFC 7009)."""
        if provider.metadata.revocation_endpoint is not None:
            form, headers = _request(provider, client, {"token": token})
            await self._exchanges.post(str(provider.metadata.revocation_endpoint), form, headers)

    async def _ask(self, provider: Provider, client: OAuthClientInformationFull, asked: Mapping[str, str]) -> Granted:
        form, headers = _request(provider, client, asked)
        answer = await self._exchanges.post(str(provider.metadata.token_endpoint), form, headers)
        if answer.status_code in (200, 201):
            return _granted(answer.content)
        code = _error_code(answer.content) if 400 <= answer.status_code < 500 else None
        if code in _THEIRS_TO_FIX:
            raise OAuthRefused(code, "the authorization server refused the login; log in again")
        if code == CLIENT_UNKNOWN or answer.status_code == 401:
            raise UnknownClient("the authorization server does not accept the gateway as a client")
        raise BackendError(f"the authorization server's token endpoint answered with HTTP status {answer.status_code}")


def _request(
    provider: Provider, client: OAuthClientInformationFull, asked: Mapping[str, str]
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Build form and headers; the SDK knows how each kind of client proves itself (RFC 6749 section 2.3)."""
    from mcp.client.auth.oauth2 import OAuthContext
    from mcp.shared.auth import OAuthClientMetadata

    metadata = OAuthClientMetadata(redirect_uris=None)
    context = OAuthContext(provider.resource, metadata, _NoStorage(), None, None, client_info=client)
    form = {**asked, "resource": provider.resource, "client_id": client.client_id}
    return context.prepare_token_auth(form, {"Accept": "application/json"})


class _NoStorage:
    """The SDK's context wants a place for tokens; ours are in the store."""

    async def get_tokens(self) -> None:
        """Hold nothing."""

    async def set_tokens(self, tokens: Any) -> None:
        """Hold nothing."""

    async def get_client_info(self) -> None:
        """Hold nothing."""

    async def set_client_info(self, client_info: Any) -> None:
        """Hold nothing."""


def _granted(content: bytes) -> Granted:
    from mcp.shared.auth import OAuthToken
    from pydantic import ValidationError

    try:
        token = OAuthToken.model_validate_json(content)
    except ValidationError:
        # Its text quotes the answer, which is a secret: not shown and not chained.
        raise BackendError(
            "the authorization server's token answer is not one of RFC 6749 with a bearer token"
        ) from None
    if not SENDABLE.fullmatch(token.access_token):
        raise BackendError("the authorization server's access token cannot be sent in a header")
    lifetime = None if token.expires_in is None else bounded(token.expires_in)
    now = time.time()
    return Granted(
        access_token=token.access_token,
        refresh_token=token.refresh_token or None,
        expires_at=None if lifetime is None else now + lifetime,
        renew_at=None if lifetime is None else now + lifetime - min(EARLY_SECONDS, lifetime / 4),
        scope=token.scope,
    )


def bounded(seconds: int) -> int:
    """Keep a lifetime between nothing and ten years: what is said of one is anybody's number."""
    return max(0, min(seconds, LONGEST_SECONDS))


def _error_code(content: bytes) -> str | None:
    try:
        body = json.loads(content)
    except ValueError:
        return None
    code = body.get("error") if isinstance(body, dict) else None
    return code if isinstance(code, str) else None

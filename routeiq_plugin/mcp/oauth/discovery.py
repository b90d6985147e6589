"""Finding a server's authorization server: RFC 9728, then RFC 8414 or OpenID discovery; or what was written down."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from routeiq_plugin.errors import AddressRefused, BackendError
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.oauth.exchanges import Exchanges
from routeiq_plugin.mcp.oauth.providers import Provider, binding, configured_scopes, is_machine
from routeiq_plugin.mcp.oauth.redirects import is_loopback
from routeiq_plugin.outbound import Guard

if TYPE_CHECKING:
    from mcp.shared.auth import OAuthMetadata, ProtectedResourceMetadata

KEPT_SECONDS: Final = 300.0
KEPT_SERVERS: Final = 256

_METADATA: Final = "the authorization server's metadata"


@dataclass(frozen=True, slots=True)
class _Challenge:
    """What the MCP server says to whoever comes without a token."""

    metadata_url: str | None = None
    scope: str | None = None


class Discovery:
    """Finds authorization servers through the guard and remembers them for a while."""

    def __init__(self, exchanges: Exchanges, guard: Guard, now: Callable[[], float]) -> None:
        self._exchanges = exchanges
        self._guard = guard
        self._now = now
        self._known: OrderedDict[str, tuple[float, Provider]] = OrderedDict()

    async def of(self, server: Server) -> Provider:
        """Return where to log in; raises `BackendError` when nothing trustworthy can be found."""
        key = f"{server.server_id} {binding(server)} {configured_scopes(server)}"
        found = self._known.get(key)
        if found is not None and found[0] > self._now():
            return found[1]
        provider = await self._found(server)
        self._known[key] = (self._now() + KEPT_SECONDS, provider)
        self._known.move_to_end(key)
        while len(self._known) > KEPT_SERVERS:
            self._known.popitem(last=False)
        return provider

    async def _found(self, server: Server) -> Provider:
        from mcp.shared.auth_utils import resource_url_from_server_url

        if server.url is None:
            raise BackendError("the server has no address at which it could be asked where to log in")
        resource = resource_url_from_server_url(server.url)
        scopes = configured_scopes(server)
        written = _written_down(server)
        if written is not None:
            return await self._checked(server, Provider(str(written.issuer), resource, written, scopes))
        issuer = server.fields.get("issuer")
        protected, challenge = None, _Challenge()
        if not issuer:
            challenge = await self._challenged(server.url)
            protected = await self._protected_resource(server.url, challenge)
        if protected is not None:
            issuer = str(protected.authorization_servers[0])
            resource = _resource(resource, protected)
        metadata = await self._metadata(issuer, server.url)
        asked = scopes or _scopes(challenge, protected, metadata)
        return await self._checked(server, Provider(str(metadata.issuer), resource, metadata, asked))

    async def _challenged(self, url: str) -> _Challenge:
        """Ask the server without a token, as a client does that has none (RFC 9728 section 5.1)."""
        from mcp.client.auth.utils import extract_resource_metadata_from_www_auth, extract_scope_from_www_auth

        answer = await self._exchanges.head_of(url)
        if answer.status_code not in (401, 403):
            return _Challenge()
        where = extract_resource_metadata_from_www_auth(answer)
        if where is not None and not _same_origin(where, url):
            # RFC 9728 section 3.1 derives it from the resource's own URL; elsewhere it says nothing about us.
            where = None
        return _Challenge(where, extract_scope_from_www_auth(answer))

    async def _protected_resource(self, url: str, challenge: _Challenge) -> ProtectedResourceMetadata | None:
        from mcp.client.auth.utils import (
            build_protected_resource_metadata_discovery_urls,
            create_oauth_metadata_request,
            handle_protected_resource_response,
        )

        for candidate in build_protected_resource_metadata_discovery_urls(challenge.metadata_url, url):
            answer = await self._exchanges.fetch(create_oauth_metadata_request(candidate))
            if answer.status_code >= 500 or answer.status_code == 429:
                # It says nothing about whether there is such a document, so nothing may be concluded from it.
                raise BackendError(f"the server's resource metadata answered with HTTP status {answer.status_code}")
            found = await handle_protected_resource_response(answer)
            if found is not None:
                return found
        return None

    async def _metadata(self, issuer: str | None, url: str) -> OAuthMetadata:
        from mcp.client.auth.utils import (
            build_oauth_authorization_server_metadata_discovery_urls,
            create_oauth_metadata_request,
            handle_auth_metadata_response,
            issuers_match,
        )

        for candidate in build_oauth_authorization_server_metadata_discovery_urls(issuer, url):
            answer = await self._exchanges.fetch(create_oauth_metadata_request(candidate))
            goes_on, found = await handle_auth_metadata_response(answer)
            if found is not None:
                expected = issuer or _origin(url)
                # RFC 8414 section 3.3, simple string comparison; only a root's trailing slash is forgiven.
                if not issuers_match(str(found.issuer), expected):
                    raise BackendError(f"{_METADATA} names another issuer than the one that was asked")
                return found
            if not goes_on:
                raise BackendError(f"{_METADATA} answered with HTTP status {answer.status_code}")
        raise BackendError("no authorization server was found; set issuer, or authorization_url and token_url")

    async def _checked(self, server: Server, provider: Provider) -> Provider:
        """Refuse what must not be called or shown to a browser, and a provider without S256 (MCP, RFC 7636)."""
        metadata = provider.metadata
        if not is_machine(server) and "S256" not in (metadata.code_challenge_methods_supported or ()):
            raise BackendError("the authorization server does not say that it supports PKCE with S256")
        self._require_scheme(str(metadata.authorization_endpoint))
        for url in (metadata.token_endpoint, metadata.registration_endpoint, metadata.revocation_endpoint):
            if url is not None:
                await self._require_callable(str(url))
        return provider

    async def _require_callable(self, url: str) -> None:
        self._require_scheme(url)
        try:
            await self._guard.check(url, _METADATA)
        except AddressRefused as refused:
            raise BackendError(refused.detail) from refused

    def _require_scheme(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (is_loopback(parts) and self._guard.trusts(url)):
            raise BackendError(f"{_METADATA} names an endpoint without https")


def _written_down(server: Server) -> OAuthMetadata | None:
    """Read the endpoints that an operator gave; a token endpoint alone is enough where nobody has to log in."""
    from mcp.shared.auth import OAuthMetadata
    from pydantic import ValidationError

    token = server.fields.get("token_url")
    authorization = server.fields.get("authorization_url") or (token if is_machine(server) else None)
    if not authorization or not token:
        return None
    try:
        return OAuthMetadata.model_validate(
            {
                "issuer": server.fields.get("issuer") or _origin(str(authorization)),
                "authorization_endpoint": authorization,
                "token_endpoint": token,
                "registration_endpoint": server.fields.get("registration_url") or None,
                "code_challenge_methods_supported": ["S256"],
            }
        )
    except ValidationError as wrong:
        raise BackendError("the server's authorization_url, token_url or issuer is no URL") from wrong


def _resource(ours: str, protected: ProtectedResourceMetadata) -> str:
    """Return the resource that the document is about, which must be this server or a parent of it (RFC 8707)."""
    from mcp.shared.auth_utils import check_resource_allowed

    theirs = str(protected.resource)
    if not check_resource_allowed(requested_resource=ours, configured_resource=theirs):
        raise BackendError("the server's resource metadata is about another resource")
    return theirs


def _scopes(challenge: _Challenge, protected: ProtectedResourceMetadata | None, metadata: OAuthMetadata) -> str | None:
    """Ask for what the server asks for; never for all that the authorization server has (MCP, scope selection)."""
    from mcp.client.auth.utils import get_client_metadata_scopes

    if challenge.scope is None and (protected is None or protected.scopes_supported is None):
        return None
    return get_client_metadata_scopes(challenge.scope, protected, metadata, ["authorization_code", "refresh_token"])


def _same_origin(url: str, other: str) -> bool:
    return _origin(url) == _origin(other)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()

"""How the gateway is known to an authorization server: as the operator wrote down, or registered once (RFC 7591)."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from routeiq_plugin._version import __version__
from routeiq_plugin.errors import BackendError
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.oauth.exchanges import Exchanges
from routeiq_plugin.mcp.oauth.owners import GATEWAY
from routeiq_plugin.mcp.oauth.providers import Provider
from routeiq_plugin.store.audit import AuditEntry
from routeiq_plugin.store.oauth_tokens import Held, TokenKind

if TYPE_CHECKING:
    from mcp.shared.auth import OAuthClientInformationFull

CLIENT_NAME: Final = "RouteIQ gateway"
_SOON_SECONDS: Final = 60.0
"""A registration that ends within this is renewed."""
_LOCKS: Final = 256


class RegistrationStore(Protocol):
    """Registrations at rest; `store.oauth_tokens.TokenStore` is one."""

    async def get(self, server_id: str, owner: str, kind: TokenKind) -> Held | None:
        """Return what is held; raises `Unavailable`."""
        ...

    async def add(self, held: Held, audit: AuditEntry, *, instead_of: int | None = None) -> Held:
        """Store what nobody holds yet, or in place of that version; returns what is held then."""
        ...

    async def remove(
        self, server_id: str, owner: str, kind: TokenKind, audit: AuditEntry, *, version: int | None = None
    ) -> bool:
        """Forget what is held; returns whether there was any."""
        ...


class Registrations:
    """Finds or makes the gateway's registration at a server's authorization server."""

    def __init__(self, store: RegistrationStore, exchanges: Exchanges) -> None:
        self._store = store
        self._exchanges = exchanges
        self._turns: OrderedDict[str, asyncio.Lock] = OrderedDict()

    async def of(self, server: Server, provider: Provider, redirect_uri: str) -> OAuthClientInformationFull:
        """Return the client to present there, registering it if need be; raises `BackendError`."""
        written = _written_down(server, provider)
        if written is not None:
            return written
        async with self._turn(server.server_id):
            held = await self._store.get(server.server_id, GATEWAY, TokenKind.CLIENT)
            known = None if held is None else _usable(held.payload, provider, redirect_uri)
            if known is not None:
                return known
            made = await self._register(provider, redirect_uri)
            return await self._keep(server, provider, redirect_uri, made, None if held is None else held.version)

    async def known(self, server: Server, provider: Provider) -> OAuthClientInformationFull | None:
        """Return the client that tokens were obtained with, None when it is gone; never registers."""
        written = _written_down(server, provider)
        if written is not None:
            return written
        held = await self._store.get(server.server_id, GATEWAY, TokenKind.CLIENT)
        return None if held is None else _usable(held.payload, provider, None)

    async def forget(self, server: Server) -> None:
        """Drop a registration that the authorization server no longer knows, so that the next login makes another."""
        entry = _audit("mcp.oauth.unregister", server, {})
        await self._store.remove(server.server_id, GATEWAY, TokenKind.CLIENT, entry)

    async def _register(self, provider: Provider, redirect_uri: str) -> OAuthClientInformationFull:
        from mcp.client.auth import OAuthRegistrationError
        from mcp.client.auth.oauth2 import check_registration_usable
        from mcp.client.auth.utils import create_client_registration_request, handle_registration_response
        from mcp.shared.auth import OAuthClientMetadata
        from pydantic import AnyUrl

        if provider.metadata.registration_endpoint is None:
            raise BackendError("the authorization server registers no clients; set credentials.client_id")
        asked = OAuthClientMetadata(
            redirect_uris=[AnyUrl(redirect_uri)],
            token_endpoint_auth_method=_method(provider.metadata.token_endpoint_auth_methods_supported, "none"),
            client_name=CLIENT_NAME,
            scope=provider.scopes,
            software_id="routeiq-plugin",
            software_version=__version__,
            application_type="web",
        )
        answer = await self._exchanges.fetch(create_client_registration_request(provider.metadata, asked, ""))
        try:
            made = await handle_registration_response(answer)
            check_registration_usable(made)
        except OAuthRegistrationError:
            # The SDK's text quotes the answer, which may hold a secret.
            raise BackendError(
                f"the authorization server did not register the gateway (HTTP status {answer.status_code})"
            ) from None
        return made

    async def _keep(
        self, server: Server, provider: Provider, redirect_uri: str, made: OAuthClientInformationFull, old: int | None
    ) -> OAuthClientInformationFull:
        payload = {
            "issuer": provider.issuer,
            "redirect_uri": redirect_uri,
            "client": made.model_dump(mode="json", exclude_none=True, exclude={"registration_access_token"}),
        }
        entry = _audit("mcp.oauth.register", server, {"issuer": provider.issuer})
        held = Held(server_id=server.server_id, owner=GATEWAY, kind=TokenKind.CLIENT, payload=payload)
        kept = await self._store.add(held, entry, instead_of=old)
        # Another worker may have been first: then both use what that one stored.
        return _usable(kept.payload, provider, redirect_uri) or made

    def _turn(self, server_id: str) -> asyncio.Lock:
        turn = self._turns.setdefault(server_id, asyncio.Lock())
        self._turns.move_to_end(server_id)
        while len(self._turns) > _LOCKS and not next(iter(self._turns.values())).locked():
            self._turns.popitem(last=False)
        return turn


def _usable(
    payload: Mapping[str, Any], provider: Provider, redirect_uri: str | None
) -> OAuthClientInformationFull | None:
    """Read a registration, unless it was made at another issuer, for another address of ours, or has ended."""
    from mcp.shared.auth import OAuthClientInformationFull

    if payload.get("issuer") != provider.issuer or redirect_uri not in (None, payload.get("redirect_uri")):
        return None
    client = OAuthClientInformationFull.model_validate(payload.get("client"))
    end = client.client_secret_expires_at
    return None if end and end < time.time() + _SOON_SECONDS else client


def _written_down(server: Server, provider: Provider) -> OAuthClientInformationFull | None:
    from mcp.shared.auth import OAuthClientInformationFull

    client_id = server.credentials.get("client_id")
    if not client_id:
        return None
    secret = server.credentials.get("client_secret") or None
    supported = provider.metadata.token_endpoint_auth_methods_supported
    return OAuthClientInformationFull(
        client_id=str(client_id),
        client_secret=None if secret is None else str(secret),
        token_endpoint_auth_method=_method(supported, "client_secret_post") if secret else "none",
    )


def _method(supported: list[str] | None, unsaid: str) -> Any:
    """Choose how to authenticate: OAuth 2.1 has every server take the secret in the body, while Basic is optional."""
    for method in ("client_secret_post", "client_secret_basic", "none"):
        if supported and method in supported:
            return method
    return unsaid


def _audit(action: str, server: Server, details: Mapping[str, Any]) -> AuditEntry:
    return AuditEntry(
        actor=None, action=action, object_kind="mcp_server", object_id=server.server_id, details=dict(details)
    )

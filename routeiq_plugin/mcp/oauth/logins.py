"""A user's way through the authorization server and back: begun on one worker, ended on any."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from routeiq_plugin.errors import Forbidden, InvalidRequest
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.oauth import redirects
from routeiq_plugin.mcp.oauth.clients import ClientRegistry
from routeiq_plugin.mcp.oauth.discovery import Discovery
from routeiq_plugin.mcp.oauth.owners import digest
from routeiq_plugin.mcp.oauth.providers import Provider, configured_scopes
from routeiq_plugin.mcp.oauth.refusals import OAuthRefused
from routeiq_plugin.mcp.oauth.registration import Registrations
from routeiq_plugin.mcp.oauth.requests import AuthorizationRequest, CallbackRequest
from routeiq_plugin.store.oauth_flows import Flow, Stage

if TYPE_CHECKING:
    from mcp.shared.auth import OAuthClientInformationFull

CALLBACK: Final = "/routeiq/oauth/callback"
LOGIN: Final = timedelta(minutes=10)
"""How long a user may take at the authorization server."""
FETCH: Final = timedelta(seconds=60)
"""How long a client may take to exchange its code (RFC 6749 4.1.2 allows ten minutes at most)."""
MOST_UNDER_WAY: Final = 50
"""Logins that one owner may have begun at one server and not ended."""
LONGEST_CODE: Final = 8192

_ERROR: Final = re.compile(r"[a-z_]{1,64}")
_PLAIN: Final = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]{1,300}")
"""RFC 6749 section 4.1.2.1."""


class FlowsAtRest(Protocol):
    """Logins at rest; `store.oauth_flows.FlowStore` is one."""

    async def put(self, flow: Flow) -> None:
        """Store a flow."""
        ...

    async def begin(self, flow: Flow, most: int, now: datetime) -> None:
        """Store a login; raises `TooManyRequests`."""
        ...

    async def take(self, flow_id: str, stage: Stage, now: datetime) -> Flow | None:
        """Remove a flow and return it, to one caller only."""
        ...


@dataclass(frozen=True, slots=True)
class Cookie:
    """What ties a login to the browser in which it was begun."""

    name: str
    value: str = field(repr=False)
    secure: bool


@dataclass(frozen=True, slots=True)
class Begun:
    """Where to send the browser, and with which cookie."""

    url: str = field(repr=False)
    cookie: Cookie


@dataclass(frozen=True, slots=True)
class Origin:
    """Who logs in where, as the endpoint was asked."""

    server: Server
    owner: str
    base_url: str
    """Of the gateway, from its settings."""
    issuer: str
    """What the gateway calls itself towards this client (RFC 9207)."""
    staged: bool


class Logins:
    """Begins logins and takes the browser back."""

    def __init__(
        self, flows: FlowsAtRest, clients: ClientRegistry, discovery: Discovery, registrations: Registrations
    ) -> None:
        self._flows = flows
        self._clients = clients
        self._discovery = discovery
        self._registrations = registrations

    async def begin(self, origin: Origin, asked: AuthorizationRequest) -> Begun:
        """Prepare a login; raises `OAuthRefused` naming what is wrong, or `BackendError`."""
        await self._require_redirect(origin, asked)
        provider = await self._discovery.of(origin.server)
        _require_resource(origin, provider, asked.resource)
        scopes = _granted_scopes(origin.server, provider, asked.scope)
        callback = origin.base_url + CALLBACK
        client = await self._registrations.of(origin.server, provider, callback)

        from mcp.client.auth import PKCEParameters

        pkce = PKCEParameters.generate()
        state = secrets.token_urlsafe(32)
        cookie = _new_cookie(origin.base_url, state)
        now = datetime.now(UTC)
        flow = Flow(
            flow_id=digest(state),
            stage=Stage.STATE,
            server_id=origin.server.server_id,
            owner=origin.owner,
            expires_at=now + LOGIN,
            payload={
                "browser": digest(cookie.value),
                "verifier": pkce.code_verifier,
                "callback": callback,
                "issuer": origin.issuer,
                "staged": origin.staged,
                "asked": _kept(asked),
                "provider": _dumped(provider),
                "client": client.model_dump(mode="json", exclude_none=True),
            },
        )
        await self._flows.begin(flow, MOST_UNDER_WAY, now)
        return Begun(_upstream_url(provider, client, callback, scopes, (state, pkce.code_challenge)), cookie)

    async def finish(self, came: CallbackRequest, cookies: Mapping[str, str], base_url: str) -> str:
        """Take a browser back and return where it goes on, with our code or with the authorization server's error.

        Raises `InvalidRequest` or `Forbidden` for a state that is unknown, used, expired or another browser's, and for
        an answer of another authorization server than the one that was asked (RFC 9207): the login is over then.
        """
        flow = await self._flows.take(digest(came.state), Stage.STATE, datetime.now(UTC)) if came.state else None
        if flow is None:
            raise InvalidRequest("This login is unknown, was used already, or took too long. Begin again.")
        if not _is_browser_of(flow, cookies, base_url, came.state):
            raise Forbidden("This login was begun in another browser. Begin again in this one.")
        _require_issuer(flow, came.issuer)
        asked = flow.payload["asked"]
        answer: dict[str, str | None] = {"state": asked["state"], "iss": flow.payload["issuer"]}
        if came.error is not None:
            return redirects.with_query(asked["redirect_uri"], _shown_error(came) | answer)
        if not came.code or len(came.code) > LONGEST_CODE:
            raise InvalidRequest("The authorization server sent no code. Begin again.")
        code = secrets.token_urlsafe(32)
        await self._flows.put(
            Flow(
                flow_id=digest(code),
                stage=Stage.CODE,
                server_id=flow.server_id,
                owner=flow.owner,
                expires_at=datetime.now(UTC) + FETCH,
                payload={**flow.payload, "code": came.code},
            )
        )
        return redirects.with_query(asked["redirect_uri"], {"code": code} | answer)

    async def _require_redirect(self, origin: Origin, asked: AuthorizationRequest) -> None:
        """Refuse to send a browser where the client did not say beforehand that it lives."""
        redirects.require_usable(asked.redirect_uri, "invalid_request")
        allowed: tuple[str, ...] = ()
        if asked.client_id not in (None, origin.server.credentials.get("client_id")):
            client = await self._clients.find(str(asked.client_id), origin.server, origin.owner)
            if client is None:
                raise OAuthRefused("invalid_client", "client_id: unknown, or registered by someone else; register")
            allowed = client.redirect_uris
        if allowed and redirects.is_registered(asked.redirect_uri, allowed):
            return
        if not allowed and redirects.is_ours_or_local(asked.redirect_uri, origin.base_url):
            return
        raise OAuthRefused("invalid_request", "redirect_uri: not one that this client registered")


def cookie_name(base_url: str, state: str) -> str:
    """Name the cookie of one login; `__Host-` makes browsers take it from this very host only (RFC 6265bis)."""
    prefix = "__Host-" if base_url.startswith("https://") else ""
    return f"{prefix}routeiq-oauth-{digest(state)[:12]}"


def _new_cookie(base_url: str, state: str) -> Cookie:
    return Cookie(cookie_name(base_url, state), secrets.token_urlsafe(32), secure=base_url.startswith("https://"))


def _is_browser_of(flow: Flow, cookies: Mapping[str, str], base_url: str, state: str) -> bool:
    shown = cookies.get(cookie_name(base_url, state))
    return shown is not None and secrets.compare_digest(digest(shown), str(flow.payload["browser"]))


def _require_issuer(flow: Flow, issuer: str | None) -> None:
    from mcp.client.auth import OAuthFlowError
    from mcp.client.auth.utils import validate_authorization_response_iss

    try:
        validate_authorization_response_iss(issuer, provider_of(flow).metadata)
    except OAuthFlowError:
        raise InvalidRequest(
            "The answer came from another authorization server than the one that was asked. Begin again."
        ) from None


def _require_resource(origin: Origin, provider: Provider, resource: str | None) -> None:
    """Accept only what is logged in at: the gateway's address of the server, or the server's own (RFC 8707)."""
    if resource is None or resource.rstrip("/") in {known.rstrip("/") for known in _resources(origin, provider)}:
        return
    raise OAuthRefused("invalid_target", "resource: not the server that this endpoint logs in at")


def _resources(origin: Origin, provider: Provider) -> set[str]:
    ours = {f"{origin.base_url}{path}" for name in origin.server.names for path in (f"/mcp/{name}", f"/{name}/mcp")}
    return {provider.resource, origin.issuer, *ours}


def _granted_scopes(server: Server, provider: Provider, asked: str | None) -> str | None:
    if asked is None:
        return provider.scopes
    allowed = configured_scopes(server)
    if allowed is not None and not set(asked.split()) <= set(allowed.split()):
        raise OAuthRefused("invalid_scope", "scope: more than this server is set up for")
    return asked


def _upstream_url(
    provider: Provider, client: OAuthClientInformationFull, callback: str, scopes: str | None, secret: tuple[str, str]
) -> str:
    state, challenge = secret
    consent = "consent" if scopes and "offline_access" in scopes.split() else None
    return redirects.with_query(
        str(provider.metadata.authorization_endpoint),
        {
            "response_type": "code",
            "client_id": client.client_id,
            "redirect_uri": callback,
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "resource": provider.resource,
            "scope": scopes,
            "prompt": consent,
        },
    )


def _shown_error(came: CallbackRequest) -> dict[str, str | None]:
    """Pass an error on to the client, as far as it is one of RFC 6749 and not something for a page to trip over."""
    error = came.error if came.error is not None and _ERROR.fullmatch(came.error) else "server_error"
    described = came.description if came.description is not None and _PLAIN.fullmatch(came.description) else None
    return {"error": error, "error_description": described}


def _kept(asked: AuthorizationRequest) -> dict[str, Any]:
    return {
        "client_id": asked.client_id,
        "redirect_uri": asked.redirect_uri,
        "state": asked.state,
        "code_challenge": asked.code_challenge,
    }


def _dumped(provider: Provider) -> dict[str, Any]:
    return {
        "issuer": provider.issuer,
        "resource": provider.resource,
        "scopes": provider.scopes,
        "metadata": provider.metadata.model_dump(mode="json", exclude_none=True),
    }


def provider_of(flow: Flow) -> Provider:
    """Return the authorization server to which a login was sent, whatever it is today."""
    from mcp.shared.auth import OAuthMetadata

    kept = flow.payload["provider"]
    return Provider(
        kept["issuer"], kept["resource"], OAuthMetadata.model_validate(kept["metadata"]), kept.get("scopes")
    )

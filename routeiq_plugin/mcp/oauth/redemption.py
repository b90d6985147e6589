"""Our token endpoint: a client exchanges its code, or refreshes; what the user holds stays with the gateway."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from routeiq_plugin.host.requests import Author
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.oauth.grants import Granted, Grants, UnknownClient
from routeiq_plugin.mcp.oauth.logins import Origin, provider_of
from routeiq_plugin.mcp.oauth.owners import digest
from routeiq_plugin.mcp.oauth.refusals import CodeRefused, OAuthRefused
from routeiq_plugin.mcp.oauth.registration import Registrations
from routeiq_plugin.mcp.oauth.requests import proves
from routeiq_plugin.mcp.oauth.tokens import UserToken, UserTokens
from routeiq_plugin.store.oauth_flows import Flow

REMEMBERED: Final = timedelta(hours=1)
"""How long a used code is kept, so that its coming again is noticed."""
STAGED_LOGIN: Final = timedelta(days=1)
"""How long a login at a server that was only staged waits for that server to be registered."""


class CodesAtRest(Protocol):
    """Codes at rest; `store.oauth_flows.FlowStore` is one."""

    async def use(self, code_id: str, now: datetime, kept_until: datetime) -> Flow | None:
        """Mark a code as used and return it, to one caller only."""
        ...


@dataclass(frozen=True, slots=True)
class Redemption:
    """Answers token requests; raises `OAuthRefused`, and `BackendError` when the authorization server fails us."""

    codes: CodesAtRest
    tokens: UserTokens
    grants: Grants
    registrations: Registrations

    async def answer(self, origin: Origin, form: Mapping[str, str], author: Author) -> dict[str, Any]:
        """Grant what a form asks for; the answer is RFC 6749 section 5.1."""
        kind = form.get("grant_type")
        if kind == "authorization_code":
            return await self._exchange(origin, form, author)
        if kind == "refresh_token":
            token, handle = await self.tokens.refreshed(origin.server, origin.owner, _needed(form, "refresh_token"))
            return _told(token, handle)
        if not kind:
            raise OAuthRefused("invalid_request", "grant_type: say which")
        raise OAuthRefused("unsupported_grant_type", "grant_type: use authorization_code or refresh_token")

    async def _exchange(self, origin: Origin, form: Mapping[str, str], author: Author) -> dict[str, Any]:
        code_id = digest(_needed(form, "code"))
        verifier = _needed(form, "code_verifier")
        now = datetime.now(UTC)
        flow = await self.codes.use(code_id, now, now + REMEMBERED)
        if flow is None:
            await self.tokens.replayed(origin.server, origin.owner, code_id, author)
            raise CodeRefused
        # Whatever is wrong with a code that was shown, it is used up: there is no second guess.
        if not _is_theirs(flow, origin, form) or not proves(verifier, flow.payload["asked"]["code_challenge"]):
            raise CodeRefused
        granted = await self._fetched(origin.server, flow)
        handle = await self.tokens.keep(
            origin.server,
            origin.owner,
            granted,
            author,
            provider=provider_of(flow),
            code_id=code_id,
            kept_until=now + STAGED_LOGIN if flow.payload["staged"] else None,
        )
        return _told(granted, handle)

    async def _fetched(self, server: Server, flow: Flow) -> Granted:
        from mcp.shared.auth import OAuthClientInformationFull

        kept = flow.payload
        client = OAuthClientInformationFull.model_validate(kept["client"])
        try:
            return await self.grants.for_code(
                provider_of(flow), client, kept["code"], kept["verifier"], kept["callback"]
            )
        except UnknownClient:
            await self.registrations.forget(server)
            raise


def _is_theirs(flow: Flow, origin: Origin, form: Mapping[str, str]) -> bool:
    """Tell whether this caller began the login, at this server, as this client and with this redirect URI."""
    asked = flow.payload["asked"]
    return (
        flow.server_id == origin.server.server_id
        and flow.owner == origin.owner
        and form.get("client_id", asked["client_id"]) == asked["client_id"]
        and form.get("redirect_uri", asked["redirect_uri"]) == asked["redirect_uri"]
    )


def _needed(form: Mapping[str, str], name: str) -> str:
    value = form.get(name)
    if not value:
        raise OAuthRefused("invalid_request", f"{name}: is missing")
    return value


def _told(token: Granted | UserToken, handle: str | None) -> dict[str, Any]:
    answer: dict[str, Any] = {"access_token": token.access_token, "token_type": "Bearer"}
    if token.expires_at is not None:
        answer["expires_in"] = max(0, int(token.expires_at - time.time()))
    if token.scope:
        answer["scope"] = token.scope
    if handle is not None:
        answer["refresh_token"] = handle
    return answer

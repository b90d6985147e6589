"""HTTP of what a user holds: LiteLLM's `oauth-user-credential` routes, which it serves only with its own database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from routeiq_plugin.errors import Forbidden
from routeiq_plugin.host import mcp_logins
from routeiq_plugin.host.app import BODY, LeaveToStock
from routeiq_plugin.host.auth import Caller
from routeiq_plugin.host.process import has_own_database
from routeiq_plugin.host.requests import KEY, author_of, json_body
from routeiq_plugin.mcp.access import Action
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.oauth.owners import owner_of, owner_of_user
from routeiq_plugin.mcp.oauth.service import OAuthGateway, leave_to_stock_what_it_keeps, require_logins
from routeiq_plugin.mcp.oauth.tokens import UserToken
from routeiq_plugin.mcp.routes import TAG, caller_of

_PATH: Final = "/v1/mcp/server/{server_id}/oauth-user-credential"
_STATUS: Final = mcp_logins.MCPOAuthUserCredentialStatus
_LIST: Final[Any] = list[mcp_logins.MCPUserCredentialListItem]


def user_routes(oauth: OAuthGateway) -> APIRouter:
    """Build the routes."""
    router = APIRouter(tags=[TAG], dependencies=[KEY])

    @router.post(_PATH, summary="Store a login", response_model=_STATUS)
    async def store(server_id: str, request: Request) -> Response:
        """Store a token that the user obtained elsewhere, in place of an earlier login."""
        caller = await caller_of(oauth.gateway, request)
        server = await _usable(oauth, caller, server_id)
        require_logins(server)
        given = mcp_logins.parse_token(json_body(request.scope[BODY]))
        author = author_of(request, caller)
        await oauth.tokens.bring(server, owner_of(caller), given, author)
        return _status(server.server_id, await oauth.tokens.known(server, owner_of(caller)))

    @router.delete(_PATH, summary="Drop a login", response_model=_STATUS)
    async def drop(
        server_id: str,
        request: Request,
        user_id: Annotated[str | None, Query(min_length=1, description="Another user's; proxy admins only")] = None,
    ) -> Response:
        """Forget a login; the next call asks for a new one."""
        caller = await caller_of(oauth.gateway, request)
        owner = _whose(caller, user_id)
        server = await oauth.gateway.directory.find(server_id)
        if server is not None:
            leave_to_stock_what_it_keeps(server)
        known_id = server_id if server is None else server.server_id
        await oauth.tokens.drop(known_id, owner, author_of(request, caller), server)
        return _status(known_id, None)

    @router.get(f"{_PATH}/status", summary="Read whether there is a login", response_model=_STATUS)
    async def status(server_id: str, request: Request) -> Response:
        """Tell whether the user has a login, and until when; never the token."""
        caller = await caller_of(oauth.gateway, request)
        server = await _usable(oauth, caller, server_id)
        return _status(server.server_id, await oauth.tokens.known(server, owner_of(caller)))

    @router.get("/v1/mcp/user-credentials", summary="List logins", response_model=_LIST)
    async def list_logins(request: Request) -> Response:
        """List the servers at which the user is logged in."""
        caller = await caller_of(oauth.gateway, request)
        held = await oauth.tokens.all_of(owner_of(caller))
        if not held and has_own_database():
            raise LeaveToStock
        visible = {server.server_id: server for server in await oauth.gateway.visible(caller)}
        return JSONResponse([_listed(server_id, token, visible.get(server_id)) for server_id, token in held.items()])

    return router


async def _usable(oauth: OAuthGateway, caller: Caller, reference: str) -> Server:
    server = await oauth.gateway.get(caller, reference, Action.USE)
    leave_to_stock_what_it_keeps(server)
    return server


def _whose(caller: Caller, user_id: str | None) -> str:
    if user_id is None or user_id == caller.user_id:
        return owner_of(caller)
    if not caller.is_admin:
        raise Forbidden({"error": "Only proxy admins can revoke another user's credential"})
    return owner_of_user(user_id)


def _status(server_id: str, token: UserToken | None) -> Response:
    return JSONResponse(
        {
            "server_id": server_id,
            "has_credential": token is not None,
            "expires_at": None if token is None else _iso(token.expires_at),
            "is_expired": token is not None and not token.usable(datetime.now(UTC).timestamp()),
            "connected_at": None if token is None else _iso(token.connected_at),
        }
    )


def _listed(server_id: str, token: UserToken, server: Server | None) -> dict[str, Any]:
    """Name the server as far as the user may still see it."""
    return {
        "server_id": server_id,
        "server_name": None if server is None else server.fields.get("server_name"),
        "alias": None if server is None else server.fields.get("alias"),
        "credential_type": "oauth2",
        "has_credential": True,
        "expires_at": _iso(token.expires_at),
        "connected_at": _iso(token.connected_at),
    }


def _iso(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()

"""HTTP of logging in: LiteLLM's `/v1/mcp/server/oauth/...`, and where the browser comes back."""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from routeiq_plugin.errors import RouteIQError, wire
from routeiq_plugin.host import mcp_servers as host_servers
from routeiq_plugin.host.app import BODY
from routeiq_plugin.host.keys import refusal_of, with_session_key
from routeiq_plugin.host.requests import KEY, author_of, json_body
from routeiq_plugin.mcp import schemas
from routeiq_plugin.mcp.oauth.logins import CALLBACK, LOGIN, Begun, cookie_name
from routeiq_plugin.mcp.oauth.owners import owner_of
from routeiq_plugin.mcp.oauth.refusals import rfc_body
from routeiq_plugin.mcp.oauth.requests import AuthorizationRequest, CallbackRequest, read_form
from routeiq_plugin.mcp.oauth.service import OAuthGateway
from routeiq_plugin.mcp.routes import TAG, admin_of, caller_of

_STAGE: Final = (
    "User does not have permission to create temporary mcp servers. "
    "You can only create temporary mcp servers if you are a PROXY_ADMIN."
)
_NOT_KEPT: Final = {"Cache-Control": "no-store", "Pragma": "no-cache", "Referrer-Policy": "no-referrer"}
_PAGE: Final = {**_NOT_KEPT, "Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff"}


def oauth_routes(oauth: OAuthGateway) -> APIRouter:
    """Build the routes."""
    router = APIRouter(tags=[TAG])
    _add_browser(router, oauth)
    _add_client(router, oauth)
    return router


def _add_browser(router: APIRouter, oauth: OAuthGateway) -> None:
    @router.get("/v1/mcp/server/oauth/{server_id}/authorize", summary="Log in at an MCP server", dependencies=[KEY])
    async def authorize(server_id: str, request: Request) -> Response:
        """Send the browser to the server's authorization server; with a key, or LiteLLM's dashboard's cookie."""
        asked = _query(request)
        caller = await caller_of(oauth.gateway, with_session_key(request))
        origin = await oauth.origin(caller, server_id)
        begun = await oauth.logins.begin(origin, AuthorizationRequest.read(asked))
        return _sent_off(begun)

    @router.get(CALLBACK, include_in_schema=False)
    async def come_back(request: Request) -> Response:
        """Take the browser back from the authorization server, and send it on to the client."""
        query = _query(request)
        try:
            await oauth.gateway.ready()
            base = oauth.base_url()
            came = CallbackRequest.read(query)
            answer: Response = RedirectResponse(await oauth.logins.finish(came, request.cookies, base), 302, _NOT_KEPT)
        except RouteIQError as error:
            return _page(error)
        answer.delete_cookie(cookie_name(base, came.state), secure=base.startswith("https://"), httponly=True)
        return answer


def _add_client(router: APIRouter, oauth: OAuthGateway) -> None:
    @router.post(
        "/v1/mcp/server/oauth/session",
        summary="Stage an MCP server",
        dependencies=[KEY],
        response_model=host_servers.LiteLLM_MCPServerTable,
    )
    async def stage(request: Request) -> Response:
        """Keep a server for five minutes, to log in at it before it is registered; proxy admins only."""
        caller = await admin_of(oauth.gateway, request, _STAGE)
        body = json_body(request.scope[BODY])
        server = await oauth.staged.stage(body, owner_of(caller), author_of(request, caller))
        published = oauth.gateway.directory.public_ids()
        flags = oauth.gateway.integrity.flags(server)
        return JSONResponse(schemas.rendered(server, caller, None, published=published, flags=flags))

    @router.post("/v1/mcp/server/oauth/{server_id}/token", summary="Fetch an MCP server's token", dependencies=[KEY])
    async def token(server_id: str, request: Request) -> Response:
        """Exchange a code of ours, or refresh; the form and the answers are those of RFC 6749."""

        async def answer() -> Response:
            caller = await caller_of(oauth.gateway, request)
            origin = await oauth.origin(caller, server_id)
            form = read_form(request.scope[BODY])
            granted = await oauth.redemption.answer(origin, form, author_of(request, caller))
            return JSONResponse(granted, headers=_NOT_KEPT)

        return await _as_rfc(answer)

    @router.post("/v1/mcp/server/oauth/{server_id}/register", summary="Register a client", dependencies=[KEY])
    async def register(server_id: str, request: Request) -> Response:
        """Register a client that logs this key's user in (RFC 7591): a public one, which needs PKCE."""

        async def answer() -> Response:
            caller = await caller_of(oauth.gateway, request)
            origin = await oauth.origin(caller, server_id)
            body = json_body(request.scope[BODY])
            author = author_of(request, caller)
            registered = await oauth.clients.register(origin.server, origin.owner, body, author)
            return JSONResponse(registered, 201, _NOT_KEPT)

        return await _as_rfc(answer)


def _query(request: Request) -> list[tuple[str, str]]:
    """Return the query, and take it out of the request before the server writes its line into the access log.

    It holds states and codes; and LiteLLM's checks would take a `client_id` for a credential of a model's.
    """
    query = request.query_params.multi_items()
    request.scope["query_string"] = b""
    return query


def _sent_off(begun: Begun) -> Response:
    cookie = begun.cookie
    answer = RedirectResponse(begun.url, 302, _NOT_KEPT)
    answer.set_cookie(
        cookie.name,
        cookie.value,
        max_age=int(LOGIN.total_seconds()),
        path="/",
        secure=cookie.secure,
        httponly=True,
        samesite="lax",
    )
    return answer


async def _as_rfc(answer: Callable[[], Awaitable[Response]]) -> Response:
    """Answer, and say errors as RFC 6749 section 5.2 does, LiteLLM's refusals of a key included."""
    try:
        return await answer()
    except RouteIQError as error:
        return JSONResponse(rfc_body(error), wire(error).status, {**_NOT_KEPT, **error.headers})
    except Exception as error:
        refused = refusal_of(error)
        if refused is None:
            raise
        status, text = refused
        body: dict[str, Any] = {"error": "invalid_client", "error_description": text}
        return JSONResponse(body, status, {**_NOT_KEPT, **({"WWW-Authenticate": "Bearer"} if status == 401 else {})})


def _page(error: RouteIQError) -> Response:
    """Tell the person at the browser; nothing of the request is repeated."""
    told = rfc_body(error)["error_description"]
    body = f"<!doctype html><title>Log in</title><h1>You are not logged in</h1><p>{html.escape(told)}</p>"
    return HTMLResponse(body, wire(error).status, {**_PAGE, **error.headers})

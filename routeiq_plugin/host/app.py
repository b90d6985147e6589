"""Our routes inside LiteLLM's own FastAPI app: one entry at the front, a prefix test, and a way back to stock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import Message, Receive, Scope, Send

from routeiq_plugin import errors
from routeiq_plugin.host.process import proxy_server

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""Largest request body that we read; an A2A message may carry files."""

BODY: Final = "routeiq.body"
_ROUTE: Final = "routeiq.route"
_LEFT_TO_STOCK: Final = "routeiq.left_to_stock"
_READS_A_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


class LeaveToStock(Exception):
    """The object is LiteLLM's: let the stock handler answer this request.

    `path`, below `SERVER_ROOT_PATH`, says where stock has it when the request came under a name of ours.
    """

    def __init__(self, path: str | None = None) -> None:
        super().__init__(path)
        self.path = path


def route_path(scope: Scope) -> str:
    """Return the path below `SERVER_ROOT_PATH`, as Starlette matches it and never from the Host header."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) :]
    return path


class OwnedRoutes(BaseRoute):
    """One entry of the host's route table that stands for all of ours.

    Every request of the proxy passes `matches`, so it costs a prefix test for what is not ours.
    """

    def __init__(self, routers: Sequence[APIRouter]) -> None:
        self.routes: Final = tuple(
            route for router in routers for route in router.routes if isinstance(route, APIRoute)
        )
        begins = {_literal_prefix(route.path) for route in self.routes}
        self._prefixes: Final = tuple(sorted(begins - {"/"}))
        # What begins with a parameter is told by how it ends: else every request would be compared with every route.
        self._suffixes: Final = tuple(
            sorted({_literal_suffix(route.path) for route in self.routes if _literal_prefix(route.path) == "/"})
        )

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match only what one of our routes matches in full, path and method."""
        if scope["type"] != "http" or not self._may_be_ours(route_path(scope)) or _LEFT_TO_STOCK in scope:
            return Match.NONE, {}
        for route in self.routes:
            match, child = route.matches(scope)
            if match is Match.FULL:
                return Match.FULL, {**child, _ROUTE: route}
        return Match.NONE, {}

    def _may_be_ours(self, path: str) -> bool:
        return path.startswith(self._prefixes) or path.endswith(self._suffixes)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body once, run our handler, and answer our errors; LiteLLM's own go to LiteLLM's handlers."""
        try:
            if scope["method"] in _READS_A_BODY:
                scope[BODY] = await _read_body(scope, receive)
                receive = replay(scope[BODY], receive)
            await scope[_ROUTE].handle(scope, receive, send)
        except LeaveToStock as left:
            scope[_LEFT_TO_STOCK] = True
            if left.path is not None:
                scope["path"] = str(scope.get("root_path", "")).rstrip("/") + left.path
                scope["raw_path"] = quote(scope["path"]).encode()
            if BODY in scope:
                receive = replay(scope[BODY], receive)
            await proxy_server().app.router(scope, receive, send)
        except errors.RouteIQError as error:
            await error_response(error)(scope, receive, send)


def _literal_prefix(path: str) -> str:
    return path.split("{", 1)[0]


def _literal_suffix(path: str) -> str:
    return path.rsplit("}", 1)[-1]


async def _read_body(scope: Scope, receive: Receive) -> bytes:
    declared = dict(scope["headers"]).get(b"content-length", b"")
    too_large = errors.BodyTooLarge(f"The request body exceeds {MAX_BODY_BYTES // 1024**2} MiB")
    if declared.isdigit() and int(declared) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise errors.InvalidRequest("The client left before it had sent the request body")
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise too_large
        if not message.get("more_body"):
            return bytes(body)


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a channel that says `body` again, and afterwards what the real one says (the disconnect)."""
    told = False

    async def channel() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return channel


def error_response(error: errors.RouteIQError) -> Response:
    """Render one of our errors as LiteLLM renders that status: `{"error": ...}` for 401, else `{"detail": ...}`."""
    status = errors.wire(error).status
    if isinstance(error, errors.Unauthenticated):
        told = {"message": error.detail, "type": "auth_error", "param": "None", "code": str(status)}
        return JSONResponse({"error": told}, status, dict(error.headers))
    return JSONResponse({"detail": error.detail}, status, dict(error.headers))


def mount(owned: OwnedRoutes) -> None:
    """Put our entry first in LiteLLM's route table, and our operations into its `/openapi.json`."""
    app = proxy_server().app
    app.router.routes.insert(0, owned)
    stock_openapi = app.openapi

    def openapi() -> dict[str, Any]:
        schema: dict[str, Any] = stock_openapi()
        _merge_operations(schema, owned)
        return schema

    app.openapi = openapi
    app.openapi_schema = None


def _merge_operations(schema: dict[str, Any], owned: OwnedRoutes) -> None:
    """Add ours to the document that LiteLLM caches: the same keys each time, so that merging twice is harmless."""
    ours = get_openapi(title=schema["info"]["title"], version=schema["info"]["version"], routes=owned.routes)
    for path, operations in ours["paths"].items():
        schema.setdefault("paths", {}).setdefault(path, {}).update(operations)
    for kind, components in ours.get("components", {}).items():
        known = schema.setdefault("components", {}).setdefault(kind, {})
        known.update({name: component for name, component in components.items() if name not in known})


def shadowed(owned: OwnedRoutes) -> Mapping[str, str]:
    """Name each of our operations that another route answers, as `{"GET /path": "the other route"}`."""
    found: dict[str, str] = {}
    for route in owned.routes:
        path = _example(route.path)
        for method in sorted(route.methods or ()):
            other = _first_match(method, path, owned)
            if other is not None:
                found[f"{method} {route.path}"] = other
    return found


def _first_match(method: str, path: str, owned: OwnedRoutes) -> str | None:
    scope: Scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": [], "query_string": b""}
    for entry in proxy_server().app.router.routes:
        if entry is owned:
            return None
        if entry.matches(dict(scope))[0] is Match.FULL:
            return str(getattr(entry, "path", type(entry).__name__))
    return "our entry is gone from the route table"


def _example(path: str) -> str:
    return "/".join("example" if part.startswith("{") else part for part in path.split("/"))

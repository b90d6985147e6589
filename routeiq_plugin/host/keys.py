"""Keys that come by another way than a header, headers that may hold one, and how LiteLLM's refusals read."""

from __future__ import annotations

from typing import Final

from litellm.proxy._types import ProxyException
from starlette.requests import Request
from starlette.types import Scope

from routeiq_plugin.host.auth import _key_schemes
from routeiq_plugin.host.config import key_header
from routeiq_plugin.host.process import proxy_server

SESSION_COOKIE: Final = "token"
"""What LiteLLM's dashboard keeps in a browser: a JWT of the master key's that holds the user's key."""
_INTERACTIVE: Final = ("sso", "username_password")


def shows_a_key(scope: Scope) -> bool:
    """Tell whether a request holds anything in a header that may carry a key."""
    names = {scheme.model.name.lower() for _, scheme in _key_schemes()}
    chosen = key_header()
    if chosen is not None:
        names.add(chosen)
    return any(name.decode("latin-1") in names and value for name, value in scope["headers"])


def with_session_key(request: Request) -> Request:
    """Return the request of a browser that is logged in to LiteLLM's dashboard with that user's key, else as it is.

    A browser that follows a link sends no header; LiteLLM's own authorize endpoint reads the same cookie.
    """
    key = None if shows_a_key(request.scope) else _session_key(request.cookies.get(SESSION_COOKIE))
    if key is None:
        return request
    scope = dict(request.scope)
    scope["headers"] = [*scope["headers"], (b"authorization", f"Bearer {key}".encode())]
    return Request(scope, request.receive)


def _session_key(cookie: str | None) -> str | None:
    import jwt

    master_key = getattr(proxy_server(), "master_key", None)
    if not cookie or not master_key:
        return None
    try:
        # LiteLLM writes neither an audience nor, always, an end.
        claims = jwt.decode(
            cookie, master_key, algorithms=["HS256"], options={"verify_exp": False, "verify_aud": False}
        )
    except jwt.InvalidTokenError:
        return None
    key = claims.get("key")
    usable = claims.get("login_method") in _INTERACTIVE and isinstance(key, str) and key.isascii() and key.isprintable()
    return key if usable and key else None


def refusal_of(error: Exception) -> tuple[int, str] | None:
    """Return status and text of LiteLLM's own refusal of a key, None for any other error."""
    if not isinstance(error, ProxyException):
        return None
    status = int(error.code) if str(error.code).isdigit() else 401
    return status, str(error.message)

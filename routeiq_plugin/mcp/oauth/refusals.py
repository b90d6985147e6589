"""Refusals in the words of RFC 6749 and RFC 7591, and how each of our errors reads where clients expect those words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from routeiq_plugin import errors
from routeiq_plugin.errors import InvalidRequest, RouteIQError


class OAuthRefused(InvalidRequest):
    """A request of a client's that cannot be granted; `code` is one of RFC 6749 section 5.2 or RFC 7591 3.2.2."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__({"error": code, "message": description})
        self.code: Final = code
        self.description: Final = description


class CodeRefused(OAuthRefused):
    """An authorization code, or a refresh token, that is unknown, used, expired or somebody else's."""

    def __init__(self, description: str = "the code is unknown, used, expired, or was issued to someone else") -> None:
        super().__init__("invalid_grant", description)


_CODES: Final[Mapping[type[RouteIQError], str]] = {
    errors.Unauthenticated: "invalid_client",
    errors.Forbidden: "access_denied",
    errors.TooManyRequests: "temporarily_unavailable",
    errors.Unavailable: "temporarily_unavailable",
    errors.BackendError: "server_error",
    errors.InvalidRequest: "invalid_request",
    errors.NotFound: "invalid_request",
}


def rfc_body(error: RouteIQError) -> dict[str, str]:
    """Say an error as RFC 6749 section 5.2 does."""
    if isinstance(error, OAuthRefused):
        return {"error": error.code, "error_description": error.description}
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), "server_error")
    return {"error": code, "error_description": _text(error)}


def _text(error: RouteIQError) -> str:
    detail = error.detail
    if isinstance(detail, Mapping):
        detail = detail.get("message") or detail.get("error") or detail
    return str(detail)

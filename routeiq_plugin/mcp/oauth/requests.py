"""What a client asks at our authorization and token endpoints, read strictly: no parameter twice, PKCE with S256."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

from routeiq_plugin.mcp.oauth.refusals import OAuthRefused

LONGEST_FORM: Final = 64 * 1024
LONGEST_STATE: Final = 2048
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
"""SHA-256 in base64url without padding (RFC 7636 section 4.2)."""
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*")
"""RFC 6749 section 3.3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """What the authorization endpoint is asked (RFC 6749 section 4.1.1, RFC 7636 section 4.3)."""

    redirect_uri: str
    code_challenge: str
    client_id: str | None = None
    state: str | None = field(default=None, repr=False)
    scope: str | None = None
    resource: str | None = None

    @classmethod
    def read(cls, pairs: Iterable[tuple[str, str]]) -> AuthorizationRequest:
        """Read a query; raises `OAuthRefused` naming the parameter."""
        given = once(pairs)
        if given.get("response_type", "code") != "code":
            raise OAuthRefused("unsupported_response_type", "response_type: use code")
        redirect_uri = given.get("redirect_uri")
        if not redirect_uri:
            raise OAuthRefused("invalid_request", "redirect_uri: name where the browser goes afterwards")
        challenge = given.get("code_challenge", "")
        if given.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
            raise OAuthRefused("invalid_request", "code_challenge: send one with code_challenge_method=S256")
        state, scope = given.get("state"), given.get("scope") or None
        if state is not None and len(state) > LONGEST_STATE:
            raise OAuthRefused("invalid_request", f"state: use at most {LONGEST_STATE} characters")
        if scope is not None and not _SCOPE.fullmatch(scope):
            raise OAuthRefused("invalid_scope", "scope: separate words by single spaces")
        return cls(
            redirect_uri=redirect_uri,
            code_challenge=challenge,
            client_id=given.get("client_id") or None,
            state=state,
            scope=scope,
            resource=given.get("resource") or None,
        )


@dataclass(frozen=True, slots=True)
class CallbackRequest:
    """What an authorization server sends the browser back with (RFC 6749 section 4.1.2, RFC 9207)."""

    state: str = field(default="", repr=False)
    code: str = field(default="", repr=False)
    issuer: str | None = None
    error: str | None = None
    description: str | None = None

    @classmethod
    def read(cls, pairs: Iterable[tuple[str, str]]) -> CallbackRequest:
        """Read a query; raises `OAuthRefused`."""
        given = once(pairs)
        return cls(
            given.get("state", ""),
            given.get("code", ""),
            given.get("iss"),
            given.get("error"),
            given.get("error_description"),
        )


def read_form(body: bytes) -> Mapping[str, str]:
    """Read a token request's form; raises `OAuthRefused`."""
    if len(body) > LONGEST_FORM:
        raise OAuthRefused("invalid_request", "the form is too large")
    try:
        return once(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=50, errors="strict"))
    except ValueError:
        raise OAuthRefused("invalid_request", "send application/x-www-form-urlencoded in UTF-8") from None


def once(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return parameters by name; one that comes twice is refused (RFC 6749 section 3.1)."""
    given: dict[str, str] = {}
    for name, value in pairs:
        if name in given:
            raise OAuthRefused("invalid_request", f"{name[:40]}: comes more than once")
        given[name] = value
    return given


def proves(verifier: str, challenge: str) -> bool:
    """Tell whether a verifier is the one behind a challenge of method S256 (RFC 7636 section 4.6)."""
    if not _VERIFIER.fullmatch(verifier):
        return False
    made = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    return secrets.compare_digest(made, challenge)

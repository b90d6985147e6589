"""Where a browser may be sent with a code: exactly what was registered, by the rules of RFC 8252 and RFC 9700."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from routeiq_plugin.mcp.oauth.refusals import OAuthRefused

LONGEST: Final = 2048
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f-\uffff\\\"<>`{}|^]")
_PRIVATE_USE: Final = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+")
"""RFC 8252 section 7.1: a scheme that an app makes its own is a domain name, reversed."""
_KNOWN_APPS: Final = frozenset({"cursor", "vscode", "vscode-insiders", "windsurf", "claude"})
"""Schemes of MCP clients that break that rule; each is registered by one vendor."""
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1"})


def require_usable(uri: str, code: str = "invalid_redirect_uri") -> None:
    """Refuse a redirect URI that no client should register; raises `OAuthRefused`."""
    why = _fault(uri)
    if why is not None:
        raise OAuthRefused(code, f"redirect_uri: {why}")


def is_registered(asked: str, registered: Collection[str]) -> bool:
    """Compare character by character; a loopback address may change its port (RFC 8252 section 7.3)."""
    return asked in registered or any(_same_but_port(asked, each) for each in registered)


def is_ours_or_local(uri: str, base_url: str) -> bool:
    """Tell whether a client that did not register may be answered there: on our own origin, or on its own machine."""
    parts = urlsplit(uri)
    return _origin(parts) == _origin(urlsplit(base_url)) or is_loopback(parts)


def is_loopback(parts: SplitResult) -> bool:
    """Tell whether the browser's own machine is meant."""
    return parts.scheme == "http" and (parts.hostname in _LOOPBACK or parts.hostname == "localhost")


def with_query(uri: str, answer: Mapping[str, str | None]) -> str:
    """Add parameters to a URI, keeping those that it has."""
    parts = urlsplit(uri)
    query = parse_qsl(parts.query, keep_blank_values=True)
    query += [(name, value) for name, value in answer.items() if value is not None]
    return urlunsplit(parts._replace(query=urlencode(query)))


def _fault(uri: str) -> str | None:
    if len(uri) > LONGEST or _UNSAFE.search(uri):
        return f"use at most {LONGEST} plain ASCII characters"
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is malformed"
    if parts.fragment or "#" in uri:
        return "must not have a fragment"
    if "@" in parts.netloc:
        return "must not hold a user name or password"
    if (parts.scheme == "https" and host) or is_loopback(parts) or _is_of_an_app(parts.scheme):
        return None
    return "use https, http on a loopback address, or a scheme of your app's own such as com.example.app"


def _is_of_an_app(scheme: str) -> bool:
    return scheme in _KNOWN_APPS or _PRIVATE_USE.fullmatch(scheme) is not None


def _same_but_port(asked: str, registered: str) -> bool:
    theirs, known = urlsplit(asked), urlsplit(registered)
    if known.scheme != "http" or known.hostname not in _LOOPBACK or "@" in theirs.netloc:
        return False
    try:
        _ = theirs.port
    except ValueError:
        return False
    same_host = theirs.hostname == known.hostname
    return same_host and theirs._replace(netloc="") == known._replace(netloc="")


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)

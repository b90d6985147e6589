"""The guard against DNS rebinding: a page of the internet that reaches a gateway on this machine (MCP transports)."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.requests import Request

from routeiq_plugin.errors import Forbidden


def require_origin(request: Request, public_url: str | None) -> None:
    """Refuse a browser's request whose page, or whose name for this gateway, cannot be meant for a loopback address.

    Requests without `Origin` are no browser's, and pass. Elsewhere the key alone decides, as on stock.
    """
    origin = request.headers.get("origin")
    served = (request.scope.get("server") or ("", 0))[0]
    if origin is None or not _is_local(served):
        return
    ours = urlsplit(public_url).hostname if public_url else None
    for host in (urlsplit(origin).hostname, urlsplit("//" + request.headers.get("host", "")).hostname):
        if host is None or not (_is_local(host) or host == ours):
            raise Forbidden("Origin and Host must be this gateway's; set routeiq.public_url to what clients reach")


def _is_local(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

"""Whose a request to an MCP endpoint is: the gateway's, or stock's, which serves what is outside of our sessions."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from routeiq_plugin.errors import MalformedBody
from routeiq_plugin.host.app import BODY
from routeiq_plugin.host.requests import json_body
from routeiq_plugin.mcp.http.carrier import SESSION
from routeiq_plugin.mcp.http.facts import STATELESS, VERSION_META
from routeiq_plugin.mcp.http.wire import VERSION
from routeiq_plugin.mcp.relay.tickets import MARK


def message_in(request: Request) -> Any:
    """Read the message of a POST to tell whose it is: what is none is refused later, where it is ours."""
    return parsed(request.scope.get(BODY, b"")) if request.method == "POST" else None


def parsed(body: bytes) -> Any:
    """Read JSON; None where it is none."""
    try:
        return json_body(body)
    except MalformedBody:
        return None


def is_for_us(request: Request, message: Any) -> bool:
    """Tell by the session; without one we have what begins one, and requests of 2026-07-28, which need none."""
    session = request.headers.get(SESSION)
    if session is not None:
        return session.startswith(MARK)
    return request.method == "POST" and (is_stateless(request, message) or opens(request, message))


def is_stateless(request: Request, message: Any) -> bool:
    """Tell by the header, or where it was forgotten by the message: the server then says what is missing."""
    said = request.headers.get(VERSION)
    if said is None and isinstance(message, dict) and isinstance(params := message.get("params"), dict):
        meta = params.get("_meta")
        said = meta.get(VERSION_META) if isinstance(meta, dict) else None
    return isinstance(said, str) and said >= STATELESS


def opens(request: Request, message: Any) -> bool:
    """Tell whether a session begins; where there are none `initialize` is a method like any that is unknown."""
    return says(message, "initialize") and not is_stateless(request, message)


def says(message: Any, method: str) -> bool:
    """Tell whether a message is of this method."""
    return isinstance(message, dict) and message.get("method") == method


def id_asked(message: Any) -> Any:
    """Return the id of a request; None for anything else."""
    return message.get("id") if isinstance(message, dict) and "method" in message else None

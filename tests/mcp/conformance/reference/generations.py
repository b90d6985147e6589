"""A server that speaks one generation of the protocol only, and says so as servers in the field do."""

from __future__ import annotations

import json
from typing import Final

from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SESSIONS: Final = "sessions"
STATELESS: Final = "stateless"


class Only:
    """Refuses the other generation: with words of the SDK 1.x, or with the error that 2026-07-28 has for it."""

    def __init__(self, app: ASGIApp, generation: str) -> None:
        self._app = app
        self._generation = generation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        version = dict(scope["headers"]).get(b"mcp-protocol-version", b"").decode()
        body = await _body(receive) if scope["method"] == "POST" else b""
        is_modern = version in MODERN_PROTOCOL_VERSIONS
        if is_modern == (self._generation == STATELESS):
            await self._app(scope, _again(body, receive), send)
            return
        await self._refusal(body, version)(scope, receive, send)

    def _refusal(self, body: bytes, version: str) -> JSONResponse:
        if self._generation == SESSIONS:
            supported = ", ".join(HANDSHAKE_PROTOCOL_VERSIONS)
            message = f"Bad Request: Unsupported protocol version: {version}. Supported versions: {supported}"
            error = {"code": -32600, "message": message}
            return JSONResponse({"jsonrpc": "2.0", "id": "server-error", "error": error}, 400)
        data = {"supported": list(MODERN_PROTOCOL_VERSIONS), "requested": version}
        asked = json.loads(body) if body else {}
        error = {"code": -32022, "message": "Unsupported protocol version", "data": data}
        return JSONResponse({"jsonrpc": "2.0", "id": asked.get("id"), "error": error}, 400)


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    told = False

    async def replay() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay

"""How calls of MCP servers fail, beyond what every backend can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from routeiq_plugin.errors import BackendError, RouteIQError

METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
RESOURCE_NOT_FOUND: Final = -32002
"""Of MCP up to 2025-11-25; later versions say INVALID_PARAMS."""


class ServerRefused(BackendError):
    """The server answered a request with a JSON-RPC error of its own."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class InputRequired(BackendError):
    """The server asks something in the midst of a call, which only a client on the MCP endpoint can answer."""

    def __init__(self) -> None:
        super().__init__(
            "the MCP server asks for input (sampling, elicitation or roots) that this path cannot give; "
            "call the tool through the MCP endpoint instead"
        )


class NotCarriedOut(RouteIQError):
    """The session is gone and the server provably did nothing: the request may be sent once more on another one."""

    def __init__(self, error: RouteIQError) -> None:
        super().__init__(error.detail)
        self.error = error


def told(error: RouteIQError, server_name: str, kind: str) -> Mapping[str, Any]:
    """Word a failure in the shape of LiteLLM's MCP errors: `{"error": kind, "message": text}`."""
    return {"error": kind, "message": f"MCP server '{server_name}': {error.detail}"}

"""How calls of MCP servers fail, beyond what every backend can do."""

from __future__ import annotations

from typing import Final

from routeiq_plugin.errors import BackendError, BackendRefused, BackendTimeout, InvalidRequest, RouteIQError

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


def worded(error: RouteIQError, server_name: str) -> RouteIQError:
    """Word a server's failure in the shape of LiteLLM's MCP errors, `{"error": kind, "message": text}`.

    Arguments that the server refuses are the caller's (400), everything else is the server's; what is ours stays as it
    is.
    """
    message = f"MCP server '{server_name}': {error.detail}"
    if isinstance(error, ServerRefused) and error.code == INVALID_PARAMS:
        return InvalidRequest({"error": "invalid_arguments", "message": message})
    if isinstance(error, ServerRefused):
        return BackendError({"error": "upstream_error", "message": message, "code": error.code})
    if isinstance(error, BackendTimeout):
        return BackendTimeout({"error": "timeout", "message": message})
    if isinstance(error, BackendRefused):
        return BackendRefused({"error": "upstream_unauthorized", "message": message}, error.status)
    return BackendError({"error": "upstream_error", "message": message}) if isinstance(error, BackendError) else error

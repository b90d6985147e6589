"""What one client has with one server, whichever version of the protocol each of them speaks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol

Json = dict[str, Any]
Headers = Mapping[str, str]


class Conversation(Protocol):
    """Messages as the client's version has them."""

    def ask(self, message: Json, headers: Headers) -> AsyncGenerator[Json, None]:
        """Send a request and yield what comes of it: notifications, requests to the client, and last its answer.

        `headers` go with it: those that hooks add, and those that repeat arguments of a tool (`Mcp-Param-*`), for
        servers that want them; names in lower case. Whoever stops listening cancels the request. Raises `BackendError`.
        """
        ...

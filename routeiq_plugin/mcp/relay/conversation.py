"""What one client has with one server, whichever version of the protocol each of them speaks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol

Json = dict[str, Any]
Headers = Mapping[str, str]


class Conversation(Protocol):
    """Messages as the client's version has them; every method raises `BackendError` when the server fails."""

    async def introduction(self) -> Json:
        """Return what the server says of itself: the result of `initialize` or `server/discover`."""
        ...

    def ask(self, message: Json, headers: Headers) -> AsyncGenerator[Json, None]:
        """Send a request and yield what comes of it: notifications, requests to the client, and last its answer.

        `headers` go with it: those that hooks add, and those that repeat arguments of a tool (`Mcp-Param-*`), for
        servers that want them; names in lower case. Whoever stops listening cancels the request.
        """
        ...


class SessionConversation(Conversation, Protocol):
    """That of a client with a session (up to 2025-11-25)."""

    async def tell(self, message: Json) -> None:
        """Pass on what has no answer: a notification, or the client's answer to a request of the server's."""
        ...

    def listen(self) -> AsyncGenerator[Json, None]:
        """Yield what the server says by itself, until it ends that."""
        ...

    async def end(self) -> None:
        """End the session."""
        ...

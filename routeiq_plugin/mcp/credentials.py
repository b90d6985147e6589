"""What the gateway shows an upstream server to be let in, and for whom: half of what a pooled session is known by."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from routeiq_plugin.host.auth import Caller
from routeiq_plugin.mcp.model import Server


@dataclass(frozen=True, slots=True)
class Credential:
    """Headers that go with every request of a session, and whose they are."""

    identity: str
    """Equal for callers who may share a session; never a secret itself, a digest where it derives from one."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    on_refusal: Callable[[], Awaitable[None]] | None = field(default=None, repr=False, compare=False)
    """Hears that the server answered 401 to it, so that the next call brings another."""


class Credentials(Protocol):
    """Finds the credential of a call."""

    async def of(self, server: Server, caller: Caller, incoming: Mapping[str, str]) -> Credential:
        """Return what to send; `incoming` are the request's headers, names in lower case.

        Raises `LoginRequired` when the caller has to log in at the server's authorization server first.
        """
        ...

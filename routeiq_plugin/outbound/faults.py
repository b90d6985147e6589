"""How one exchange with a backend failed, as a value that can travel inside an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from routeiq_plugin.errors import (
    BackendError,
    BackendRefused,
    BackendResponseTooLarge,
    BackendTimeout,
    RouteIQError,
    Unavailable,
)


class Reach(StrEnum):
    """How far the request got: what decides whether it may be sent again."""

    UNSENT = "unsent"
    """Provably never reached the backend."""
    NO_SESSION = "no_session"
    """The backend refused it because it does not know the session (MCP 2025-11-25, basic/transports: HTTP 404)."""
    SENT = "sent"
    """May have been carried out."""


class Kind(StrEnum):
    """What happened, in the terms of `errors`."""

    FAILED = "failed"
    TIMEOUT = "timeout"
    TOO_LARGE = "too_large"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Fault:
    """One failed exchange; `detail` may be read by clients."""

    detail: str
    reach: Reach = Reach.SENT
    kind: Kind = Kind.FAILED
    status: int | None = None
    """HTTP status that the backend answered with."""

    @classmethod
    def of(cls, error: RouteIQError, reach: Reach) -> Self:
        """Describe one of our errors."""
        kind = Kind.FAILED
        if isinstance(error, BackendTimeout):
            kind = Kind.TIMEOUT
        elif isinstance(error, BackendResponseTooLarge):
            kind = Kind.TOO_LARGE
        elif isinstance(error, Unavailable):
            kind = Kind.UNAVAILABLE
        return cls(str(error.detail), reach, kind)

    @classmethod
    def of_status(cls, status: int, reach: Reach = Reach.SENT) -> Self:
        """Describe an HTTP status that is no answer to a call."""
        kind = Kind.REFUSED if status in (401, 403) else Kind.FAILED
        return cls(f"the backend answered with HTTP status {status}", reach, kind, status)

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """Read what `written` wrote."""
        return cls(data["detail"], Reach(data["reach"]), Kind(data["kind"]), data["status"])

    def written(self) -> Mapping[str, Any]:
        """Write as JSON."""
        return {"detail": self.detail, "reach": self.reach.value, "kind": self.kind.value, "status": self.status}

    @property
    def error(self) -> RouteIQError:
        """The error to raise for it."""
        if self.kind is Kind.TIMEOUT:
            return BackendTimeout(self.detail)
        if self.kind is Kind.TOO_LARGE:
            return BackendResponseTooLarge(self.detail)
        if self.kind is Kind.UNAVAILABLE:
            return Unavailable(self.detail)
        if self.kind is Kind.REFUSED:
            return BackendRefused(self.detail, self.status)
        return BackendError(self.detail)

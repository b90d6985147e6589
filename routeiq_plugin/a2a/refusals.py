"""What went wrong at a backend, as the backend put it: its code and data are kept, its address is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from a2a.client.errors import A2AClientError
from a2a.server.context import ServerCallContext
from a2a.utils.errors import A2AError, InternalError, TaskNotFoundError, UnsupportedOperationError

from routeiq_plugin.a2a.tasks import HINDERED, NotTheirs
from routeiq_plugin.errors import AddressRefused, RouteIQError, Unavailable
from routeiq_plugin.outbound import backend_error

REFUSED: Final = "routeiq.a2a.refused"
"""Key of the SDK's call context under which the backend's own error is left for whoever renders the answer."""

NOT_CALLED: Final = "the agent's address is not one that this gateway calls; ask its administrator"
"""What a caller hears of an address that the outbound guard refuses; why is for the log."""

HIDDEN: Final = "[agent]"
"""What stands in an error where the backend's address was."""

_ATTRIBUTE: Final = "routeiq_refusal"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A JSON-RPC error as a backend sent it; `data` is any JSON."""

    code: int
    message: str
    data: Any = None

    @classmethod
    def read(cls, error: object) -> Refusal | None:
        """Read the `error` member of a JSON-RPC answer, None when it is no error object."""
        if not isinstance(error, Mapping):
            return None
        code = error.get("code")
        if not isinstance(code, int) or isinstance(code, bool):
            return None
        return cls(code, str(error.get("message") or "The agent gave no reason"), error.get("data"))

    def rendered(self) -> dict[str, Any]:
        """Write it as the `error` member of an answer."""
        told = {"code": self.code, "message": self.message}
        return told if self.data is None else {**told, "data": self.data}

    def without(self, address: str) -> Refusal:
        """Leave the backend's address out."""
        return Refusal(self.code, without(address, self.message), without(address, self.data))


def keeping(error: Exception, refusal: Refusal) -> A2AError:
    """Return what the SDK made of an error, or an internal error where it knew nothing, with the original attached."""
    known = isinstance(error, A2AError) and not isinstance(error, A2AClientError)
    kept = error if known and isinstance(error, A2AError) else InternalError(message=refusal.message)
    setattr(kept, _ATTRIBUTE, refusal)
    return kept


def refusal_of(error: object) -> Refusal | None:
    """Return the backend's own error behind this one, if it is one."""
    found = getattr(error, _ATTRIBUTE, None)
    return found if isinstance(found, Refusal) else None


@contextmanager
def told_by(address: str, context: ServerCallContext) -> Iterator[None]:
    """Turn whatever fails inside into an A2A error that a client may read; `address` is the backend's URL."""
    try:
        yield
    except Exception as failure:  # noqa: BLE001  every failure becomes an A2A error
        error = as_a2a(failure, address)
        refusal = refusal_of(error)
        if refusal is not None:
            context.state[REFUSED] = refusal
        hindered = context.state.get(HINDERED)
        if hindered is not None and _kept_from_answering(failure):
            told = failure if isinstance(failure, RouteIQError) else backend_error(failure)
            # Which address this gateway does not call is for its admin: to callers it is a failure like any.
            hindered.extend([] if isinstance(told, AddressRefused) else [told])
        # A cause marks what kept the backend from answering; its own word, or ours, has none.
        raise error from failure if _kept_from_answering(failure) else None


def as_a2a(failure: Exception, address: str) -> A2AError:
    """Keep the backend's own A2A errors; say the rest without its address, which the SDK puts into its messages."""
    if isinstance(failure, NotTheirs):
        return TaskNotFoundError()
    if isinstance(failure, NotImplementedError):
        return UnsupportedOperationError(message="The agent's protocol version lacks this method")
    if isinstance(failure, Unavailable):
        return InternalError(message=str(failure.detail))
    if isinstance(failure, A2AError) and not isinstance(failure, A2AClientError):
        return _disguised(failure, address)
    if isinstance(failure, A2AClientError) and failure.__cause__ is None:
        return InternalError(message="The agent's answer is not one that A2A defines")
    told = backend_error(failure)
    return InternalError(message=NOT_CALLED if isinstance(told, AddressRefused) else str(told.detail))


def _kept_from_answering(failure: Exception) -> bool:
    if isinstance(failure, A2AClientError):
        return failure.__cause__ is not None
    return not isinstance(failure, NotTheirs | NotImplementedError | A2AError)


def _disguised(error: A2AError, address: str) -> A2AError:
    told: A2AError = type(error)(without(address, error.message), data=without(address, error.data))
    refusal = refusal_of(error)
    return told if refusal is None else keeping(told, refusal.without(address))


def without(address: str, value: Any) -> Any:
    """Replace the backend's address, host and port together or the host alone, in every text of a JSON value."""
    if isinstance(value, str):
        parts = urlsplit(address)
        for secret in (f"{parts.scheme}://{parts.netloc}", parts.netloc, parts.hostname or ""):
            value = value.replace(secret, HIDDEN) if secret else value
        return value
    if isinstance(value, Mapping):
        return {without(address, key): without(address, each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without(address, each) for each in value]
    return value

"""What went wrong with a backend, in words that a client may read: never its address, its host or its own text."""

from __future__ import annotations

import ssl
import sys
from collections import deque
from collections.abc import Iterator
from types import ModuleType

import httpcore
import httpx

from routeiq_plugin.errors import AddressRefused, BackendError, BackendTimeout


def backend_error(exc: BaseException) -> BackendError | BackendTimeout | AddressRefused:
    """Translate what an HTTP client, an SDK above it or a task group raised; the original stays the caller's to chain.

    The SDKs wrap what happened: the outermost error that says something is searched, through causes and groups.
    """
    for error in _chain(exc):
        if isinstance(error, BackendError | AddressRefused):
            return error
        known = _known(error)
        if known is not None:
            return known
    return BackendError("the call to the backend failed")


def is_lost(exc: BaseException) -> bool:
    """Tell whether a connection ended before the answer, which may be that a kept one was closed by its server."""
    return any(_is(exc, name) for name in ("ReadError", "WriteError", "RemoteProtocolError"))


def _known(error: BaseException) -> BackendError | None:
    if _is(error, "TimeoutException") or isinstance(error, TimeoutError):
        return BackendTimeout("the backend did not answer in time")
    if isinstance(error, ssl.SSLError) or (_is(error, "ConnectError") and _by_tls(error)):
        return BackendError("a secure connection to the backend could not be made")
    status = _status(error)
    if status is not None:
        return BackendError(f"the backend answered with HTTP status {status}")
    for name, message in (
        ("ConnectError", "the backend could not be reached"),
        ("ProtocolError", "the backend does not speak HTTP as it should"),
        ("NetworkError", "the connection to the backend was lost"),
        ("DecodingError", "the backend sent a body that cannot be decoded"),
        ("TooManyRedirects", "the backend redirects, which is not followed"),
    ):
        if _is(error, name):
            return BackendError(message)
    return None


def _status(error: BaseException) -> int | None:
    if not _is(error, "HTTPStatusError"):
        return None
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _is(error: BaseException, name: str) -> bool:
    """Compare with the type of that name in each HTTP stack that is loaded; httpx2 is not imported for the question."""
    stacks: tuple[ModuleType | None, ...] = (httpx, httpcore, sys.modules.get("httpx2"), sys.modules.get("httpcore2"))
    found = (getattr(stack, name, None) for stack in stacks)
    return any(isinstance(kind, type) and isinstance(error, kind) for kind in found)


def _by_tls(error: BaseException | None) -> bool:
    """Look behind the stack's error, which hides the context that it was made from."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """Walk from the outside in, each error once."""
    seen: set[int] = set()
    waiting: deque[BaseException] = deque([exc])
    while waiting:
        error = waiting.popleft()
        if id(error) in seen:
            continue
        seen.add(id(error))
        yield error
        if isinstance(error, BaseExceptionGroup):
            waiting.extend(error.exceptions)
        hidden = None if error.__suppress_context__ else error.__context__
        waiting.extend(link for link in (error.__cause__, hidden) if link is not None)

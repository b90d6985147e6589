"""What a client reads of a backend's failure, whatever the SDKs wrapped around it."""

from __future__ import annotations

import ssl

import httpcore
import httpx
import httpx2
import pytest

from routeiq_plugin.errors import AddressRefused, BackendError, BackendResponseTooLarge, BackendTimeout
from routeiq_plugin.outbound.failures import backend_error

SECRET = "http://10.9.8.7:6543/agent?key=s3cret"


class SdkError(Exception):
    """Stands for what a2a-sdk and mcp make of a transport error: its text inside theirs."""


def wrapped(error: Exception) -> BaseException:
    """Nest as the SDKs do: `raise ... from`, inside a task group."""
    try:
        raise SdkError(f"Network communication error: {error}") from error
    except SdkError as outer:
        return BaseExceptionGroup("unhandled errors in a TaskGroup", [outer])


REQUEST = httpx.Request("POST", SECRET)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (httpx.ConnectError(SECRET), BackendError, "could not be reached"),
        (httpx2.ConnectError(SECRET), BackendError, "could not be reached"),
        (httpcore.ConnectError(SECRET), BackendError, "could not be reached"),
        (httpx.ConnectTimeout(SECRET), BackendTimeout, "in time"),
        (httpx2.ReadTimeout(SECRET), BackendTimeout, "in time"),
        (httpx2.PoolTimeout(SECRET), BackendTimeout, "in time"),
        (TimeoutError(SECRET), BackendTimeout, "in time"),
        (httpx.RemoteProtocolError(SECRET), BackendError, "HTTP as it should"),
        (httpx2.ReadError(SECRET), BackendError, "was lost"),
        (ssl.SSLError(SECRET), BackendError, "secure connection"),
        (
            httpx.HTTPStatusError(SECRET, request=REQUEST, response=httpx.Response(503, request=REQUEST)),
            BackendError,
            "HTTP status 503",
        ),
        (ValueError(SECRET), BackendError, "the call to the backend failed"),
        (AddressRefused("the backend's address: refused"), AddressRefused, "refused"),
        (BackendResponseTooLarge("too large"), BackendResponseTooLarge, "too large"),
    ],
)
def test_every_failure_has_words_and_no_address(error: Exception, kind: type[Exception], message: str) -> None:
    for seen in (error, wrapped(error)):
        found = backend_error(seen)
        assert type(found) is kind
        assert message in str(found)
        assert "10.9.8.7" not in str(found)
        assert "s3cret" not in str(found)


def test_an_older_error_in_the_context_does_not_speak_for_the_new_one() -> None:
    new = httpx.ReadTimeout("second try")
    new.__context__ = BackendError("first try")  # as after a retry inside a handler
    assert type(backend_error(new)) is BackendTimeout


def test_errors_that_cause_each_other_end() -> None:
    first, second = ValueError(), ValueError()
    first.__cause__, second.__cause__ = second, first
    assert type(backend_error(first)) is BackendError

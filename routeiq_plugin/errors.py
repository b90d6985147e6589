"""Every error this package raises, as one tree, and one table that says how each looks on the wire.

RouteIQError
├── SettingsError             a wrong `routeiq:` value; stops the boot
├── IncompatibleHost          a LiteLLM internal that we use is missing; names the supported range
├── MissingExtra              an optional package is absent; names the pip command
├── InvalidRequest            the caller's input is wrong; names the field and the fix
│   ├── MalformedBody         not JSON at all
│   ├── InvalidFields         well-formed JSON with wrong, missing or unknown fields
│   ├── AddressRefused        a URL that the outbound guard will not call
│   ├── ArtifactRefused       a routing artifact that is not whole, not ours or not what it says
│   └── InvalidConfig         a configuration that cannot be used; names the failing key
├── Unauthenticated
├── LoginRequired             an upstream wants the caller's own login; says where to get it
├── Forbidden
├── NotFound
├── Conflict                  duplicates and lost races
│   └── PreconditionFailed    `If-Match` names a version that is no longer current
├── BodyTooLarge
├── TooManyRequests           the caller asks for more than its share: carries `Retry-After`
├── Unavailable               ours, and for now: carries `Retry-After`
│   └── CannotOpen            a secret was sealed with another key
└── BackendError              theirs
├── BackendTimeout
├── BackendRefused            it wants other credentials
├── BackendResponseTooLarge
└── SourceUnreachable     where a configuration comes from
    └── NoSuchObject      the bucket answers, and holds nothing by that key
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final


class RouteIQError(Exception):
    """Base of all our errors; `detail` is what a client may read, and never holds a secret."""

    def __init__(self, detail: Any) -> None:
        super().__init__(detail if isinstance(detail, str) else str(detail))
        self.detail: Any = detail

    @property
    def headers(self) -> Mapping[str, str]:
        """Response headers that belong to this error."""
        return {}


class SettingsError(RouteIQError):
    """A value below `routeiq:` is wrong; the message holds the dotted path of each bad key."""


class IncompatibleHost(RouteIQError):
    """This LiteLLM lacks something that we build on."""


class MissingExtra(RouteIQError):
    """An optional package is absent."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: pip install 'routeiq-plugin[{extra}]'")


class InvalidRequest(RouteIQError):
    """The caller's input cannot be accepted."""


class MalformedBody(InvalidRequest):
    """The request body is not the JSON that it claims to be."""


class HeaderMismatch(InvalidRequest):
    """A header that repeats part of an MCP message says something else (SEP-2243)."""


class InvalidFields(InvalidRequest):
    """Fields are wrong, missing or unknown; `detail` is FastAPI's list of `{type, loc, msg}`."""

    def __init__(self, errors: Sequence[Mapping[str, Any]]) -> None:
        super().__init__([dict(error) for error in errors])

    @classmethod
    def of(cls, field: str, message: str, kind: str = "value_error") -> InvalidFields:
        """Build the error of a single body field; `field` is a dotted path."""
        return cls([{"type": kind, "loc": ["body", *field.split(".")], "msg": message}])


class AddressRefused(InvalidRequest):
    """The outbound guard will not call this URL; says which rule and which setting opens it."""


class ArtifactRefused(InvalidRequest):
    """A routing artifact is not whole, not of a kind that we load, or not what its manifest says."""


class InvalidConfig(InvalidRequest):
    """A configuration cannot be used; `path` is the dotted place in it, empty for the document as a whole."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__({"error": "invalid_config", "path": path, "message": message})
        self.path = path
        self.message = message


class Unauthenticated(RouteIQError):
    """No key, or one that nobody knows."""

    @property
    def headers(self) -> Mapping[str, str]:
        """RFC 9110 11.6.1: a 401 names its scheme."""
        return {"WWW-Authenticate": "Bearer"}


class LoginRequired(RouteIQError):
    """The caller has to log in at an upstream's authorization server (RFC 9728 section 5.1)."""

    def __init__(self, detail: Any, resource_metadata: str) -> None:
        super().__init__(detail)
        self.resource_metadata = resource_metadata
        """URL of the protected resource's metadata document."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The challenge that MCP clients follow."""
        return {"WWW-Authenticate": f'Bearer resource_metadata="{self.resource_metadata}"'}


class Forbidden(RouteIQError):
    """A known key that may not do this."""


class NotFound(RouteIQError):
    """Nothing by that id or name, or nothing that this caller may know of."""


class Conflict(RouteIQError):
    """Another object or another writer stands in the way."""


class PreconditionFailed(Conflict):
    """`If-Match` names a version that is no longer the current one."""


class BodyTooLarge(RouteIQError):
    """The request body exceeds what we read into memory."""


class _RetryLater(RouteIQError):
    def __init__(self, detail: Any, retry_after: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after = retry_after

    @property
    def headers(self) -> Mapping[str, str]:
        """Whole seconds, at least one (RFC 9110 10.2.3)."""
        return {"Retry-After": str(max(1, math.ceil(self.retry_after)))}


class TooManyRequests(_RetryLater):
    """The caller asks for more than its share; it may ask again after `retry_after` seconds."""


class Unavailable(_RetryLater):
    """We cannot serve this for now; the same request may succeed after `retry_after` seconds."""


class CannotOpen(Unavailable):
    """A sealed value does not open with the current key."""

    def __init__(self, detail: Any = "a stored secret was sealed with another key, or is damaged") -> None:
        super().__init__(detail, retry_after=60)


class BackendError(RouteIQError):
    """A backend failed us; its address is never part of the message."""


class BackendTimeout(BackendError):
    """A backend did not answer in time."""


class BackendRefused(BackendError):
    """A backend did not take the credentials that it was shown; `status` is its HTTP status."""

    def __init__(self, detail: Any, status: int | None = None) -> None:
        super().__init__(detail)
        self.status = status


class BackendResponseTooLarge(BackendError):
    """A backend sent more than `outbound.max_response_mb`."""


class SourceUnreachable(BackendError):
    """The file or object that holds the configuration cannot be read."""


class NoSuchObject(SourceUnreachable):
    """The bucket answers, and holds nothing by that key."""


@dataclass(frozen=True, slots=True)
class Wire:
    """How an error looks to a client: HTTP status, and JSON-RPC code inside A2A and MCP answers."""

    status: int
    jsonrpc: int


WIRE: Final[Mapping[type[RouteIQError], Wire]] = {
    MalformedBody: Wire(400, -32700),
    HeaderMismatch: Wire(400, -32020),
    InvalidFields: Wire(422, -32602),
    AddressRefused: Wire(400, -32602),
    InvalidConfig: Wire(422, -32602),
    InvalidRequest: Wire(400, -32602),
    Unauthenticated: Wire(401, -32000),
    LoginRequired: Wire(401, -32000),
    Forbidden: Wire(403, -32000),
    NotFound: Wire(404, -32000),
    PreconditionFailed: Wire(412, -32000),
    Conflict: Wire(409, -32000),
    BodyTooLarge: Wire(413, -32600),
    TooManyRequests: Wire(429, -32000),
    Unavailable: Wire(503, -32603),
    BackendTimeout: Wire(504, -32603),
    BackendResponseTooLarge: Wire(502, -32603),
    BackendError: Wire(502, -32603),
    MissingExtra: Wire(503, -32603),
    IncompatibleHost: Wire(503, -32603),
    SettingsError: Wire(500, -32603),
    RouteIQError: Wire(500, -32603),
}
"""The one table; a class that is not in it takes its nearest ancestor's row."""


def wire(error: RouteIQError) -> Wire:
    """Look up how `error` is answered."""
    for cls in type(error).__mro__:
        row = WIRE.get(cls)
        if row is not None:
            return row
    return WIRE[RouteIQError]

"""What every control-plane request says besides its object: its JSON, who writes, and what they believe is current."""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fastapi import Security
from fastapi.security import APIKeyHeader
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request

from routeiq_plugin.errors import Conflict, InvalidFields, InvalidRequest, MalformedBody, PreconditionFailed
from routeiq_plugin.host.auth import Caller

KEY: Final = Security(APIKeyHeader(name="Authorization", scheme_name="APIKeyHeader", auto_error=False))
"""Documents the key in OpenAPI; `authenticate` reads it, with every other header that LiteLLM accepts."""

MAX_DEPTH: Final = 64
"""Deepest nesting of a request body; what renders answers gives up far below the parser's own limit."""

_DATETIME: Final = TypeAdapter(datetime)
_ENTITY_TAG: Final = re.compile(r'^(?:W/)?"(\d+)"$')


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes a change, in which request."""

    actor: str
    request_id: str | None


def author_of(request: Request, caller: Caller) -> Author:
    """Say who writes, in which request, for the audit trail."""
    return Author(caller.actor, request.headers.get("x-request-id") or str(uuid.uuid4()))


@dataclass(frozen=True, slots=True)
class Precondition:
    """What a writer believes to be current; all None when they did not say."""

    version: int | None = None
    """From `If-Match`."""
    updated_at: datetime | None = None
    """From a body that was read from us and is written back."""

    def check(self, version: int, updated_at: datetime, what: str) -> None:
        """Raise `PreconditionFailed` or `Conflict` when another write came between; `what` is "agent" or the like."""
        if self.version is not None and self.version != version:
            raise PreconditionFailed(f"If-Match names version {self.version}; the {what} is at version {version}")
        if self.updated_at is not None and self.updated_at != updated_at:
            raise Conflict(
                f"updated_at {self.updated_at.isoformat()} is stale: the {what} was changed at "
                f"{updated_at.isoformat()}. Read it again, or leave updated_at out to overwrite"
            )


def precondition(if_match: str | None, body: Any = None) -> Precondition:
    """Read what the writer believes to be current, from `If-Match` or an `updated_at` sent back."""
    return Precondition(version=_version(if_match), updated_at=_read_at(body))


def _version(if_match: str | None) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    match = _ENTITY_TAG.match(if_match.strip())
    if match is None:
        raise InvalidRequest('If-Match: send the ETag as you read it, for instance "3"')
    return int(match.group(1))


def _read_at(body: Any) -> datetime | None:
    stated = body.get("updated_at") if isinstance(body, Mapping) else None
    if stated is None:
        return None
    try:
        return _DATETIME.validate_python(stated)
    except ValidationError:
        raise InvalidFields.of("updated_at", "Send the updated_at that you read, or leave it out") from None


def json_body(body: bytes) -> Any:
    """Parse a request body; raises `MalformedBody` that says where it breaks."""
    try:
        parsed = json.loads(body, parse_constant=_refuse_constant, parse_float=_finite)
    except json.JSONDecodeError as broken:
        raise MalformedBody(
            f"The request body is not valid JSON: {broken.msg} at line {broken.lineno}, column {broken.colno}"
        ) from None
    except (ValueError, RecursionError):
        raise MalformedBody("The request body is not JSON in UTF-8 of a reasonable depth and size of numbers") from None
    _require_renderable(parsed)
    return parsed


def finite_json(text: bytes) -> Any:
    """Parse JSON as RFC 8259 has it: without NaN, and without numbers that are none; raises `ValueError` too deep."""
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _refuse_constant(name: str) -> Any:
    raise MalformedBody(f"The request body is not valid JSON: {name} is not a JSON value")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(digits)
    return number


def _require_renderable(parsed: Any) -> None:
    """Refuse what JSON can spell and no answer could: half of a surrogate pair, or a value that is too deep."""
    level: list[Any] = [parsed]
    for _ in range(MAX_DEPTH):
        if not level:
            return
        for value in level:
            if isinstance(value, str) and not _is_text(value):
                raise MalformedBody("The request body holds half of a surrogate pair, which is no text")
        level = [each for value in level for each in _parts(value)]
    if level:
        raise MalformedBody(f"The request body is nested deeper than {MAX_DEPTH} levels")


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return (*value.keys(), *value.values())
    return value if isinstance(value, list) else ()


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True

"""Server-sent events, one by one as they arrive, with the JSON-RPC message inside each (WHATWG HTML 9.2)."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from routeiq_plugin.errors import BackendResponseTooLarge

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024

_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE: Final = re.compile(rb"\r\n|\n|\r")

Json = dict[str, Any]


async def events(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield each event whole, its empty line included; what is not finished when the stream ends is dropped."""
    held = b""
    async for piece in pieces:
        held += piece
        while (end := _END.search(held)) is not None:
            yield held[: end.end()]
            held = held[end.end() :]
        if len(held) > MAX_EVENT_BYTES:
            raise BackendResponseTooLarge("an event of the backend is too large")


def message_of(event: bytes) -> Any:
    """Return what the event's data says; None for an event without data, or whose data is not JSON."""
    data = data_of(event)
    try:
        return json.loads(data) if data else None
    except (ValueError, RecursionError):
        return None


def data_of(event: bytes) -> bytes:
    """Return the event's data; empty for an event without any."""
    return b"\n".join(_field(line) for line in _LINE.split(event) if _is_data(line))


def id_of(event: bytes) -> str | None:
    """Return the event's id; None for one that has none."""
    found = None
    for line in _LINE.split(event):
        if line.startswith(b"id:"):
            found = line[3:].removeprefix(b" ").decode("latin-1")
    return found or None


def with_message(event: bytes, message: Json) -> bytes:
    """Return the event with another message, its id and name kept."""
    return b"\n".join(_lines(event, message)) + b"\n\n"


def _lines(event: bytes, message: Json) -> Iterator[bytes]:
    yield from (line for line in _LINE.split(event) if line and not _is_data(line))
    yield b"data: " + json.dumps(message, separators=(",", ":")).encode()


def _is_data(line: bytes) -> bool:
    return line == b"data" or line.startswith(b"data:")


def _field(line: bytes) -> bytes:
    return line[5:].removeprefix(b" ")

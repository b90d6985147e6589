"""Server-sent events, one by one as they arrive, with the JSON-RPC message inside each (WHATWG HTML 9.2)."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

from routeiq_plugin.errors import BackendResponseTooLarge

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024

_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LONGEST_END: Final = 4
_LINE: Final = re.compile(rb"\r\n|\n|\r")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """What one event says."""

    name: str = ""
    data: bytes = b""
    id: str | None = None
    retry_seconds: float | None = None
    """How long to wait before the stream is taken up again."""

    @classmethod
    def read(cls, event: bytes) -> Self:
        """Read one event; lines that say nothing known are gone by."""
        fields: dict[bytes, list[bytes]] = {}
        for line in _LINE.split(event):
            name, _, value = line.partition(b":")
            fields.setdefault(name, []).append(value.removeprefix(b" "))
        told = {
            name: fields[name][-1].decode("utf-8", "replace") for name in (b"event", b"id", b"retry") if name in fields
        }
        retry = told.get(b"retry", "")
        return cls(
            name=told.get(b"event", ""),
            data=b"\n".join(fields.get(b"data", ())),
            id=told.get(b"id") or None,
            retry_seconds=int(retry) / 1000 if retry.isascii() and retry.isdigit() and len(retry) < 10 else None,
        )


async def events(pieces: AsyncIterator[bytes], most: int | None = MAX_EVENT_BYTES) -> AsyncGenerator[bytes, None]:
    """Yield each event whole, its empty line included; what is not finished when the stream ends is dropped.

    Raises `BackendResponseTooLarge` for one of more than `most` bytes; None where what is below bounds them.
    """
    held, looked = bytearray(), 0
    async for piece in pieces:
        held += piece
        while (end := _END.search(held, looked)) is not None:
            yield bytes(held[: end.end()])
            del held[: end.end()]
            looked = 0
        looked = max(0, len(held) - _LONGEST_END + 1)
        if most is not None and len(held) > most:
            raise BackendResponseTooLarge("an event of the backend is too large")


def message_of(event: bytes) -> Any:
    """Return what the event's data says; None for an event without data, or whose data is not JSON."""
    data = Event.read(event).data
    try:
        return json.loads(data) if data else None
    except (ValueError, RecursionError):
        return None


def with_message(event: bytes, message: Json) -> bytes:
    """Return the event with another message, its id and name kept."""
    return b"\n".join(_lines(event, message)) + b"\n\n"


def _lines(event: bytes, message: Json) -> Iterator[bytes]:
    yield from (line for line in _LINE.split(event) if line and not _is_data(line))
    yield b"data: " + json.dumps(message, separators=(",", ":")).encode()


def _is_data(line: bytes) -> bool:
    return line == b"data" or line.startswith(b"data:")

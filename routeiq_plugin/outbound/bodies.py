"""How much of an answer we are willing to read: bytes on the wire, bytes after decompression, seconds."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol

from routeiq_plugin.errors import BackendError, BackendResponseTooLarge, BackendTimeout
from routeiq_plugin.outbound.events import Separators
from routeiq_plugin.settings import OutboundSettings

EXCHANGE_FACTOR: Final = 10
"""A backend that drips bytes never falls silent; this many times the timeout ends its headers, and its body."""
PIECE: Final = 65_536
"""Bytes that one step of decompression may yield."""

RawHeaders = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Limits:
    """The operator's bounds on one exchange."""

    max_bytes: int
    timeout: float
    """Longest silence, in seconds."""

    @classmethod
    def of(cls, settings: OutboundSettings) -> Limits:
        """Read them from the settings."""
        return cls(int(settings.max_response_mb * 1024 * 1024), settings.timeout_seconds)

    @property
    def exchange_seconds(self) -> float:
        """Longest time for the headers, and again for a body that is no event stream."""
        return self.timeout * EXCHANGE_FACTOR


class Bound(Protocol):
    """Counts decoded bytes and raises when there are too many."""

    def feed(self, piece: bytes) -> None:
        """Count a piece."""
        ...


class TotalBound:
    """Bounds a whole body, in bytes and seconds."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = monotonic) -> None:
        self._left = limits.max_bytes
        self._clock = clock
        self._end = clock() + limits.exchange_seconds

    def feed(self, piece: bytes) -> None:
        """Count a piece; raises `BackendResponseTooLarge` or `BackendTimeout`."""
        self._left -= len(piece)
        if self._left < 0:
            raise too_large()
        if self._clock() > self._end:
            raise BackendTimeout("the backend did not finish its answer in time")


class EventBound:
    """Bounds each event of a `text/event-stream`, which as a whole may go on for ever."""

    _BLANK_LINE: Final = re.compile(rb"(?>\r\n|\n|\r){2}")
    """Atomic, so that a single CRLF is never taken for two line ends."""

    def __init__(self, limits: Limits) -> None:
        self._max = limits.max_bytes
        self._open = 0
        self._tail = b""

    def feed(self, piece: bytes) -> None:
        """Count a piece, starting anew after each blank line; raises `BackendResponseTooLarge`."""
        text = self._tail + piece
        start = len(self._tail) - self._open  # where the open event began; negative when in an earlier piece
        for blank in self._BLANK_LINE.finditer(text):
            self._check(blank.end() - start)
            start = blank.end()
        self._open = len(text) - start
        self._check(self._open)
        self._tail = text[-3:]

    def _check(self, size: int) -> None:
        if size > self._max:
            raise too_large()


class Decoder:
    """Undoes gzip or deflate in small steps, so that a bomb is met by the bound and not by the memory."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)  # 32: gzip or zlib, whichever it is
        self._begun = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what the chunk decodes to, at most `PIECE` bytes at a time; raises `BackendError`."""
        self._begun = self._begun or bool(chunk)
        try:
            while chunk and not self._inflate.eof:
                yield self._inflate.decompress(chunk, PIECE)
                chunk = self._inflate.unconsumed_tail
        except zlib.error:
            raise BackendError("the backend sent a compressed body that cannot be decoded") from None

    def finish(self) -> Iterator[bytes]:
        """Yield what is held back; raises `BackendError` when the body was cut short."""
        while self._begun and not self._inflate.eof:
            try:
                piece = self._inflate.decompress(self._inflate.unconsumed_tail, PIECE)
            except zlib.error:
                piece = b""
            if not piece:
                raise BackendError("the backend sent a compressed body that ends too soon")
            yield piece


class Body:
    """Reads one answer within the limits: `feed` each chunk from the wire, then `finish`.

    `headers` are those to pass on: without `Content-Encoding` and `Content-Length` when the body is decoded here.
    """

    def __init__(self, headers: RawHeaders, limits: Limits) -> None:
        self.headers = headers
        self._limits = limits
        self._refusal: Exception | None = None
        self._decoder: Decoder | None = None
        self._bound: Bound
        self._separators: Separators | None = None
        if _value(headers, b"content-type").startswith(b"text/event-stream"):
            self._bound = EventBound(limits)
            self._separators = Separators()
        else:
            self._bound = TotalBound(limits)
            self._declared(_value(headers, b"content-length"))
        self._encoded(_value(headers, b"content-encoding"))

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the decoded pieces of a chunk; raises `BackendError` and its kinds."""
        if self._refusal is not None:
            raise self._refusal  # here and not earlier: an answer to HEAD declares a length and has no body
        yield from self._bounded((chunk,) if self._decoder is None else self._decoder.feed(chunk))

    def finish(self) -> Iterator[bytes]:
        """Yield what is left at the end of the body."""
        if self._decoder is not None:
            yield from self._bounded(self._decoder.finish())
        if self._separators is not None:
            yield self._separators.finish()

    def _bounded(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._bound.feed(piece)
            if piece:
                yield piece if self._separators is None else self._separators.feed(piece)

    def _declared(self, length: bytes) -> None:
        if length.isdigit() and int(length) > self._limits.max_bytes:
            self._refusal = too_large()

    def _encoded(self, encoding: bytes) -> None:
        if encoding in (b"", b"identity"):
            return
        if encoding not in (b"gzip", b"x-gzip", b"deflate"):
            self._refusal = BackendError(
                "the backend sent a compressed body although an uncompressed one was asked for"
            )
            return
        self._decoder = Decoder()
        ours = (b"content-encoding", b"content-length")
        self.headers = [(name, value) for name, value in self.headers if name.lower() not in ours]


def request_headers(headers: RawHeaders) -> RawHeaders:
    """Ask for an uncompressed answer, whatever a caller's or an agent's own headers say."""
    kept = [(name, value) for name, value in headers if name.lower() != b"accept-encoding"]
    return [*kept, (b"Accept-Encoding", b"identity")]


def too_large() -> BackendResponseTooLarge:
    """Build the error, naming the setting."""
    return BackendResponseTooLarge("the backend's answer is larger than `routeiq.outbound.max_response_mb`")


def _value(headers: RawHeaders, name: bytes) -> bytes:
    """Join the values as RFC 9110 5.3 does; a repeated Content-Encoding is two encodings, which we refuse."""
    return b", ".join(value.strip().lower() for key, value in headers if key.lower() == name)

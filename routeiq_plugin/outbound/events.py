"""Event streams as the SDK's client can read them: it ends lines where Unicode does, a stream only at CR and LF."""

from __future__ import annotations

from typing import Final

_SEPARATORS: Final = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))
"""In UTF-8, each with what JSON writes for it; JSON has them in strings alone, so that either means the same."""

_BEGINNINGS: Final = (b"\xe2\x80", b"\xe2", b"\xc2")


class Separators:
    """Escapes the line and paragraph separators of a stream of JSON events, also where a chunk ends inside of one."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """Return the piece with them escaped; what may be the beginning of one waits for the next."""
        text = self._held + piece
        self._held = next((each for each in _BEGINNINGS if text.endswith(each)), b"")
        text = text[: len(text) - len(self._held)]
        for raw, escaped in _SEPARATORS:
            text = text.replace(raw, escaped)
        return text

    def finish(self) -> bytes:
        """Return what waits."""
        return self._held

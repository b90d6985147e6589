"""What a server's process says on its standard error: read so that it never blocks, logged within bounds."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self, TextIO

logger = logging.getLogger(__name__)

MAX_LINES: Final = 200
"""Of one process; the rest is read and dropped."""
MAX_LINE: Final = 500
MASK: Final = "***"
_SHORTEST_SECRET: Final = 4
_CHUNK: Final = 65_536


class Stderr:
    """A pipe whose other end the process holds; values of its environment are masked, for they may be secrets."""

    def __init__(self, name: str, env: Mapping[str, str]) -> None:
        self._name = name
        self._secrets = [value for value in env.values() if len(value) >= _SHORTEST_SECRET]
        self._lines = 0
        self._rest = b""
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        self.file: TextIO = os.fdopen(writer, "w")

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._reader, self._read)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._reader)
        self.file.close()
        os.close(self._reader)

    def _read(self) -> None:
        try:
            chunk = os.read(self._reader, _CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            asyncio.get_running_loop().remove_reader(self._reader)
        if self._lines >= MAX_LINES:
            return
        *lines, self._rest = (self._rest + chunk)[-_CHUNK:].split(b"\n")
        for line in lines:
            self._lines += 1
            text = self._masked(line.decode(errors="replace"))
            logger.debug("routeiq: MCP server %s: %s", self._name, text[:MAX_LINE])

    def _masked(self, line: str) -> str:
        for secret in self._secrets:
            line = line.replace(secret, MASK)
        return "".join(letter if letter.isprintable() else "?" for letter in line)

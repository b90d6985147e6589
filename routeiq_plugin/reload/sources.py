"""Where a configuration comes from."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import yaml

from routeiq_plugin.errors import InvalidConfig, SourceUnreachable
from routeiq_plugin.reload.documents import MAX_BYTES, MAX_INCLUDES, Document, resolve_path

Include = Callable[[str, str], Awaitable[Document]]
"""Reads what an `include:` entry of a document (by location) means."""


class Fetched(Protocol):
    """What a source holds now; other documents that it includes are read when they turn out to be needed."""

    @property
    def documents(self) -> Sequence[Document]:
        """What was read so far, the first one first."""
        ...

    @property
    def etag(self) -> str | None:
        """Names the state of what was read so far, for the next conditional request."""
        ...

    async def include(self, entry: str, declared_in: str) -> Document:
        """Read an `include:` entry of one of its documents; raises `InvalidConfig` and `SourceUnreachable`."""
        ...


class Source(Protocol):
    """A file or an object that holds a whole configuration."""

    @property
    def name(self) -> str:
        """Tells it from others; holds no secret."""
        ...

    @property
    def remote(self) -> bool:
        """Whether it is another one than the boot file, so that less is taken from it."""
        ...

    async def fetch(self, etag: str | None) -> Fetched | None:
        """Return what it holds, None when it still is what `etag` names; raises `SourceUnreachable`."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """Describe it for admins."""
        ...

    async def aclose(self) -> None:
        """Let go of connections."""
        ...


class FileSource:
    """A file of this machine."""

    def __init__(self, path: str, *, remote: bool = False) -> None:
        self._path = os.path.abspath(path)
        self._remote = remote

    @property
    def name(self) -> str:
        """The path."""
        return self._path

    @property
    def remote(self) -> bool:
        """Whether it is another one than the boot file."""
        return self._remote

    async def fetch(self, etag: str | None) -> Fetched | None:
        """Read the file; it has no tag, reading it is as cheap as asking."""
        return FetchedFile((await asyncio.to_thread(read_file, self._path),))

    def facts(self) -> Mapping[str, Any]:
        """Describe it."""
        return {"type": "file", "path": self._path}

    async def aclose(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file that was read, and the way to those beside it."""

    documents: Sequence[Document]
    etag: str | None = None

    async def include(self, entry: str, declared_in: str) -> Document:
        """Read an included file by LiteLLM's rule of places."""
        return await asyncio.to_thread(read_file, resolve_path(entry, declared_in, self.documents[0].location))


def read_file(path: str) -> Document:
    """Read one file; raises `InvalidConfig` for a directory or a huge one and `SourceUnreachable` otherwise."""
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise InvalidConfig("", f"larger than {MAX_BYTES // 1024**2} MiB")
            return Document(path, file.read(MAX_BYTES + 1))
    except IsADirectoryError:
        raise InvalidConfig("", "is a directory") from None
    except OSError as error:
        raise SourceUnreachable(f"The configuration file cannot be read: {error.strerror}") from error


_INCLUDE_BLOCK: Final = re.compile(rb"^include\s*:.*(?:\r?\n(?:[ \t#-].*|\s*))*", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class BootFile:
    """What the proxy booted with, kept as bytes: it is parsed only when somebody reloads, maybe never."""

    path: str | None
    documents: Sequence[Document]

    async def include(self, entry: str, declared_in: str) -> Document:
        """Find an included document among those that were read at the start, else where it is now."""
        assert self.path is not None
        location = resolve_path(entry, declared_in, self.path)
        for document in self.documents:
            if document.location == location:
                return document
        return await asyncio.to_thread(read_file, location)


def capture(path: str | None) -> BootFile:
    """Read the boot file and what it includes now, before anybody edits it; what cannot be read is left out."""
    if path is None or not os.path.isfile(path):
        return BootFile(None, ())
    root = os.path.abspath(path)
    documents: list[Document] = []
    pending = [root]
    while pending and len(documents) < MAX_INCLUDES:
        location = pending.pop(0)
        if any(document.location == location for document in documents) or not Path(location).is_file():
            continue
        document = Document(location, Path(location).read_bytes())
        documents.append(document)
        pending += [resolve_path(entry, location, root) for entry in _includes(document.data)]
    return BootFile(root, tuple(documents))


def _includes(data: bytes) -> Sequence[str]:
    """Find the `include:` list without parsing the rest, which may be large."""
    found = _INCLUDE_BLOCK.search(data)
    if found is None:
        return ()
    try:
        entries = (yaml.safe_load(found[0]) or {}).get("include")
    except (yaml.YAMLError, AttributeError):
        return ()
    return [entry for entry in entries if isinstance(entry, str)] if isinstance(entries, list) else ()

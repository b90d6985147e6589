"""The objects of a configuration in a bucket as one state: the tag of each, and the bodies of those that changed.

The tags of all are one text, which workers share in the store: whoever polls next asks for each object by its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from routeiq_plugin.errors import InvalidConfig, NoSuchObject
from routeiq_plugin.reload.documents import Document

Read = Callable[[str, str | None], Awaitable[tuple[bytes, str] | None]]
"""Returns an object's body and tag by its key, None when its tag still is the given one; raises `NoSuchObject`."""

_ABSENT: Final = ""
"""In the place of a tag: an object that an `include:` may mean and that was not there."""


class Snapshot:
    """What one look at a bucket found; grows with each object that the configuration turns out to include."""

    def __init__(self, root: str, read: Read) -> None:
        self._root = root
        self._read = read
        self._tags: dict[str, str | None] = {}
        self._documents: dict[str, Document] = {}
        self._held: dict[str, tuple[bytes, str]] = {}

    @property
    def documents(self) -> Sequence[Document]:
        """Every object that was read, the first one first."""
        return tuple(self._documents.values())

    @property
    def etag(self) -> str:
        """The tags of every object that was read or looked for; an object alone goes by its own."""
        alone = self._tags.get(self._root) if len(self._tags) == 1 else None
        return alone or json.dumps(self._tags, separators=(",", ":"))

    async def look(self, etag: str | None) -> bool:
        """Ask for each object of a known state unless it is the same; tell whether any is another, and read the first.

        Stops at the first that changed: it may include others than before.
        """
        for key, tag in _tags(etag, self._root).items():
            if await self._differs(key, tag):
                break
        else:
            if etag is not None:
                return False
        await self._document(self._root)
        return True

    async def include(self, entry: str, declared_in: str) -> Document:
        """Read the object that an `include:` entry means; raises `InvalidConfig` and `SourceUnreachable`."""
        for key in keys_of(entry, declared_in, self._root):
            try:
                return await self._document(key)
            except NoSuchObject:
                self._tags[key] = _ABSENT
        raise InvalidConfig("include", f"{entry}: there is no such object")

    async def _differs(self, key: str, tag: str | None) -> bool:
        try:
            found = await self._read(key, tag or None)
        except NoSuchObject:
            if key == self._root:
                raise
            return tag != _ABSENT
        if found is not None:
            self._held[key] = found
        return found is not None

    async def _document(self, key: str) -> Document:
        if key not in self._documents:
            self._tags[key] = None  # what cannot be read, being too large, is asked for again at each look
            found = self._held.pop(key, None) or await self._read(key, None)
            assert found is not None  # asked without a tag
            self._documents[key] = Document(key, found[0])
            self._tags[key] = found[1]
        return self._documents[key]


def keys_of(entry: str, declared_in: str, root: str) -> Sequence[str]:
    """Name the objects that an `include:` entry may mean: beside the one that holds it, else beside the first one.

    LiteLLM's rule for files. Raises `InvalidConfig` for what is no relative path below the first object's own place.
    """
    if not entry.strip() or entry.startswith("/") or "://" in entry or "\\" in entry or not entry.isprintable():
        raise InvalidConfig("include", f"{entry!r}: must be a relative path, of an object in the same bucket")
    home = _directory(root)
    keys = [_joined(directory, entry, len(home)) for directory in (_directory(declared_in), home)]
    found = list(dict.fromkeys(key for key in keys if key is not None))
    if not found:
        raise InvalidConfig("include", f"{entry}: leads out of the place of the configuration")
    return found


def shown(etag: str | None) -> str | None:
    """Return a tag as any key may see it: that of several objects holds their names."""
    if etag is None or not etag.startswith("{"):
        return etag
    return hashlib.sha256(etag.encode()).hexdigest()[:32]


def keys_in(etag: str | None) -> Sequence[str]:
    """List the objects of a tag of several."""
    return list(_tags(etag, "")) if etag and etag.startswith("{") else ()


def _tags(etag: str | None, root: str) -> Mapping[str, str | None]:
    if etag is None:
        return {}
    if not etag.startswith("{"):  # S3's begin with a quotation mark, those of GCS are numbers
        return {root: etag}
    tags: Mapping[str, str | None] = json.loads(etag)
    return tags


def _directory(key: str) -> list[str]:
    return key.split("/")[:-1]


def _joined(directory: Sequence[str], entry: str, depth: int) -> str | None:
    """Follow a relative path; None when it leaves the first `depth` names or ends at no object."""
    parts = list(directory)
    for part in entry.split("/"):
        if part == "..":
            if len(parts) <= depth:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts) if len(parts) > depth else None

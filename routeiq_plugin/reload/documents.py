"""YAML that nobody vouched for: read with caps, without tags that build objects, without duplicate keys.

This runs in the trial process: libyaml composes a whole document in one call, during which no other thread runs.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

from routeiq_plugin.errors import InvalidConfig

MAX_BYTES: Final = 16 * 1024 * 1024
"""Of all documents of a configuration together."""
MAX_NODES: Final = 1_000_000
"""Scalars, lists and mappings once every alias is followed: an alias bomb of 1 KB has billions."""
MAX_INCLUDES: Final = 100


@dataclass(frozen=True, slots=True)
class Document:
    """Bytes and where they came from: a path, or an object's key."""

    location: str
    data: bytes


def digest(documents: Sequence[Document]) -> str:
    """SHA-256 of the bytes, in order; locations do not count, a moved file is the same configuration."""
    summed = hashlib.sha256()
    for document in documents:
        summed.update(len(document.data).to_bytes(8, "big"))
        summed.update(document.data)
    return summed.hexdigest()


class _Loader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]  # chosen at run time
    """`SafeLoader` that refuses a key which is there twice: one of the two would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a mapping; raises `ConstructorError` with the place of the second key."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = (key_node.tag, key_node.value) if isinstance(key_node, yaml.ScalarNode) else id(key_node)
            if key in seen and getattr(key_node, "value", None) != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key_node.value!r} is there twice", key_node.start_mark
                )
            seen.add(key)
        built: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return built


def load(document: Document) -> dict[str, Any]:
    """Parse one document; raises `InvalidConfig` with line and column."""
    if len(document.data) > MAX_BYTES:
        raise InvalidConfig("", f"larger than {MAX_BYTES // 1024**2} MiB")
    try:
        text = document.data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidConfig("", f"not UTF-8 (byte {error.start})") from None
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            raise InvalidConfig("", "empty")
        _count(node)
        content = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise InvalidConfig("", f"not YAML that we read: {error.problem}{place}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InvalidConfig("", f"not YAML that we read: {type(error).__name__}") from None
    finally:
        loader.dispose()
    if not isinstance(content, dict):
        raise InvalidConfig("", f"must hold a mapping, not {type(content).__name__}")
    return content


def _count(root: yaml.Node) -> None:
    """Refuse a document that grows beyond the cap when its aliases are followed, without following them."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()
    stack = [root]
    while stack:
        node = stack[-1]
        children = _children(node)
        missing = [child for child in children if id(child) not in sizes]
        if missing and id(node) not in open_nodes:
            open_nodes.add(id(node))
            stack.extend(missing)
            continue
        if missing:
            raise InvalidConfig("", "an alias refers to what contains it")
        stack.pop()
        open_nodes.discard(id(node))
        sizes[id(node)] = 1 + sum(sizes[id(child)] for child in children)
        if sizes[id(node)] > MAX_NODES:
            raise InvalidConfig("", f"more than {MAX_NODES} values once its aliases are followed")


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def included(content: Mapping[str, Any]) -> Sequence[str]:
    """Return the `include:` entries; raises `InvalidConfig`."""
    entries = content.get("include", [])
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise InvalidConfig("include", "must be a list of file paths")
    return entries


def resolve_path(entry: str, declared_in: str, root: str, exists: Callable[[str], bool] = os.path.exists) -> str:
    """Find an included file next to the file that names it, else next to the first one: LiteLLM's rule."""
    beside = os.path.abspath(os.path.join(os.path.dirname(declared_in), entry))
    beside_root = os.path.abspath(os.path.join(os.path.dirname(root), entry))
    return beside if exists(beside) or not exists(beside_root) else beside_root


def merge(documents: Sequence[Document], locate: Callable[[str, str], str]) -> dict[str, Any]:
    """Merge a configuration with what it includes: lists grow, everything else is replaced (LiteLLM's rule).

    `documents` hold the first one and every included one; `locate(entry, declared_in)` names the one that is meant.
    """
    by_location = {document.location: document for document in documents}
    root = documents[0]
    content = load(root)
    pending = [(entry, root.location) for entry in included(content)]
    loaded = {root.location}
    merged = {key: value for key, value in content.items() if key != "include"}
    while pending:
        entry, declared_in = pending.pop(0)
        location = locate(entry, declared_in)
        if location in loaded:
            continue
        loaded.add(location)
        if location not in by_location:
            raise InvalidConfig("include", f"{entry}: not found")
        more = load(by_location[location])
        pending += [(each, location) for each in included(more)]
        for key, value in more.items():
            if key == "include":
                continue
            old = merged.get(key)
            merged[key] = [*old, *value] if isinstance(old, list) and isinstance(value, list) else value
    return merged

"""A configuration as small pieces, compared and applied one by one; `os.environ/` references stay as they are.

Its text form is one JSON line per piece: workers read it in slices, and no slice blocks the event loop.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any, Final

from routeiq_plugin.errors import InvalidConfig
from routeiq_plugin.reload.pace import breathe
from routeiq_plugin.settings import SECTION

MAPPINGS: Final = ("router_settings", "litellm_settings", "general_settings", SECTION)
"""Sections that are compared key by key."""
SPLIT: Final = frozenset({"a2a", "mcp", "routing"})
"""Parts of `routeiq:` whose settings are pieces of their own, with a dotted key: some are hot, others are not."""
TOP: Final = ""
"""Section of every other top-level key, which is compared as a whole."""

_LINES: Final = 200
"""Compared before requests have their turn."""

Key = tuple[str, str]
"""Section, and what tells a piece from its siblings."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One piece."""

    section: str
    key: str
    line: str
    """Canonical JSON of [section, key, value]: equal lines mean equal pieces."""

    @classmethod
    def of(cls, section: str, key: str, value: Any) -> Entry:
        """Build a piece; raises `InvalidConfig` for what JSON cannot hold."""
        try:
            line = json.dumps(
                [section, key, value], separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
            )
            line.encode()
        except (TypeError, ValueError) as error:
            raise InvalidConfig(path_of(section, key), f"holds something other than JSON: {error}") from None
        return cls(section, key, line)

    @classmethod
    def read(cls, line: str) -> Entry:
        """Read a line of the text form."""
        section, key, _ = json.loads(line)
        return cls(section, key, line)

    @property
    def id(self) -> Key:
        """What tells it from all others."""
        return self.section, self.key

    @property
    def value(self) -> Any:
        """The raw value, a new object at each call."""
        return json.loads(self.line)[2]

    @property
    def path(self) -> str:
        """How operators read it."""
        return path_of(self.section, self.key)


def _plain(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()  # YAML reads 2024-02-01 as a date where people mean a version
    raise TypeError(type(value).__name__)


def path_of(section: str, key: str) -> str:
    """Name a piece with dots; deployments go by their model name, and their id when they declare one."""
    if section == "model_list":
        key = key.partition("#~")[0]
    return f"{section}.{key}" if section else key


@dataclass(frozen=True)
class Content:
    """A whole configuration."""

    entries: tuple[Entry, ...]

    @cached_property
    def text(self) -> str:
        """The text form."""
        return "\n".join(entry.line for entry in self.entries)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the text form: the same for the same configuration, however its YAML is written."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @cached_property
    def lines(self) -> Mapping[Key, str]:
        """Each piece's line by its id, in order."""
        return {entry.id: entry.line for entry in self.entries}

    def section(self, name: str) -> Iterator[Entry]:
        """Yield the pieces of a section in order."""
        return (entry for entry in self.entries if entry.section == name)

    def document(self) -> dict[str, Any]:
        """Put the pieces together again, as LiteLLM reads a configuration."""
        built: dict[str, Any] = {}
        for entry in self.entries:
            if entry.section in ("model_list", "agents"):
                built.setdefault(entry.section, []).append(entry.value)
            elif entry.section == TOP:
                built[entry.key] = entry.value
            else:
                place = built.setdefault(entry.section, {})
                part, _, name = entry.key.partition(".")
                if entry.section == SECTION and name and part in SPLIT:
                    place.setdefault(part, {})[name] = entry.value
                else:
                    place[entry.key] = entry.value
        return built


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs between what runs and what shall run; hot pieces only."""

    added: tuple[Entry, ...] = ()
    changed: tuple[Entry, ...] = ()
    removed: tuple[Key, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether anything differs."""
        return bool(self.added or self.changed or self.removed)

    @property
    def news(self) -> tuple[Entry, ...]:
        """Pieces that must be built."""
        return (*self.added, *self.changed)

    def of(self, section: str) -> Changes:
        """Return the part of one section."""
        return Changes(
            tuple(entry for entry in self.added if entry.section == section),
            tuple(entry for entry in self.changed if entry.section == section),
            tuple(key for key in self.removed if key[0] == section),
        )


async def compare(running: Mapping[Key, str], new: Mapping[Key, str]) -> Changes:
    """Compare line by line, in slices; a piece whose line is the same is in no list."""
    added: list[Entry] = []
    changed: list[Entry] = []
    for position, (key, line) in enumerate(new.items()):
        if position % _LINES == 0:
            await breathe()
        old = running.get(key)
        if old != line:
            (added if old is None else changed).append(Entry(key[0], key[1], line))
    await breathe()
    return Changes(tuple(added), tuple(changed), tuple(key for key in running if key not in new))


def explode(document: Mapping[str, Any]) -> Content:
    """Take a configuration apart; raises `InvalidConfig` for a section of the wrong shape and for duplicates."""
    entries: list[Entry] = []
    for name, value in document.items():
        if not isinstance(name, str):
            raise InvalidConfig(str(name), "top-level keys are names")
        if name == "agent_list":
            if "agents" in document:
                raise InvalidConfig(name, "is the old name of `agents`; use one of the two")
            name = "agents"  # noqa: PLW2901  LiteLLM reads either
        entries.extend(_pieces(name, value))
    return Content(tuple(_unique(entries)))


def pieces_of(line: str) -> Iterable[Entry]:
    """Read a line of the text form; where an older version kept a part of `routeiq:` whole, it is taken apart."""
    entry = Entry.read(line)
    return _pieces(SECTION, {entry.key: entry.value}) if entry.section == SECTION and entry.key in SPLIT else (entry,)


def _pieces(name: str, value: Any) -> Iterable[Entry]:
    if name in ("model_list", "agents"):
        return _elements(name, [] if value is None else value)
    if name in MAPPINGS or name == "mcp_servers":
        if not isinstance(value, Mapping | None):
            raise InvalidConfig(name, f"must be a mapping, not {type(value).__name__}")
        if name == SECTION:
            value = _split(value or {})
        return [Entry.of(name, _key(name, key), each) for key, each in (value or {}).items()]
    return [Entry.of(TOP, name, value)]


def _split(section: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Take the parts of `routeiq:` apart; one of the wrong shape stays whole, the schema refuses it with its path."""
    pieces: dict[Any, Any] = {}
    for part, value in section.items():
        if part in SPLIT and isinstance(value, Mapping) and value:
            pieces |= {f"{part}.{name}": each for name, each in value.items()}
        else:
            pieces[part] = value
    return pieces


def _elements(name: str, values: Any) -> Iterator[Entry]:
    if not isinstance(values, list):
        raise InvalidConfig(name, f"must be a list, not {type(values).__name__}")
    for position, value in enumerate(values):
        if not isinstance(value, Mapping):
            raise InvalidConfig(f"{name}[{position}]", f"must be a mapping, not {type(value).__name__}")
        key = _model_key(value, position) if name == "model_list" else value.get("agent_name")
        if not isinstance(key, str) or not key:
            raise InvalidConfig(f"{name}[{position}].agent_name", "is required and must be text")
        yield Entry.of(name, key, value)


def _model_key(value: Mapping[str, Any], position: int) -> str:
    name = value.get("model_name")
    if not isinstance(name, str) or not name:
        raise InvalidConfig(f"model_list[{position}].model_name", "is required and must be text")
    info = value.get("model_info")
    if isinstance(info, Mapping) and info.get("id") is not None:
        return f"{name}#{info['id']}"
    plain = Entry.of("model_list", name, value).line
    return f"{name}#~{hashlib.sha256(plain.encode()).hexdigest()[:12]}"


def model_name_of(key: str) -> str:
    """Return the model group that a deployment's key belongs to."""
    return key.rsplit("#", 1)[0]


def _key(section: str, key: Any) -> str:
    if not isinstance(key, str):
        raise InvalidConfig(f"{section}.{key}", "keys are names")
    return key


def _unique(entries: Sequence[Entry]) -> Sequence[Entry]:
    seen: set[Key] = set()
    ids: dict[str, str] = {}
    for entry in entries:
        if entry.id in seen:
            raise InvalidConfig(entry.path, "is there twice")
        seen.add(entry.id)
        if entry.section == "model_list" and "#~" not in entry.key:
            model_id = entry.key.rsplit("#", 1)[1]
            if model_id in ids:
                raise InvalidConfig(f"{entry.path}.model_info.id", f"{model_id!r} is also the id of {ids[model_id]}")
            ids[model_id] = entry.path
    return entries

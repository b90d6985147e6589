"""Which model a thread began on, remembered by this worker and, where LiteLLM has a Redis, by all."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, Protocol

from routeiq_plugin.routing.prompts import Prompt

KEPT: Final = 50_000
TTL_SECONDS: Final = 24 * 3600
_PREFIX: Final = "routeiq:thread:"
_SESSION_KEYS: Final = ("session_id", "litellm_session_id", "conversation_id", "thread_id")
_SESSION_HEADERS: Final = ("x-litellm-session-id", "x-session-id")


class SharedCache(Protocol):
    """LiteLLM's cache as its hooks are given it."""

    async def async_get_cache(self, key: str) -> Any:
        """Return what is kept."""
        ...

    async def async_set_cache(self, key: str, value: Any, *, ttl: float) -> Any:
        """Keep for `ttl` seconds."""
        ...


class Threads:
    """Models by thread."""

    def __init__(self, size: int = KEPT) -> None:
        self._size = size
        self._known: OrderedDict[str, str] = OrderedDict()

    async def model_of(self, thread: str, shared: SharedCache | None) -> str | None:
        """Return the model that a thread is on, None for one that is not known."""
        known = self._known.get(thread)
        if known is not None:
            self._known.move_to_end(thread)
            return known
        found = None if shared is None else await shared.async_get_cache(_PREFIX + thread)
        return found if isinstance(found, str) else None

    async def keep(self, thread: str, model: str, shared: SharedCache | None) -> None:
        """Put a thread on a model."""
        if self._known.get(thread) == model:
            return
        self._known[thread] = model
        self._known.move_to_end(thread)
        while len(self._known) > self._size:
            self._known.popitem(last=False)
        if shared is not None:
            await shared.async_set_cache(_PREFIX + thread, model, ttl=TTL_SECONDS)


def session_of(data: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
    """Return the name that the caller gives a thread: session or conversation, in body, metadata or headers."""
    conversation = data.get("conversation")
    if isinstance(conversation, Mapping):
        conversation = conversation.get("id")
    told = [conversation, *(headers.get(name) for name in _SESSION_HEADERS)]
    for place in (data, data.get("metadata"), data.get("litellm_metadata")):
        if isinstance(place, Mapping):
            told += [place.get(name) for name in _SESSION_KEYS]
    return next((value for value in told if isinstance(value, str) and value), None)


def thread_of(alias: str, owner: str, prompt: Prompt, session: str | None) -> str:
    """Return a thread's name: of the caller's session, else of how it begins; nobody else's thread has the same."""
    told = ("session", session) if session else ("opening", prompt.system, prompt.first)
    digest = hashlib.blake2b(digest_size=16)
    for part in (alias, owner, *told):
        digest.update(f"{len(part)}:".encode() + part.encode(errors="replace"))
    return digest.hexdigest()

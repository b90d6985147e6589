"""Users' tokens in this worker's memory, so that a call of a user who is logged in asks the store nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from routeiq_plugin.store.feed import Change, Resync
from routeiq_plugin.store.oauth_tokens import KIND, Held

SECONDS: Final = 60.0
"""How long a token is used without another look, should no change be heard of."""
MOST: Final = 10_000


class Memory:
    """Remembers what was read, until the store's feed says that it changed.

    What was refreshed by another worker is not told: the earlier token is good until its own time comes.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._known: OrderedDict[tuple[str, str], tuple[float, Held]] = OrderedDict()
        self.generation = 0
        """Grows with every change: what was read before one must not be remembered after it."""

    def get(self, server_id: str, owner: str) -> Held | None:
        """Return what is remembered."""
        found = self._known.get((server_id, owner))
        return None if found is None or found[0] < self._now() else found[1]

    def put(self, held: Held, generation: int) -> None:
        """Remember what was read while that generation was current."""
        if generation != self.generation:
            return
        key = (held.server_id, held.owner)
        self._known[key] = (self._now() + SECONDS, held)
        self._known.move_to_end(key)
        while len(self._known) > MOST:
            self._known.popitem(last=False)

    def forget(self, server_id: str, owner: str | None = None) -> None:
        """Forget one login, or all at a server."""
        self.generation += 1
        for key in [key for key in self._known if key[0] == server_id and owner in (None, key[1])]:
            del self._known[key]

    def follow(self, news: Sequence[Change] | Resync) -> None:
        """Forget what some worker stored or dropped."""
        if isinstance(news, Resync):
            self.generation += 1
            self._known.clear()
            return
        for server_id in {change.object_id for change in news if change.kind == KIND}:
            self.forget(server_id)

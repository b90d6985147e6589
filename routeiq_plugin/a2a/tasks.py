"""Whose task it is: a task, and the conversation around it, belong to the team, user or key that began them."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from routeiq_plugin.errors import Unavailable
from routeiq_plugin.host.auth import Caller
from routeiq_plugin.store.tasks import Kind, Owned

logger = logging.getLogger(__name__)

CALLER: Final = "routeiq.a2a.caller"
"""Key of the ASGI scope, and of the SDK's call context, that holds who is calling as `TaskCaller`."""

BASE_URL: Final = "routeiq.a2a.base_url"
"""Key of both that holds where the caller reaches the gateway, without trailing slash."""

HINDERED: Final = "routeiq.a2a.hindered"
"""Key of both, where answers have a status for it, of the list of what kept a backend or the store from answering."""

KEPT: Final = timedelta(days=30)
"""How long after it was last seen a task keeps its owner; afterwards only admins can reach it."""

REMEMBERED: Final = 50_000
"""Owners that each worker keeps in memory; others are read from the store."""

SEEN_AGAIN: Final = timedelta(hours=12)
"""How old what the store says about when a task was last seen may grow before it is written anew."""


class OwnerStore(Protocol):
    """Owners at rest; `store.tasks.TaskStore` is one."""

    async def claim(self, agent_id: str, owner: str, objects: Collection[Owned], now: datetime) -> Mapping[Owned, str]:
        """Give `owner` what nobody has, and return who has each; raises `Unavailable`."""
        ...

    async def owners(self, agent_id: str, objects: Collection[Owned]) -> Mapping[Owned, str]:
        """Return who has each of these; raises `Unavailable`."""
        ...

    async def prune(self, before: datetime) -> int:
        """Forget what was last seen before then; raises `Unavailable`."""
        ...


@dataclass(frozen=True, slots=True)
class TaskCaller:
    """Who calls, as far as tasks are concerned."""

    owner: str
    """`team:`, `user:` or `key:` and the id: what LiteLLM gives a budget to."""
    sees_all: bool
    """Admins reach every task, those included that the gateway has never seen."""

    @classmethod
    def of(cls, caller: Caller) -> TaskCaller:
        """Name the owner of what this caller begins: its team, else its user, else its key."""
        if caller.team_id:
            owner = f"team:{caller.team_id}"
        elif caller.user_id:
            owner = f"user:{caller.user_id}"
        else:
            owner = f"key:{caller.key_hash}"
        return cls(owner, caller.is_admin)


@dataclass(frozen=True, slots=True)
class _Known:
    owner: str
    written: datetime | None
    """When the store last heard of it; None while it has not."""

    def is_stale(self, now: datetime) -> bool:
        """Tell whether the store is to hear of it again."""
        return self.written is None or now - self.written > SEEN_AGAIN


class NotTheirs(Exception):
    """The task or conversation is not the caller's; nobody learns whether it exists."""


class TaskOwnership:
    """Answers from memory, reads through to the store on a miss, and writes before anyone can name the task.

    While the database is away new tasks are kept in memory and written when it is back: their agent has begun them
    already, so refusing the answer would lose them.
    """

    def __init__(self, store: OwnerStore, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._known: OrderedDict[tuple[str, Owned], _Known] = OrderedDict()
        self._unwritten: dict[tuple[str, Owned], str] = {}
        self._noting: set[asyncio.Task[None]] = set()

    async def require(self, agent_id: str, caller: TaskCaller, objects: Collection[Owned]) -> None:
        """Return if all of these are the caller's; raises `NotTheirs`, and `Unavailable` when nobody can tell."""
        if caller.sees_all:
            return
        owners = await self.owners(agent_id, objects)
        if any(owners.get(each) != caller.owner for each in objects):
            raise NotTheirs
        self._note_seen(agent_id, caller.owner, objects)

    async def claim(
        self, agent_id: str, caller: TaskCaller, objects: Collection[Owned], *, asked: bool = False
    ) -> None:
        """Record what an answer names as the caller's; raises `NotTheirs` for what is somebody else's.

        What is only `asked` for has not begun: raises `Unavailable` where nobody can tell whose it is.
        """
        now = self._now()
        new = [each for each in objects if self._must_be_written(agent_id, each, caller, now)]
        if new:
            await self._write(agent_id, caller, new, now, asked=asked)
        if caller.sees_all:
            return
        for each in objects:
            known = self._known.get((agent_id, each))
            if known is not None and known.owner != caller.owner:
                raise NotTheirs

    async def owners(self, agent_id: str, objects: Collection[Owned]) -> Mapping[Owned, str]:
        """Return who has each of these, without those that nobody has; raises `Unavailable`."""
        known = ((each, self._owner_in_memory(agent_id, each)) for each in objects)
        found = {each: owner for each, owner in known if owner is not None}
        missing = [each for each in objects if each not in found]
        if missing:
            stored = await self._store.owners(agent_id, missing)
            for each, owner in stored.items():
                self._remember(agent_id, each, _Known(owner, None))
            found |= stored
        return found

    async def flush(self) -> None:
        """Write what could not be written before; raises `Unavailable` while that is still so."""
        for (agent_id, each), owner in list(self._unwritten.items()):
            now = self._now()
            holder = (await self._store.claim(agent_id, owner, [each], now)).get(each, owner)
            self._remember(agent_id, each, _Known(holder, now))
            self._unwritten.pop((agent_id, each), None)

    async def prune(self) -> int:
        """Forget what nobody has asked for in `KEPT`; raises `Unavailable`."""
        return await self._store.prune(self._now() - KEPT)

    def _note_seen(self, agent_id: str, owner: str, objects: Collection[Owned]) -> None:
        """Write, behind the answer, that somebody asked for these: what is asked for is not forgotten."""
        now = self._now()
        known = {each: self._known.get((agent_id, each)) for each in objects}
        stale = [each for each, found in known.items() if found is not None and found.is_stale(now)]
        if stale:
            for each in stale:
                self._remember(agent_id, each, _Known(owner, now))
            noting = asyncio.get_running_loop().create_task(self._seen(agent_id, owner, stale, now))
            self._noting.add(noting)
            noting.add_done_callback(self._noting.discard)

    async def _seen(self, agent_id: str, owner: str, objects: Collection[Owned], now: datetime) -> None:
        try:
            await self._store.claim(agent_id, owner, objects, now)
        except Unavailable:
            for each in objects:
                self._remember(agent_id, each, _Known(owner, None))  # to be noted when they are asked for again

    def _owner_in_memory(self, agent_id: str, each: Owned) -> str | None:
        known = self._known.get((agent_id, each))
        return known.owner if known is not None else self._unwritten.get((agent_id, each))

    def _must_be_written(self, agent_id: str, each: Owned, caller: TaskCaller, now: datetime) -> bool:
        known = self._known.get((agent_id, each))
        if known is None:
            return True
        if (agent_id, each) in self._unwritten or (known.owner != caller.owner and not caller.sees_all):
            return False
        return known.is_stale(now)

    async def _write(
        self, agent_id: str, caller: TaskCaller, new: Collection[Owned], now: datetime, *, asked: bool
    ) -> None:
        try:
            holders = await self._store.claim(agent_id, caller.owner, new, now)
        except Unavailable as away:
            if asked and any((agent_id, each) not in self._known for each in new):
                raise
            logger.warning("routeiq: the owner of a task of agent %s is only in memory: %s", agent_id, away)
            for each in new:
                if (agent_id, each) not in self._known:
                    self._unwritten[(agent_id, each)] = caller.owner
                    self._remember(agent_id, each, _Known(caller.owner, None))
            return
        for each, owner in holders.items():
            self._remember(agent_id, each, _Known(owner, now))

    def _remember(self, agent_id: str, each: Owned, known: _Known) -> None:
        self._known[(agent_id, each)] = known
        self._known.move_to_end((agent_id, each))
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def a_task(task_id: str) -> Owned:
    """Name a task."""
    return Owned(Kind.TASK, task_id)


def a_context(context_id: str) -> Owned:
    """Name a conversation."""
    return Owned(Kind.CONTEXT, context_id)


def named(task_id: str, context_id: str) -> tuple[Owned, ...]:
    """Name both, as far as there are any."""
    return (*((a_task(task_id),) if task_id else ()), *((a_context(context_id),) if context_id else ()))

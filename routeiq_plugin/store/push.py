"""Push notifications at rest: where a client wants to hear of its task, and what is still to be delivered there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import func
from sqlmodel import and_, col, delete, or_, select, update

from routeiq_plugin.errors import CannotOpen, Unavailable
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.sealing import Sealer, open_mapping, seal_mapping
from routeiq_plugin.store.tables import PushConfigRow, PushDeliveryRow

MAX_QUEUED: Final = 1000
"""Notifications that one configuration may have waiting: an agent that floods is told to come back later."""

_SEALED: Final = ("url", "token", "scheme", "credentials", "owner")
"""Fields of a configuration that only we can read."""

Wire = Literal["0.3", "1.0"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PushConfig:
    """Where a client wants to hear of a task, as it gave it; keep it in memory only."""

    push_id: str
    """SHA-256 of the token in our callback's path, in hex."""
    agent_id: str
    task_id: str | None
    """None until the agent has named the task that the configuration came with."""
    config_id: str
    """The client's; empty while it is to become the task's id."""
    wire: Wire
    """The protocol version that the client speaks."""
    created_at: datetime
    url: str = field(repr=False)
    token: str = field(default="", repr=False)
    scheme: str = field(default="", repr=False)
    credentials: str = field(default="", repr=False)
    owner: str = ""
    """Whose the task is to be; empty where an older version of ours stored it."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notification that this worker alone may deliver until its claim ends."""

    id: int
    push_id: str
    payload: str = field(repr=False)
    attempts: int
    """How often it was tried before."""
    claimed_until: datetime
    """Names the claim: no two of one notification end at the same time."""


class PushStore:
    """Stores both; every method raises `Unavailable` while the database is away."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    async def put(self, config: PushConfig) -> None:
        """Store a configuration; the task's other one of the same id works on until this one is settled."""
        async with self._database.tally() as session:
            await session.merge(self._row(config))

    async def settle(self, push_id: str, task_id: str, config_id: str, now: datetime) -> None:
        """Put a configuration that the agent has taken in the place of the task's earlier ones of that id.

        What waits for those is due at the new webhook at once, as it was written: one that was set in another version
        of the protocol hears the rest of the old one's.
        """
        async with self._database.tally() as session:
            row = await session.get(PushConfigRow, push_id, with_for_update=True)
            if row is None:
                return
            row.task_id, row.config_id = task_id, config_id
            # Locked first: a notification that is being kept meanwhile would go down with its configuration.
            earlier = list(await session.exec(_earlier(row).with_for_update()))
            if earlier:
                # Claims stay: whoever is calling the old webhook ends its delivery, or gives it back to the new one.
                await session.exec(
                    update(PushDeliveryRow)
                    .where(col(PushDeliveryRow.push_id).in_(earlier))
                    .values(push_id=push_id, attempts=0, due_at=now)
                )
                await session.exec(delete(PushConfigRow).where(col(PushConfigRow.push_id).in_(earlier)))

    async def get(self, push_id: str) -> PushConfig | None:
        """Return a configuration; raises `CannotOpen` when it was sealed with another key."""
        async with self._database.read() as session:
            row = await session.get(PushConfigRow, push_id)
            return None if row is None else self._config(row)

    async def of_task(self, agent_id: str, task_id: str) -> tuple[PushConfig, ...]:
        """Return a task's configurations, oldest first and of each id the last; raises `CannotOpen`."""
        query = (
            select(PushConfigRow)
            .where(col(PushConfigRow.agent_id) == agent_id, col(PushConfigRow.task_id) == task_id)
            .order_by(col(PushConfigRow.created_at), col(PushConfigRow.push_id))
        )
        async with self._database.read() as session:
            rows = list(await session.exec(query))
            last = {row.config_id: row for row in rows}
            return tuple(self._config(row) for row in rows if row is last[row.config_id])

    async def remove(self, push_id: str) -> None:
        """Forget a configuration and what waits for it."""
        async with self._database.tally() as session:
            await session.exec(delete(PushConfigRow).where(col(PushConfigRow.push_id) == push_id))

    async def forget(self, agent_id: str, task_id: str, config_id: str) -> None:
        """Forget a task's configurations of an id, those too that wait for another to be settled."""
        async with self._database.tally() as session:
            await session.exec(delete(PushConfigRow).where(*_same(agent_id, task_id, config_id)))

    async def enqueue(self, push_id: str, payload: str, now: datetime) -> None:
        """Keep a notification until it is delivered.

        Raises `Conflict` when its configuration is gone, and `Unavailable` too when too many wait already.
        """
        async with self._database.tally() as session:
            waiting = select(func.count()).where(col(PushDeliveryRow.push_id) == push_id)
            if (await session.exec(waiting)).one() >= MAX_QUEUED:
                raise Unavailable("too many notifications of this task are waiting", retry_after=60)
            session.add(PushDeliveryRow(push_id=push_id, payload=payload, attempts=0, due_at=now, created_at=now))

    async def claim(self, now: datetime, lease: timedelta, limit: int) -> tuple[Delivery, ...]:
        """Take deliveries that are due and that no other worker holds, the oldest of each configuration."""
        heads = select(func.min(col(PushDeliveryRow.id))).group_by(col(PushDeliveryRow.push_id))
        free = or_(col(PushDeliveryRow.claimed_until).is_(None), col(PushDeliveryRow.claimed_until) <= now)
        due = (
            select(PushDeliveryRow.id)
            .where(col(PushDeliveryRow.id).in_(heads), col(PushDeliveryRow.due_at) <= now, free)
            .order_by(col(PushDeliveryRow.due_at))
            .limit(limit)
        )
        async with self._database.tally() as session:
            ids = list(await session.exec(due))
            if not ids:
                return ()
            # `free` again: whoever waited here for another worker's row lock reads what that one wrote.
            taken = await session.exec(
                update(PushDeliveryRow)
                .where(col(PushDeliveryRow.id).in_(ids), free)
                .values(claimed_until=now + lease)
                .returning(*map(col, (PushDeliveryRow.id, PushDeliveryRow.push_id)))
                .returning(*map(col, (PushDeliveryRow.payload, PushDeliveryRow.attempts)))
                .returning(col(PushDeliveryRow.claimed_until))
                .execution_options(synchronize_session=False)
            )
            return tuple(Delivery(*row) for row in taken)

    async def done(self, delivery: Delivery) -> None:
        """Forget a notification that was delivered, unless another worker has claimed it since."""
        async with self._database.tally() as session:
            await session.exec(delete(PushDeliveryRow).where(*_claimed(delivery)))

    async def drop(self, delivery: Delivery) -> None:
        """Forget a notification that its webhook does not take; one that is another's by now stays, for that one."""
        unmoved = col(PushDeliveryRow.push_id) == delivery.push_id
        async with self._database.tally() as session:
            await session.exec(delete(PushDeliveryRow).where(*_claimed(delivery), unmoved))

    async def postpone(self, delivery: Delivery, attempts: int, due_at: datetime) -> None:
        """Give a notification back, to be tried again from `due_at` on, unless another worker has claimed it since."""
        async with self._database.tally() as session:
            await session.exec(
                update(PushDeliveryRow)
                .where(*_claimed(delivery))
                .values(attempts=attempts, due_at=due_at, claimed_until=None)
            )

    async def next_due(self) -> datetime | None:
        """Tell when the next notification is due, by any worker; None when none waits."""
        async with self._database.read() as session:
            query = select(PushDeliveryRow.due_at).order_by(col(PushDeliveryRow.due_at)).limit(1)
            return (await session.exec(query)).first()

    async def prune(self, before: datetime) -> int:
        """Forget configurations that were made before then, and return how many that were."""
        async with self._database.tally() as session:
            done = await session.exec(delete(PushConfigRow).where(col(PushConfigRow.created_at) < before))
            return int(done.rowcount)

    def _row(self, config: PushConfig) -> PushConfigRow:
        sealed = seal_mapping(self._sealer, {name: getattr(config, name) for name in _SEALED})
        assert sealed is not None
        return PushConfigRow(
            push_id=config.push_id,
            agent_id=config.agent_id,
            task_id=config.task_id,
            config_id=config.config_id,
            wire=config.wire,
            webhook=sealed,
            sealed_with=self._sealer.key_id,
            created_at=config.created_at,
        )

    def _config(self, row: PushConfigRow) -> PushConfig:
        if row.sealed_with != self._sealer.key_id:
            raise CannotOpen
        webhook: Mapping[str, Any] = open_mapping(self._sealer, row.webhook) or {}
        known = {name: str(webhook.get(name) or "") for name in _SEALED}
        wire: Wire = "0.3" if row.wire == "0.3" else "1.0"
        return PushConfig(
            push_id=row.push_id,
            agent_id=row.agent_id,
            task_id=row.task_id,
            config_id=row.config_id,
            wire=wire,
            created_at=row.created_at,
            **known,
        )


def _claimed(delivery: Delivery) -> tuple[Any, ...]:
    """Find a notification while the claim that it was taken with is the last one."""
    return (col(PushDeliveryRow.id) == delivery.id, col(PushDeliveryRow.claimed_until) == delivery.claimed_until)


def _same(agent_id: str, task_id: str, config_id: str) -> tuple[Any, ...]:
    return (
        col(PushConfigRow.agent_id) == agent_id,
        col(PushConfigRow.task_id) == task_id,
        col(PushConfigRow.config_id) == config_id,
    )


def _earlier(row: PushConfigRow) -> Any:
    """Select those that a configuration replaces: never a later one, whose agent may be about to take it."""
    assert row.task_id is not None
    made, push_id = col(PushConfigRow.created_at), col(PushConfigRow.push_id)
    before = or_(made < row.created_at, and_(made == row.created_at, push_id < row.push_id))
    same = _same(row.agent_id, row.task_id, row.config_id)
    return select(PushConfigRow.push_id).where(*same, before).order_by(made.desc(), push_id.desc())

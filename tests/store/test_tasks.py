"""Owners of tasks and notifications on their way: first come, first kept, and never two workers with one delivery."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from routeiq_plugin.a2a import push
from routeiq_plugin.a2a.deliveries import PushDeliveries
from routeiq_plugin.a2a.tasks import TaskOwnership
from routeiq_plugin.errors import CannotOpen, Conflict, InvalidRequest, NotFound, Unavailable
from routeiq_plugin.operations.faults import Faults
from routeiq_plugin.outbound.clients import Clients
from routeiq_plugin.outbound.guard import Guard
from routeiq_plugin.settings import OutboundSettings
from routeiq_plugin.store import push as push_store
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.failures import DatabaseUnavailable
from routeiq_plugin.store.push import Delivery, PushConfig, PushStore
from routeiq_plugin.store.rotation import rotate, unreadable
from routeiq_plugin.store.tasks import Kind, Owned, TaskStore
from tests.store.parts import OTHER_SEALER, SEALER, opened, outage, sql

pytestmark = pytest.mark.requirement("A2A-22")

NOW: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LEASE: Final = timedelta(seconds=30)
TASK: Final = Owned(Kind.TASK, "t-1")
CONTEXT: Final = Owned(Kind.CONTEXT, "t-1")


def config(push_id: str = "p", **fields: Any) -> PushConfig:
    return PushConfig(
        **{
            "push_id": push_id,
            "agent_id": "a",
            "task_id": "t",
            "config_id": "c",
            "wire": "1.0",
            "created_at": NOW,
            "url": "https://hook.example.com/secret-path",
            "token": "canary-token",
            "scheme": "Bearer",
            "credentials": "canary-credentials",
            **fields,
        }
    )


class Vanishing(PushStore):
    """Loses each configuration as soon as it is read."""

    async def get(self, push_id: str) -> PushConfig | None:
        found = await super().get(push_id)
        await self.remove(push_id)
        return found


def deliveries(store: PushStore, tasks: TaskStore) -> PushDeliveries:
    guard, ownership = Guard(()), TaskOwnership(tasks, lambda: NOW)
    clients, faults = Clients(OutboundSettings(), guard), Faults(lambda: NOW)
    return PushDeliveries(store, ownership, clients, guard, now=lambda: NOW, on_fault=faults.record)


@pytest.fixture
def tasks(database: Database) -> TaskStore:
    return TaskStore(database)


@pytest.fixture
def pushes(database: Database) -> PushStore:
    return PushStore(database, SEALER)


async def test_who_comes_first_keeps_it(tasks: TaskStore) -> None:
    assert await tasks.claim("a", "alice", [TASK, CONTEXT], NOW) == {TASK: "alice", CONTEXT: "alice"}
    assert await tasks.claim("a", "bob", [TASK], NOW) == {TASK: "alice"}
    assert await tasks.claim("b", "bob", [TASK], NOW) == {TASK: "bob"}, "another agent's ids are others"
    assert await tasks.owners("a", [TASK, Owned(Kind.TASK, "unknown")]) == {TASK: "alice"}
    assert await tasks.claim("a", "alice", [], NOW) == {}
    assert await tasks.owners("a", []) == {}


async def test_of_many_that_come_at_once_one_gets_it(database_url: str, tasks: TaskStore) -> None:
    async with opened(database_url) as elsewhere:
        stores = [tasks, TaskStore(elsewhere)] * 10
        claims = [store.claim("a", f"owner-{n}", [TASK, CONTEXT], NOW) for n, store in enumerate(stores)]
        answers = await asyncio.gather(*claims)
    assert len({answer[TASK] for answer in answers}) == 1


async def test_claims_of_one_moment_share_a_commit(
    database: Database, tasks: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = []
    alone = database.at_once

    async def counted(statement: str, parameters: Sequence[Any]) -> int:
        statements.append(statement)
        return await alone(statement, parameters)

    monkeypatch.setattr(database, "at_once", counted)
    many = [Owned(Kind.TASK, str(n)) for n in range(20)]
    answers = await asyncio.gather(*(tasks.claim("a", f"owner-{each.id}", [each], NOW) for each in many))
    assert answers == [{each: f"owner-{each.id}"} for each in many]
    assert len(statements) == 1
    assert await tasks.owners("a", many) == {each: f"owner-{each.id}" for each in many}


async def test_within_one_commit_who_comes_first_keeps_it(tasks: TaskStore) -> None:
    other = Owned(Kind.TASK, "t-2")
    first, second = await asyncio.gather(
        tasks.claim("a", "alice", [TASK], NOW), tasks.claim("a", "bob", [other, TASK], NOW)
    )
    assert first == {TASK: "alice"}
    assert second == {other: "bob", TASK: "alice"}
    assert await tasks.owners("a", [TASK, other]) == {TASK: "alice", other: "bob"}


async def test_a_claim_that_no_database_takes_fails_alone(tasks: TaskStore) -> None:
    good, bad = await asyncio.gather(
        tasks.claim("a", "alice", [TASK], NOW), tasks.claim("a", "\ud800", [CONTEXT], NOW), return_exceptions=True
    )
    assert good == {TASK: "alice"}
    assert isinstance(bad, InvalidRequest)
    assert await tasks.owners("a", [TASK, CONTEXT]) == {TASK: "alice"}


async def test_what_nobody_waits_for_any_more_is_written(tasks: TaskStore) -> None:
    left = asyncio.create_task(tasks.claim("a", "alice", [TASK], NOW))
    await asyncio.sleep(0)
    left.cancel()
    await tasks.claim("a", "bob", [CONTEXT], NOW)
    assert await tasks.owners("a", [TASK]) == {TASK: "alice"}


async def test_claims_are_unavailable_while_the_database_is_and_heal(database_url: str, tasks: TaskStore) -> None:
    await tasks.claim("a", "alice", [TASK], NOW)
    with outage(database_url):
        claims = [tasks.claim("a", "bob", [each], NOW) for each in (CONTEXT, TASK)]
        found = await asyncio.gather(*claims, return_exceptions=True)
        assert [type(each) for each in found] == [DatabaseUnavailable] * 2
    assert await tasks.claim("a", "bob", [TASK, CONTEXT], NOW) == {TASK: "alice", CONTEXT: "bob"}


@pytest.mark.parametrize(
    "object_id", ["x" * 100_000, "nul\x00", "half \ud800", "ünï \N{GRINNING FACE}", "", "sha256:x"]
)
async def test_any_id_can_be_owned(tasks: TaskStore, object_id: str) -> None:
    odd = Owned(Kind.CONTEXT, object_id)
    assert await tasks.claim("a", "alice", [odd], NOW) == {odd: "alice"}
    assert await tasks.claim("a", "bob", [odd], NOW) == {odd: "alice"}
    assert await tasks.owners("a", [Owned(Kind.CONTEXT, object_id + "!")]) == {}


async def test_what_nobody_asks_for_is_forgotten(tasks: TaskStore) -> None:
    await tasks.claim("a", "alice", [TASK, CONTEXT], NOW)
    await tasks.claim("a", "alice", [CONTEXT], NOW + timedelta(days=20))
    assert await tasks.prune(NOW + timedelta(days=1)) == 1
    assert await tasks.owners("a", [TASK, CONTEXT]) == {CONTEXT: "alice"}


async def test_a_configuration_comes_back_whole_and_is_sealed(database_url: str, pushes: PushStore) -> None:
    await pushes.put(config())
    assert await pushes.get("p") == config()
    assert await pushes.of_task("a", "t") == (config(),)
    assert await pushes.get("q") is None
    stored = repr(sql(database_url, "SELECT * FROM routeiq_push_config"))
    assert "canary" not in stored
    assert "secret-path" not in stored


async def test_another_key_does_not_open_it(database: Database, pushes: PushStore) -> None:
    await pushes.put(config())
    with pytest.raises(CannotOpen):
        await PushStore(database, OTHER_SEALER).get("p")


async def test_a_new_key_opens_it_after_a_rotation(database: Database, pushes: PushStore) -> None:
    await pushes.put(config())
    assert await unreadable(database, OTHER_SEALER) == ("webhook of task t",)
    assert (await rotate(database, SEALER, OTHER_SEALER)).resealed == 1
    assert await PushStore(database, OTHER_SEALER).get("p") == config()


async def test_a_configuration_replaces_the_one_of_its_id_when_it_is_settled(pushes: PushStore) -> None:
    await pushes.put(config("p1"))
    await pushes.put(config("p2"))
    await pushes.put(config("p3", config_id="other"))
    await pushes.put(config("p4", task_id="another"))
    assert [each.push_id for each in await pushes.of_task("a", "t")] == ["p2", "p3"]
    assert await pushes.get("p1") == config("p1")
    await pushes.settle("p2", "t", "c", NOW)
    assert [each.push_id for each in await pushes.of_task("a", "t")] == ["p2", "p3"]
    assert await pushes.get("p1") is None
    await pushes.forget("a", "t", "c")
    assert [each.push_id for each in await pushes.of_task("a", "t")] == ["p3"]
    assert await pushes.get("p4") == config("p4", task_id="another")


async def test_a_configuration_that_is_taken_back_leaves_the_one_it_was_to_replace(pushes: PushStore) -> None:
    await pushes.put(config("p1"))
    await pushes.enqueue("p1", "waits", NOW)
    await pushes.put(config("p2"))
    await pushes.remove("p2")
    assert await pushes.of_task("a", "t") == (config("p1"),)
    assert [each.payload for each in await pushes.claim(NOW, LEASE, 10)] == ["waits"]


async def test_an_earlier_configuration_does_not_replace_a_later_one(pushes: PushStore) -> None:
    await pushes.put(config("p1"))
    await pushes.put(config("p0", created_at=NOW + timedelta(seconds=1)))
    await pushes.settle("p1", "t", "c", NOW)
    assert [each.push_id for each in await pushes.of_task("a", "t")] == ["p0"]
    assert await pushes.get("p1") == config("p1")


async def test_what_waits_is_the_new_configurations_at_once(pushes: PushStore) -> None:
    await pushes.put(config("p1"))
    for payload in ("first", "second"):
        await pushes.enqueue("p1", payload, NOW)
    [first] = await pushes.claim(NOW, LEASE, 10)
    await pushes.postpone(first, 5, NOW + timedelta(hours=1))
    await pushes.put(config("p2"))
    await pushes.settle("p2", "t", "c", NOW)
    for payload in ("first", "second"):
        [taken] = await pushes.claim(NOW, LEASE, 10)
        assert (taken.push_id, taken.payload, taken.attempts) == ("p2", payload, 0)
        await pushes.done(taken)


async def test_what_the_old_webhook_refuses_in_the_meantime_goes_to_the_new_one(pushes: PushStore) -> None:
    await pushes.put(config("p1"))
    await pushes.enqueue("p1", "x", NOW)
    [held] = await pushes.claim(NOW, LEASE, 10)
    await pushes.put(config("p2"))
    await pushes.settle("p2", "t", "c", NOW)
    assert await pushes.claim(NOW, LEASE, 10) == (), "one worker has it still"
    await pushes.drop(held)
    [taken] = await pushes.claim(NOW + LEASE, LEASE, 10)
    assert taken.push_id == "p2"
    await pushes.drop(taken)
    assert await pushes.next_due() is None


async def test_a_callback_that_is_deleted_while_it_is_called_is_not_found(database: Database, tasks: TaskStore) -> None:
    store = Vanishing(database, SEALER)
    await store.put(config(push.push_id("token")))
    with pytest.raises(NotFound):
        await deliveries(store, tasks).receive("token", b'{"task": {"id": "t"}}')
    assert await store.next_due() is None


async def test_a_notification_that_comes_before_the_answer_gives_its_task_to_who_sent_the_message(
    pushes: PushStore, tasks: TaskStore
) -> None:
    receiving = deliveries(pushes, tasks)
    await tasks.claim("a", "bob", [Owned(Kind.TASK, "his")], NOW)
    sent = config(push.push_id("token"), task_id=None, config_id="", owner="alice")
    await pushes.put(sent)
    with pytest.raises(NotFound):
        await receiving.receive("token", b'{"task": {"id": "his"}}')
    assert await pushes.get(sent.push_id) == sent
    await receiving.receive("token", b'{"task": {"id": "hers"}}')
    hers = Owned(Kind.TASK, "hers")
    assert await tasks.owners("a", [hers]) == {hers: "alice"}
    assert await pushes.of_task("a", "hers") == (replace(sent, task_id="hers", config_id="hers"),)
    with pytest.raises(NotFound):
        await receiving.receive("token", b'{"task": {"id": "another"}}')
    assert [each.payload for each in await pushes.claim(NOW, LEASE, 10)] == ['{"task": {"id": "hers"}}']


async def test_nothing_is_lost_of_what_is_kept_during_a_replacement(database_url: str, pushes: PushStore) -> None:
    async def kept(store: PushStore, payload: str) -> str | None:
        try:
            await store.enqueue("p1", payload, NOW)
        except Conflict:
            return None
        return payload

    await pushes.put(config("p1"))
    await pushes.put(config("p2"))
    async with opened(database_url) as elsewhere:
        other = PushStore(elsewhere, SEALER)
        *payloads, _ = await asyncio.gather(
            *(kept(other, str(number)) for number in range(20)), pushes.settle("p2", "t", "c", NOW)
        )
    waiting = sql(database_url, "SELECT payload FROM routeiq_push_delivery WHERE push_id = 'p2'")
    assert {payload for (payload,) in waiting} == {each for each in payloads if each is not None}


async def test_a_configuration_may_come_before_its_task(pushes: PushStore) -> None:
    await pushes.put(config("p1"))
    await pushes.put(config("p2", task_id=None, config_id=""))
    await pushes.put(config("p3", task_id=None, config_id=""))
    await pushes.settle("p2", "t", "c", NOW)
    assert [each.push_id for each in await pushes.of_task("a", "t")] == ["p2"]
    assert await pushes.get("p3") == config("p3", task_id=None, config_id="")
    await pushes.settle("gone", "t", "c", NOW)


async def test_deliveries_go_in_order_and_to_one_worker_each(database_url: str, pushes: PushStore) -> None:
    for push_id in ("p", "q"):
        await pushes.put(config(push_id, config_id=push_id))
        for number in range(2):
            await pushes.enqueue(push_id, f"{push_id}{number}", NOW)
    async with opened(database_url) as elsewhere:
        workers = [pushes, PushStore(elsewhere, SEALER)] * 5
        claims = await asyncio.gather(*(worker.claim(NOW, LEASE, 10) for worker in workers))
    taken = [delivery for claim in claims for delivery in claim]
    assert sorted(delivery.payload for delivery in taken) == ["p0", "q0"]
    assert all(delivery.attempts == 0 for delivery in taken)
    for delivery in taken:
        await pushes.done(delivery)
    assert sorted(each.payload for each in await pushes.claim(NOW, LEASE, 10)) == ["p1", "q1"]


async def test_what_a_dead_worker_held_is_taken_again(pushes: PushStore) -> None:
    await pushes.put(config())
    await pushes.enqueue("p", "once", NOW)
    [held] = await pushes.claim(NOW, LEASE, 1)
    assert await pushes.claim(NOW + LEASE / 2, LEASE, 1) == ()
    assert await pushes.claim(NOW + LEASE, LEASE, 1) == (replace(held, claimed_until=NOW + 2 * LEASE),)


async def test_a_worker_that_outlived_its_claim_leaves_the_next_ones_alone(pushes: PushStore) -> None:
    await pushes.put(config())
    await pushes.enqueue("p", "once", NOW)
    [late] = await pushes.claim(NOW, LEASE, 1)
    [held] = await pushes.claim(NOW + LEASE, LEASE, 1)
    await pushes.postpone(late, 1, NOW)
    assert await pushes.claim(NOW + LEASE, LEASE, 1) == ()
    await pushes.done(late)
    await pushes.drop(late)
    assert await pushes.next_due() == NOW
    await pushes.done(held)
    assert await pushes.next_due() is None


async def test_what_failed_is_due_later(pushes: PushStore) -> None:
    await pushes.put(config())
    assert await pushes.next_due() is None
    await pushes.enqueue("p", "once", NOW)
    [delivery] = await pushes.claim(NOW, LEASE, 1)
    later = NOW + timedelta(minutes=1)
    await pushes.postpone(delivery, 1, later)
    assert await pushes.next_due() == later
    assert await pushes.claim(NOW, LEASE, 1) == ()
    assert await pushes.claim(later, LEASE, 1) == (Delivery(delivery.id, "p", "once", 1, later + LEASE),)


async def test_with_a_configuration_goes_what_waits_for_it(database_url: str, pushes: PushStore) -> None:
    for push_id, made in (("p", NOW), ("q", NOW + timedelta(days=9))):
        await pushes.put(config(push_id, config_id=push_id, created_at=made))
        await pushes.enqueue(push_id, "x", NOW)
    await pushes.remove("q")
    assert await pushes.prune(NOW + timedelta(days=1)) == 1
    assert sql(database_url, "SELECT count(*) FROM routeiq_push_delivery") == [(0,)]


async def test_a_flood_is_stopped(pushes: PushStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_store, "MAX_QUEUED", 2)
    await pushes.put(config())
    for _ in range(2):
        await pushes.enqueue("p", "x", NOW)
    with pytest.raises(Unavailable):
        await pushes.enqueue("p", "x", NOW)

"""Workers on one store when something is in the way: an outage, a backup, a rollback, what cannot serve here."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from routeiq_plugin.reload import following
from routeiq_plugin.reload.following import Following, Polling
from routeiq_plugin.reload.service import Order, Outcome
from routeiq_plugin.reload.status import SyncStatus
from routeiq_plugin.reload.watching import Watching
from routeiq_plugin.settings import parse
from routeiq_plugin.store.config_workers import ConfigWorkers
from routeiq_plugin.store.engine import Database
from tests.reload.bench import Bucket, Hire, Worker, config, until, working
from tests.store import parts
from tests.store.parts import opened

pytestmark = [pytest.mark.requirement("RLD-20"), pytest.mark.timeout(300)]

BY_HAND = Order("api")


@dataclass(frozen=True)
class Bench:
    url: str
    database: Database
    path: Path
    hire: Hire

    async def reloaded(self, worker: Worker, answer: str) -> int:
        """Write a configuration and let a worker reload it."""
        self.path.write_bytes(config(answer))
        outcome = await worker.reloader.reload(BY_HAND)
        assert outcome.status == "applied"
        return outcome.generation


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    path = tmp_path / "litellm_config.yaml"
    path.write_bytes(config("boot"))
    url = f"sqlite:///{tmp_path}/routeiq.db"
    async with opened(url) as database, working(database, path) as hire:
        yield Bench(url, database, path, hire)


@pytest.mark.requirement("RLD-03")
@pytest.mark.parametrize("way", ["reload", "rollback"])
async def test_a_worker_that_cannot_serve_what_is_current_can_replace_it(way: str, bench: Bench) -> None:
    bucket = Bucket()
    first, restarted = bench.hire(bucket), bench.hire(bucket)
    restarted.host.refused = "broken"
    for answer in ("good", "broken"):
        bucket.put(answer)
        await first.reloader.reload(BY_HAND)
    workers = ConfigWorkers(bench.database)
    follower = Following(restarted.reloader, restarted.identity, workers, restarted.on_fault)
    await asyncio.wait_for(follower.join(), 60)
    assert "its artifact is gone" in str(follower.error)
    assert restarted.generation == 0
    if way == "reload":
        bucket.put("mended")
        await restarted.reloader.reload(BY_HAND)
    else:
        await restarted.reloader.rollback(Order("rollback"), None)
    assert restarted.generation == first.generation + 1
    assert await first.reloader.follow()
    assert first.serves == restarted.serves == await first.newest()


async def test_news_end_the_pause_after_a_failure(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "FIRST_RETRY_SECONDS", 3600.0)
    first, second = bench.hire(), bench.hire()
    second.host.refused = "broken"
    await bench.reloaded(first, "broken")
    follower = Following(second.reloader, second.identity, ConfigWorkers(bench.database), second.on_fault)
    task = asyncio.create_task(follower.run())
    follower.notice()
    await until(lambda: follower.error is not None)
    mended = await bench.reloaded(first, "mended")
    follower.notice()
    await until(lambda: second.generation == mended and follower.error is None)
    await ended(task)


@pytest.mark.requirement("RLD-03")
async def test_a_worker_that_is_behind_does_not_call_what_it_serves_the_sources_word(bench: Bench) -> None:
    first, second = bench.hire(), bench.hire()
    second.host.refused = "broken"
    workers = ConfigWorkers(bench.database)
    follower = Following(second.reloader, second.identity, workers, second.on_fault)
    status = SyncStatus(parse({}).reload, second.reloader, follower, second.states, workers)
    await bench.reloaded(first, "good")
    task = asyncio.create_task(follower.run())
    follower.notice()
    await until(lambda: second.generation > 0)
    assert (await status.rendered(is_admin=True))["serving"] == "source"
    await bench.reloaded(first, "broken")
    follower.notice()
    await until(lambda: follower.error is not None)
    assert (await status.rendered(is_admin=True))["serving"] == "stored_copy"
    await ended(task)


@pytest.mark.requirement("RLD-08")
@pytest.mark.parametrize("fetched", ["what was left", "nothing new"])
async def test_a_poll_under_way_does_not_undo_a_rollback(fetched: str, bench: Bench) -> None:
    slow, quick = Bucket(), Bucket()
    polled, other = bench.hire(slow), bench.hire(quick)
    quick.put("good")
    await other.reloader.reload(BY_HAND)
    slow.put("bad")
    quick.put("bad")
    if fetched == "nothing new":
        await other.reloader.reload(BY_HAND)
    slow.answers.clear()
    polling = Polling(polled.reloader, polled.identity, polled.states, 3600.0, polled.on_fault)
    poll = asyncio.create_task(polling.poll())
    await slow.asked.wait()
    if fetched == "what was left":
        await other.reloader.reload(BY_HAND)
    await other.reloader.rollback(Order("rollback"), None)
    slow.answers.set()
    await poll
    state = await other.states.get(quick.name)
    assert "rolled back" in str(state.rejected_reason)
    assert await other.newest() == other.serves
    assert (await other.reloader.reload(Order("sync"))).status in ("pinned", "unchanged")


@pytest.mark.requirement("RLD-07")
async def test_a_file_that_changed_during_an_outage_is_applied_after_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, tried = bench.hire(), Counter[str]()
    reload = worker.reloader.reload

    async def counted(order: Order) -> Outcome:
        tried["reloads"] += 1
        return await reload(order)

    monkeypatch.setattr(worker.reloader, "reload", counted)
    watching = asyncio.create_task(Watching(worker.reloader, str(bench.path), worker.on_fault).run())
    with parts.outage(bench.url):
        bench.path.write_bytes(config("changed"))
        await until(lambda: tried["reloads"] > 2)
        assert len(worker.faults) == 1
    await until(lambda: worker.generation > 0)
    await ended(watching)


async def test_workers_agree_again_after_the_database_was_restored(bench: Bench) -> None:
    first, second = bench.hire(), bench.hire()
    await bench.reloaded(first, "kept")
    database, backup = Path(bench.url.removeprefix("sqlite:///")), bench.path.with_name("backup.db")
    await bench.database.close()
    shutil.copy(database, backup)
    await bench.database.open()
    for answer in ("lost", "lost too"):
        await bench.reloaded(first, answer)
    await second.reloader.follow()
    await bench.database.close()
    for leftover in database.parent.glob("routeiq.db*"):
        leftover.unlink()
    shutil.copy(backup, database)
    await bench.database.open()
    assert await first.reloader.follow()
    assert first.serves == await first.newest()
    await bench.reloaded(first, "new")  # while the other one still serves a generation of this number
    assert await second.reloader.follow()
    assert first.serves == second.serves == await first.newest()


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

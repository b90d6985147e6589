"""Artifacts change while requests are decided: none fails, and each is of one version."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from pathlib import Path

import pytest

from routeiq_plugin.routing.arms import Active, Arm, arms_of
from routeiq_plugin.routing.decision import Cause
from routeiq_plugin.routing.engine import Engine
from routeiq_plugin.routing.strategy import Candidate, Query
from routeiq_plugin.settings import AliasSettings
from tests.routing import world

pytestmark = pytest.mark.requirement("RTE-03")

SWAPS = 1_000
CONCURRENT = 16


def loaded(path: Path) -> Arm:
    settings = AliasSettings.model_validate({**world.alias("quality"), "artifact": str(path)})
    arm = arms_of("auto", settings)[0]
    arm.load()
    return arm


async def test_a_thousand_swaps_under_sixteen_concurrent_requests(artifact_path: Path, tmp_path: Path) -> None:
    draft_of_other = world.scored()
    assert draft_of_other
    world.train(tmp_path, name="other")
    arm, other = loaded(artifact_path), loaded(tmp_path)
    versions = [arm.active, other.active]
    candidates = [Candidate(model, price, price) for model, price in world.PRICES.items()]
    engine = Engine(lambda where, error: pytest.fail(f"{where}: {error}"))
    expected = {
        active.artifact_id: active.strategy.rank(Query("hello", tokens=9), candidates).order
        for active in versions
        if active is not None
    }
    assert len(expected) == 2
    done = threading.Event()
    seen: Counter[str | None] = Counter()

    def swap() -> None:
        for at in range(SWAPS):
            active = versions[at % 2]
            assert isinstance(active, Active)
            arm.swap(active)
        done.set()

    async def ask() -> None:
        while not done.is_set() or not seen:
            ordered = await engine.order(arm, Query("hello", tokens=9), candidates)
            assert ordered.cause is Cause.STRATEGY
            assert ordered.models == expected[ordered.artifact]
            seen[ordered.artifact] += 1
            await asyncio.sleep(0)

    swapping = asyncio.to_thread(swap)
    await asyncio.gather(swapping, *(ask() for _ in range(CONCURRENT)))
    assert set(seen) <= set(expected)
    assert arm.active in versions
    assert arm.previous in versions

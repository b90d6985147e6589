"""From a request and the candidates that may answer it to an order of them, whatever a strategy does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, cast

from routeiq_plugin.routing.arms import Active, Arm
from routeiq_plugin.routing.decision import Cause
from routeiq_plugin.routing.strategy import Candidate, Query, Ranking

DEADLINE_MS: Final = 20.0
THREADS: Final = 4
"""For strategies that do not run on the event loop; when all are stuck, requests go to the default model."""

OnFault = Callable[[str, BaseException], None]


@dataclass(frozen=True, slots=True)
class Ordered:
    """Every candidate, best first."""

    models: tuple[str, ...]
    cause: Cause
    artifact: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)


class Engine:
    """Asks strategies, and does without them when they fail or take too long."""

    def __init__(self, on_fault: OnFault) -> None:
        self._on_fault = on_fault
        self._pool: ThreadPoolExecutor | None = None

    async def order(self, arm: Arm, query: Query, candidates: Sequence[Candidate]) -> Ordered:
        """Rank candidates, of which there is at least one; never raises for what a strategy does."""
        active = arm.active
        if active is None:
            return self._default(arm, candidates, Cause.NO_STRATEGY)
        if len(candidates) == 1:
            return Ordered((candidates[0].model,), Cause.ONLY, active.artifact_id)
        usual: float = getattr(active.strategy, "deadline_ms", DEADLINE_MS)
        deadline = (arm.settings.deadline_ms or usual) / 1e3
        try:
            ranking = await self._ranked(active, query, candidates, deadline)
            order = _completed(ranking.order, candidates)
        except TimeoutError:
            return self._default(arm, candidates, Cause.LATE)
        except Exception as failed:  # noqa: BLE001  third parties' code: the default model answers, and it is counted
            self._on_fault(f"routing strategy {arm.strategy}", failed)
            return self._default(arm, candidates, Cause.FAILED)
        return Ordered(order, Cause.STRATEGY, active.artifact_id, ranking.scores)

    async def _ranked(self, active: Active, query: Query, candidates: Sequence[Candidate], deadline: float) -> Ranking:
        if getattr(active.strategy, "inline", False):
            return active.strategy.rank(query, candidates)
        at_once = getattr(active.strategy, "rank_at_once", None)
        if at_once is not None and (found := at_once(query, candidates)) is not None:
            return cast("Ranking", found)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="routeiq-strategy")
        ranking = asyncio.get_running_loop().run_in_executor(self._pool, active.strategy.rank, query, candidates)
        return await asyncio.wait_for(ranking, deadline)

    def _default(self, arm: Arm, candidates: Sequence[Candidate], cause: Cause) -> Ordered:
        return Ordered(_completed((arm.settings.default,), candidates), cause)

    def close(self) -> None:
        """Let go of the threads; one that is stuck ends with its process."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def _completed(order: Sequence[str], candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """Return every candidate once: those of `order` first, the rest as they were given."""
    known = [each.model for each in candidates]
    return tuple(dict.fromkeys([*(model for model in order if model in known), *known]))

"""Two workers on one store: one reload, and both serve it; a worker that starts later serves it too."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.reload.configs import deployment, written
from tests.reload.conftest import Reloading, reloading
from tests.reload.test_sync import until

pytestmark = [pytest.mark.requirement("RLD-20", "RLD-03"), pytest.mark.timeout(1200)]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_both_workers_serve_one_reload(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, record_property: Callable[[str, Any], None]
) -> None:
    settings: dict[str, Any] = {}
    if kind == "postgresql":
        settings["database_url"] = request.getfixturevalue("postgres_url")
    with reloading(tmp_path, config={"routeiq": settings}, workers=2) as shared:
        assert shared.ask("fake-model") == "first answer"
        until(lambda: len(shared.status()["workers"]) == 2, "both workers have signed on")
        for answer in ("two", "three", "four"):
            applied = shared.applied(model_list=[deployment("fake-model", answer), shared.base["model_list"][1]])
            began = time.monotonic()
            generation = applied["generation"]
            until(partial(serves, shared, generation), "both workers' reports")
            record_property(f"lag {answer}", round(time.monotonic() - began, 3))
            assert {ask_on_a_new_connection(shared) for _ in range(12)} == {answer}
        shared.write(written(shared.base))  # older than what serves: whoever starts must not return to it
        old = shared.proxy.worker_pids()
        os.kill(old[0], signal.SIGKILL)
        until(lambda: new_worker(shared, old) == generation, "a worker that started later has joined")
        assert {ask_on_a_new_connection(shared) for _ in range(12)} == {"four"}
        assert shared.status()["consecutive_failures"] == 0


def serves(shared: Reloading, generation: int) -> bool:
    return {worker["generation"] for worker in shared.status()["workers"]} == {generation}


def new_worker(shared: Reloading, old: list[int]) -> int | None:
    try:
        workers = shared.status()["workers"]
    except httpx.TransportError:
        return None  # the connection was to the worker that has gone
    return next((worker["generation"] for worker in workers if worker["pid"] not in old), None)


def ask_on_a_new_connection(shared: Reloading) -> str:
    """Whichever worker takes the connection answers."""
    with shared.proxy.client() as client:
        return shared.ask("fake-model", client)

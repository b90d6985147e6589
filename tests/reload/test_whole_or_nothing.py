"""A fault at each step of an apply: what serves afterwards, also after a restart, is the old or the new, whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.reload.configs import agent, deployment, server, written
from tests.reload.conftest import Reloading, reloading
from tests.reload.test_sync import until

pytestmark = pytest.mark.requirement("RLD-20")

PARTS: Final = ("model_list", "agents", "mcp_servers", "litellm_settings", "running configuration")
STEPS: Final = (
    *(f"{when} {part}" for part in PARTS for when in ("before", "after")),
    "before record",
    "after record",
)
COMMITTED: Final = "after record"
"""Only here the store says that the new one is the current one."""

OLD: Final[tuple[object, ...]] = ("one", "one", [], [], False, 2)
NEW: Final[tuple[object, ...]] = ("two", "two", ["configured"], ["configured"], True, 6)


NEW_CHANGES: Final = {
    "model_list": [deployment("a", "two"), deployment("b", "two")],
    "agents": [agent("configured")],
    "mcp_servers": {"configured": server()},
    "litellm_settings": {"drop_params": True},
    "router_settings": {"num_retries": 6},
}


def new_config(shared: Reloading) -> bytes:
    return written(shared.base, **NEW_CHANGES)


def served(shared: Reloading) -> tuple[object, ...]:
    facts = shared.control("facts")
    return (
        shared.ask("a"),
        shared.ask("b"),
        facts["agents"],
        facts["servers"],
        facts["drop_params"],
        facts["num_retries"],
    )


CONFIG: Final = {
    "model_list": [deployment("a", "one"), deployment("b", "one")],
    "router_settings": {"num_retries": 2},
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reloading]:
    with reloading(tmp_path_factory.mktemp("faults"), config=CONFIG) as running:
        yield running


@pytest.mark.parametrize("step", STEPS)
def test_an_exception_leaves_the_old_one_or_the_new(step: str, shared: Reloading) -> None:
    shared.write(written(shared.base))
    shared.reload(force_sync=True).raise_for_status()
    assert served(shared) == OLD
    callbacks = shared.control("facts")["callbacks"]
    shared.write(new_config(shared))
    shared.control("arm", step=step, how="raise")
    assert shared.reload().status_code == 503
    if step == COMMITTED:
        # The commit happened and its word was lost: this worker follows the store, as every other one does.
        until(lambda: served(shared) == NEW, "what was committed serves")
    else:
        assert served(shared) == OLD
        assert shared.control("facts")["callbacks"] == callbacks
        assert shared.reload().json()["status"] == "applied"
        assert served(shared) == NEW


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "step", ["before model_list", "after model_list", "after running configuration", "after record"]
)
def test_a_kill_leaves_the_old_one_or_the_new(step: str, tmp_path: Path) -> None:
    with reloading(tmp_path, config=CONFIG) as shared:
        shared.write(new_config(shared))
        assert shared.reload().json()["status"] == "applied"
        assert served(shared) == NEW
        shared.client.post("/config/rollback").raise_for_status()  # so that the boot file is not what must serve
        assert served(shared) == OLD
        third = new_config(shared).replace(b"two", b"three")
        shared.write(third)
        shared.control("arm", step=step, how="kill")
        with pytest.raises(httpx.TransportError):
            shared.reload()
        shared.proxy.process.wait(30)
        proxy = shared.proxy.restart(config=NEW_CHANGES)  # its file is what was rolled back, and so pinned
        try:
            with proxy.client() as client:
                again = Reloading(proxy, client, shared.base)
                until(lambda: again.status()["generation"] > 0, "the worker has joined")
                assert served(again) == (("three", "three", *NEW[2:]) if step == COMMITTED else OLD)
                again.write(third)
                assert again.reload(force_sync=True).status_code == 200  # nothing of the dead worker is in the way
        finally:
            proxy.kill()

"""Settings of `routeiq:` taken over by a running proxy: whole, at once, in every worker, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.reload.configs import agent, deployment
from tests.reload.conftest import Reloading, reloading
from tests.reload.test_sync import until
from tests.routing import world

pytestmark = [pytest.mark.requirement("RLD-20"), pytest.mark.timeout(900)]

ALIAS: Final = {"strategy": "rules", "candidates": ["fake-model", "kept"], "default": "fake-model"}


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reloading]:
    with reloading(tmp_path_factory.mktemp("live"), workers=2) as running:
        until(lambda: len(running.status()["workers"]) == 2, "both workers have signed on")
        yield running


def routing(**aliases: Any) -> dict[str, Any]:
    return {"routing": {"aliases": aliases}}


def chosen(model: str) -> dict[str, Any]:
    return {**ALIAS, "rules": [{"model": model}]}


def everywhere(shared: Reloading, generation: int) -> None:
    until(lambda: {each["generation"] for each in shared.status()["workers"]} == {generation}, "both workers follow")


def answers(shared: Reloading, model: str) -> set[str]:
    """Ask on new connections: whichever worker takes one answers."""
    found = set()
    for _ in range(10):
        with shared.proxy.client() as client:
            found.add(shared.ask(model, client))
    return found


def test_an_alias_comes_changes_and_goes(two_workers: Reloading) -> None:
    shared = two_workers
    assert answers(shared, "auto") == {"400"}
    added = shared.applied(routeiq=routing(auto=chosen("kept")))
    assert added["diff"]["added"] == ["routeiq.routing.aliases"]
    assert added["diff"]["restart_required"] == []
    everywhere(shared, added["generation"])
    assert answers(shared, "auto") == {"kept answer"}
    assert "auto" in [each["id"] for each in shared.client.get("/v1/models").json()["data"]]
    asked = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
    assert shared.client.post("/v1/chat/completions", json=asked).headers["x-routeiq-model"] == "kept"

    changed = shared.applied(routeiq=routing(auto=chosen("fake-model")))
    assert changed["diff"]["changed"] == ["routeiq.routing.aliases"]
    everywhere(shared, changed["generation"])
    assert answers(shared, "auto") == {"first answer"}

    removed = shared.applied()
    everywhere(shared, removed["generation"])
    assert answers(shared, "auto") == {"400"}
    assert "auto" not in [each["id"] for each in shared.client.get("/v1/models").json()["data"]]


@pytest.mark.parametrize(
    ("alias", "path"),
    [
        ({**ALIAS, "strategy": "nonsense"}, "routeiq.routing.aliases"),
        ({**ALIAS, "strategy": "llmrouter-knn", "artifact": "/nowhere"}, "routeiq.routing.aliases"),
        ({**ALIAS, "colour": 1}, "routeiq"),
    ],
)
def test_an_alias_that_cannot_serve_changes_nothing(alias: dict[str, Any], path: str, two_workers: Reloading) -> None:
    shared = two_workers
    good = shared.applied(routeiq=routing(auto=chosen("kept")))
    shared.change(model_list=[deployment("other", "other"), *shared.base["model_list"]], routeiq=routing(auto=alias))
    response = shared.reload()
    assert response.status_code == 422, response.text
    assert response.json()["detail"]["path"] == path
    assert shared.status()["generation"] == good["generation"]
    assert shared.ask("auto") == "kept answer"
    assert shared.ask("other") == "400"


def test_an_alias_with_the_name_of_a_model_is_refused(two_workers: Reloading) -> None:
    two_workers.change(routeiq=routing(kept={**chosen("fake-model"), "candidates": ["fake-model"]}))
    response = two_workers.reload()
    assert response.status_code == 422, response.text
    assert response.json()["detail"]["path"] == "routeiq.routing.aliases.kept"


def test_a_fault_half_way_puts_the_former_settings_back(tmp_path: Path) -> None:
    with reloading(tmp_path, config={"routeiq": routing(auto=chosen("kept"))}) as shared:
        assert shared.ask("auto") == "kept answer"
        more = {"more": chosen("fake-model"), "auto": chosen("fake-model")}
        shared.change(routeiq={**routing(**more), "a2a": {"default_access": "litellm"}})
        for step in ("after routeiq.a2a.default_access", "after routeiq.routing.aliases", "before record"):
            shared.control("arm", step=step, how="raise")
            assert shared.reload().status_code == 503
            assert (shared.ask("auto"), shared.ask("more")) == ("kept answer", "400")
            assert facts(shared)["default_access"] == "deny"
        assert shared.reload().json()["status"] == "applied"
        assert (shared.ask("auto"), shared.ask("more")) == ("first answer", "first answer")
        assert facts(shared)["default_access"] == "litellm"


def facts(shared: Reloading) -> dict[str, Any]:
    found: dict[str, Any] = shared.client.get("/router/info").json()["features"]["a2a"]
    return {**found, **(found.get("facts") or {})}


def test_what_needs_a_restart_is_named_one_by_one(two_workers: Reloading) -> None:
    shared = two_workers
    answer = shared.applied(
        agents=[agent("for-the-settings")],
        routeiq={"a2a": {"enabled": False, "default_access": "litellm"}, "mcp": {"pin_tools": True, "stdio": True}},
    )
    assert sorted(answer["diff"]["restart_required"]) == ["routeiq.a2a.enabled", "routeiq.mcp.stdio"]
    assert {"routeiq.a2a.default_access", "routeiq.mcp.pin_tools"} <= {
        *answer["diff"]["added"],
        *answer["diff"]["changed"],
    }
    everywhere(shared, answer["generation"])
    shared.applied()


@pytest.mark.requirement("RLD-05")
def test_both_workers_load_an_artifact_that_one_was_asked_to(two_workers: Reloading, tmp_path: Path) -> None:
    """No worker looks by itself here, see the saboteur."""
    shared = two_workers
    world.train(tmp_path, name="first")
    names = list(world.PRICES)
    learned = {"strategy": "quality", "artifact": str(tmp_path), "candidates": names, "default": names[0]}
    applied = shared.applied(
        model_list=[*shared.base["model_list"], *(deployment(name, name) for name in names)],
        routeiq=routing(learned=learned),
    )
    everywhere(shared, applied["generation"])
    first = artifacts(shared)
    assert len(first) == 1
    world.train(tmp_path, name="second")
    told = shared.client.post("/router/reload", json={"strategy": "learned"}).json()
    assert told["reloaded"] == [{"strategy": "learned", "arms": {"learned/-": "loaded"}}]
    until(lambda: len(artifacts(shared)) == 1 and artifacts(shared) != first, "both workers have the second")


def artifacts(shared: Reloading) -> set[str]:
    """Ask on new connections, until both workers are likely among those that answered."""
    found = set()
    for _ in range(10):
        with shared.proxy.client() as client:
            body = {"model": "learned", "messages": [{"role": "user", "content": "hi"}]}
            found.add(client.post("/v1/chat/completions", json=body).headers["x-routeiq-artifact"])
    return found

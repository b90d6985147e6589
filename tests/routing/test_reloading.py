"""`POST /router/reload` and aliases: a changed artifact serves at once, a bad one never."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.routing import world
from tests.routing.world import Routed

pytestmark = pytest.mark.requirement("RLD-01", "RLD-05")

ALIAS = "changing"


def reloaded(here: Routed, strategy: str | None) -> dict[str, Any]:
    with here.proxy.client() as admin:
        answer = admin.post("/router/reload", json={"strategy": strategy})
    assert answer.status_code == 200
    told: dict[str, Any] = answer.json()
    return told


def serving(here: Routed) -> str:
    return str(here.ask(ALIAS, "hello").headers["x-routeiq-artifact"])


def test_a_changed_artifact_serves_after_a_reload_and_a_damaged_one_does_not(here: Routed, changing_path: Path) -> None:
    before = serving(here)
    assert reloaded(here, ALIAS)["reloaded"] == [{"strategy": ALIAS, "arms": {f"{ALIAS}/-": "unchanged"}}]
    world.train(changing_path, name="other")
    reloaded(here, ALIAS)  # `loaded`, unless this worker's own look at it, every half minute, came first
    after = serving(here)
    assert after != before
    (changing_path / "manifest.json").write_text("{}")
    told = reloaded(here, ALIAS)
    assert (told["status"], told["reloaded"]) == ("failed", [])
    assert told["errors"][0]["strategy"] == ALIAS
    assert serving(here) == after


def test_all_are_reloaded_and_each_failure_is_told(here: Routed) -> None:
    told = reloaded(here, None)
    assert told["status"] == "partial"
    assert {"smart", "ruled"} <= {each["strategy"] for each in told["reloaded"]}
    assert {"empty", "pickled"} <= {each["strategy"] for each in told["errors"]}


def test_an_unknown_name_is_refused_and_only_admins_may(here: Routed) -> None:
    with here.proxy.client() as admin:
        refused = admin.post("/router/reload", json={"strategy": "no-such-alias"})
    assert refused.status_code == 404
    assert ALIAS in refused.text
    with here.proxy.client(here.proxy.add_key()) as user:
        assert user.post("/router/reload", json={"strategy": ALIAS}).status_code == 403

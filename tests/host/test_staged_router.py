"""The live Router changed as a whole: everything of it, or nothing, and never over somebody else's change."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import litellm
import pytest
from litellm import Router

from routeiq_plugin.appliers import Stale
from routeiq_plugin.host import live_settings, models, staged_router
from routeiq_plugin.reload.rules import LITELLM_SETTINGS
from tests.reload.configs import deployment
from tests.support.processes import clean_environment

pytestmark = [
    pytest.mark.requirement("RLD-20"),
    # LiteLLM's own types warn when pydantic builds them for the first time; in a proxy they do so unseen.
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
]


@pytest.fixture
def router(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    made = Router(
        model_list=[
            deployment("a", "1", model_id="a"),
            deployment("b", "1", model_id="b"),
            deployment("openai/*", "1", model_id="wild"),
        ],
        ignore_invalid_deployments=True,
    )
    monkeypatch.setattr(models, "proxy_server", lambda: SimpleNamespace(llm_router=made))
    yield made
    made.discard()


def state(router: Any) -> dict[str, Any]:
    """What requests are routed by."""
    return {
        "models": [model["model_info"]["id"] for model in router.model_list],
        "by id": dict(router.model_id_to_deployment_index_map),
        "by name": {name: list(places) for name, places in router.model_name_to_deployment_indices.items()},
        "names": set(router.model_names),
        "patterns": {pattern: len(found) for pattern, found in router.pattern_router.patterns.items()},
        "settings": {key: value for key, value in router.get_settings().items() if key != "routing_groups"},
        "ignores": router.ignore_invalid_deployments,
        "wildcards": list(router.provider_default_deployment_ids),
    }


def staged(router: Any, **changes: Any) -> staged_router.StagedRouter:
    made = staged_router.StagedRouter(router)
    given = {"removed": (), "added": (), "settings": {}, "order": (), **changes}
    for _ in made.steps(given["removed"], given["added"], given["settings"], given["order"]):
        pass
    return made


def test_nothing_is_seen_before_the_commit_and_all_of_it_after(router: Any) -> None:
    before = state(router)
    kept = router.get_deployment("b").model_dump()
    change = staged(
        router,
        removed=["a", "wild"],
        added=[("c", deployment("c", "2", model_id="c")), ("a", deployment("a", "2", model_id="a"))],
        settings={"num_retries": 9, "model_group_alias": {"x": "c"}, "routing_strategy": "least-busy"},
        order=["c", "b", "a"],
    )
    assert state(router) == before
    change.commit()
    after = state(router)
    assert after["models"] == ["c", "b", "a"]
    assert after["by id"] == {"c": 0, "b": 1, "a": 2}
    assert after["by name"] == {"c": [0], "b": [1], "a": [2]}
    assert after["names"] == {"a", "b", "c"}
    assert after["patterns"] == {}
    assert after["wildcards"] == []
    assert after["ignores"] is True
    assert (router.num_retries, router.routing_strategy) == (9, "least-busy")
    assert router.get_deployment("b").model_dump() == kept
    assert change.retired == ["wild"]


def test_a_rollback_puts_everything_back(router: Any) -> None:
    before = state(router)
    callbacks = list(litellm.callbacks)
    change = staged(
        router,
        removed=["a"],
        added=[
            ("c", deployment("c", "2", model_id="only here")),
            ("pattern", deployment("azure/*", "2", model_id="p")),
        ],
        settings={"num_retries": 9, "routing_strategy": "least-busy"},
    )
    change.commit()
    change.rollback()
    assert state(router) == before
    assert litellm.callbacks == callbacks
    assert "only here" not in litellm.model_cost


def test_what_litellm_cannot_build_is_named_and_changes_nothing(router: Any) -> None:
    before = state(router)
    with pytest.raises(staged_router.DeploymentRefused) as refused:
        staged(router, removed=["a"], added=[("broken", {"model_name": "x", "litellm_params": {"model": "nobody/x"}})])
    assert refused.value.key == "broken"
    with pytest.raises(staged_router.SettingsRefused):
        staged(router, settings={"routing_strategy": "no-such"})
    assert state(router) == before


def test_prices_and_callbacks_are_those_that_serve_until_the_commit(router: Any) -> None:
    def priced(cost: float) -> dict[str, Any]:
        return deployment("a", "2", model_id="a", input_cost_per_token=cost)

    def price() -> object:
        return litellm.model_cost["a"].get("input_cost_per_token")

    staged(router, added=[("a", priced(1e-6))], removed=["a"]).commit()
    callbacks = list(litellm.callbacks)
    change = staged(router, added=[("a", priced(5e-3))], removed=["a"], settings={"routing_strategy": "least-busy"})
    assert (price(), litellm.callbacks) == (1e-6, callbacks)
    of_a_request = object()
    litellm.callbacks.append(of_a_request)
    change.commit()
    assert price() == 5e-3
    assert len(litellm.callbacks) == len(callbacks) + 2
    change.rollback()
    assert price() == 1e-6
    assert litellm.callbacks.pop() is of_a_request
    assert litellm.callbacks == callbacks
    with pytest.raises(staged_router.DeploymentRefused):
        staged(router, added=[("a", priced(5e-3)), ("x", {"model_name": "x", "litellm_params": {"model": "nobody/x"}})])
    assert (price(), litellm.callbacks) == (1e-6, callbacks)


@pytest.mark.parametrize("rival", ["add", "delete", "settings"])
def test_a_change_of_somebody_else_is_not_overwritten(rival: str, router: Any) -> None:
    change = staged(router, added=[("c", deployment("c", "2", model_id="c"))], settings={"num_retries": 9})
    if rival == "add":
        entry = deployment("theirs", "3", model_id="theirs")
        router.add_deployment(litellm.types.router.Deployment(**entry))
    elif rival == "delete":
        router.delete_deployment(id="a")
    else:
        router.update_settings(num_retries=7)
    now = state(router)
    with pytest.raises(Stale):
        change.commit()
    assert state(router) == now


def test_a_router_that_was_replaced_is_not_written_to(router: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    change = staged(router, removed=["a"])
    monkeypatch.setattr(models, "proxy_server", lambda: SimpleNamespace(llm_router=object()))
    with pytest.raises(Stale):
        change.commit()


def test_unset_litellm_settings_are_those_of_a_fresh_import() -> None:
    assert frozenset(live_settings.DEFAULTS) == LITELLM_SETTINGS
    program = (
        "import json, litellm; from routeiq_plugin.host.live_settings import DEFAULTS;"
        "print(json.dumps({name: getattr(litellm, name) for name in DEFAULTS} == DEFAULTS))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=clean_environment(), check=True
    )
    assert done.stdout.splitlines()[-1] == "true"


def test_unset_settings_are_those_of_a_new_router() -> None:
    fresh = staged_router.trial_router()
    defaults = staged_router.default_settings()
    for name, value in fresh.get_settings().items():
        if name not in ("routing_groups", "max_retries"):
            assert defaults[name] in (value, None) or value in (defaults[name] or None, [], {}), name
    fresh.discard()

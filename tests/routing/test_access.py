"""Which candidates a key reaches through an alias, under LiteLLM's own checks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.routing.world import Routed, answerer

pytestmark = pytest.mark.requirement("RTE-02")


@pytest.mark.parametrize(
    ("models", "alias", "text", "model"),
    [
        (["ruled"], "ruled", "prove it", "large"),
        (["ruled", "small"], "ruled", "prove it", "large"),
        (["strict", "small", "middle"], "strict", "prove it", "small"),
        (["strict", "middle"], "strict", "prove it", "middle"),
        (["strict", "large"], "strict", "prove it", "large"),
        (["strict", "large"], "strict", "hello", "large"),
        # The alias points at `small`, which the key holds: that is no grant of what else is behind the alias.
        (["small"], "ruled", "prove it", "small"),
        ([], "ruled", "prove it", "large"),
        ([], "strict", "prove it", "large"),
    ],
)
def test_the_key_decides(here: Routed, models: list[str], alias: str, text: str, model: str) -> None:
    key = here.proxy.add_key(models=models)
    assert answerer(here.ask(alias, text, key)) == model


def test_an_alias_that_was_not_granted(here: Routed) -> None:
    key = here.proxy.add_key(models=["large"])
    assert here.ask("ruled", "prove it", key).status_code == 403
    with here.proxy.client(key) as client:
        assert {entry["id"] for entry in client.get("/v1/models").json()["data"]} == {"large"}


def test_no_candidate_that_was_granted(here: Routed) -> None:
    key = here.proxy.add_key(models=["strict"])
    response = here.ask("strict", "prove it", key)
    assert response.status_code == 403
    assert "strict" in response.text


def test_granted_aliases_are_listed(here: Routed) -> None:
    key = here.proxy.add_key(models=["ruled"])
    with here.proxy.client(key) as client:
        assert {entry["id"] for entry in client.get("/v1/models").json()["data"]} == {"ruled"}
        alias = client.get("/v1/models/ruled").status_code
    with here.proxy.client(here.proxy.add_key(models=["large"])) as client:
        # This route LiteLLM closes to keys without a database of its own, whatever the model.
        assert alias == client.get("/v1/models/large").status_code


@pytest.mark.parametrize(("models", "alias"), [(["strict", "small", "middle"], "strict"), (["small"], "ruled")])
def test_fallbacks_are_held_to_it_too(here: Routed, models: list[str], alias: str) -> None:
    key = here.proxy.add_key(models=models)
    before = len(here.upstream.calls)
    with here.upstream.failing(500, "small", "middle"):
        assert here.ask(alias, "prove it", key).status_code == 500
    assert "large" not in here.upstream.models[before:]


@pytest.mark.parametrize(
    ("team_models", "text", "model"),
    [(["strict", "small"], "prove it", "small"), (["strict", "large"], "hello", "large"), ([], "prove it", "large")],
)
def test_the_team_decides_too(here: Routed, team_models: list[str], text: str, model: str) -> None:
    key = here.proxy.add_key(team_id="team-1", team_models=team_models)
    assert answerer(here.ask("strict", text, key)) == model


def test_a_budget_of_a_model_is_held_to_for_the_choice(here: Routed) -> None:
    spent = {"large": {"budget_limit": 1e-9, "time_period": "1d"}}
    key = here.proxy.add_key(model_max_budget=spent, token="hash-of-a-key-with-a-budget")
    assert answerer(here.ask("large", "hello", key)) == "large"
    from tests.support.processes import wait_until

    wait_until(lambda: here.ask("large", "hello", key).status_code != 200, 60, "the budget to be spent")
    response = here.ask("ruled", "prove it", key)
    assert answerer(response) == "small"
    assert response.headers["x-routeiq-model"] == "small"


@pytest.mark.parametrize(
    "limit",
    [{"rpm_limit": 2}, {"metadata": {"model_rpm_limit": {"small": 2}}}, {"team_id": "limited", "team_rpm_limit": 2}],
    ids=["key", "model", "team"],
)
def test_limits_count_requests_to_an_alias(here: Routed, limit: dict[str, Any]) -> None:
    """A limit of a model is the candidate's, by whatever name it was asked for."""
    key = here.proxy.add_key(models=["ruled"], token=f"hash-of-{sorted(limit)}", **limit)
    before = len(here.upstream.calls)
    assert [here.ask("ruled", "hello", key).status_code for _ in range(3)] == [200, 200, 429]
    assert len(here.upstream.calls) == before + 2

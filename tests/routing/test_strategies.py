"""Each strategy through the proxy, and what happens when one is not able to answer."""

from __future__ import annotations

import json

import pytest

from tests.routing.world import CHAT, MATHS, Routed, answerer, talk

pytestmark = pytest.mark.requirement("RTE-20")


def cause(here: Routed, alias: str, text: str = "hello") -> tuple[str, str]:
    response = here.ask(alias, text)
    return answerer(response), response.headers["x-routeiq-cause"]


def test_quality_sends_each_prompt_where_it_is_answered_well_and_cheaply(here: Routed) -> None:
    assert answerer(here.ask("smart", MATHS.format(at=1001))) == "large"
    assert answerer(here.ask("smart", CHAT.format(at=1001))) == "small"


def test_the_objective_weighs_price_against_quality(here: Routed) -> None:
    assert answerer(here.ask("careful", MATHS.format(at=1002))) == "large"
    assert answerer(here.ask("frugal", MATHS.format(at=1002))) == "small"


def test_quality_tells_its_artifact(here: Routed) -> None:
    told = here.ask("smart", "hello").headers["x-routeiq-artifact"]
    assert told == here.info()["aliases"]["smart"]["arms"]["-"]["artifact"]
    assert told.startswith("smart@")


def test_round_robin_takes_turns(here: Routed) -> None:
    seen = [answerer(here.ask("turns")) for _ in range(6)]
    assert sorted(seen) == ["large", "large", "middle", "middle", "small", "small"]
    assert seen[:3] == seen[3:]


def test_cost_takes_the_cheapest(here: Routed) -> None:
    assert answerer(here.ask("cheapest")) == "small"
    with here.upstream.failing(500, "small"):
        assert answerer(here.ask("cheapest")) == "middle"


def test_latency_tries_all_and_then_prefers_one(here: Routed) -> None:
    for model in ("large", "middle", "small"):
        here.ask(model)
    seen = {answerer(here.ask("fastest")) for _ in range(8)}
    assert seen <= {"large", "middle", "small"}
    explained = here.post("/routeiq/routing/explain", model="fastest", messages=talk("hello")).json()
    latencies = {each["model"]: each["latency_seconds"] or 0 for each in explained["candidates"]}
    assert explained["routed_model"] == min(latencies, key=lambda model: latencies[model])


def test_a_strategy_of_another_package(here: Routed) -> None:
    assert cause(here, "foreign") == ("small", "strategy")
    with here.upstream.failing(500, "small"):
        assert answerer(here.ask("foreign")) == "middle"


@pytest.mark.parametrize(
    ("alias", "why"),
    [
        ("stalled", "deadline"),
        ("failed", "strategy failed"),
        ("empty", "strategy not ready"),
        ("pickled", "strategy not ready"),
    ],
)
def test_a_strategy_that_cannot_answer_costs_nobody_the_answer(here: Routed, alias: str, why: str) -> None:
    assert cause(here, alias) == ("middle", why)
    counts = here.info()["aliases"][alias]["arms"]["-"]["counts"]
    assert counts[f"cause: {why}"] >= 1
    with here.upstream.failing(500, "middle"):
        assert here.ask(alias).status_code == 200


def test_stalls_beyond_all_threads_are_still_answered(here: Routed) -> None:
    assert [cause(here, "stalled") for _ in range(8)] == [("middle", "deadline")] * 8


def test_what_is_not_ready_is_told_with_the_reason(here: Routed) -> None:
    told = here.info()
    assert told["state"] == "unavailable"
    assert "manifest.json" in told["reason"]
    arms = {alias: facts["arms"]["-"] for alias, facts in told["aliases"].items() if "-" in facts["arms"]}
    assert "routeiq artifact import" in arms["pickled"]["reason"]
    assert not arms["pickled"]["ready"]
    assert arms["smart"]["ready"]
    assert told["aliases"]["ghosts"]["missing"] == ["ghost"]


def test_other_keys_do_not_read_paths(here: Routed) -> None:
    text = json.dumps(here.info(here.proxy.add_key()))
    assert "/nowhere" not in text
    assert "smart" in text


def test_a_candidate_that_does_not_exist_is_passed_over(here: Routed) -> None:
    assert {answerer(here.ask("ghosts")) for _ in range(4)} == {"small"}


def test_an_alias_of_nothing_is_told(here: Routed) -> None:
    response = here.ask("nobody")
    assert response.status_code == 503
    assert "is configured in this proxy" in response.text


def test_an_experiment_keeps_each_user_in_an_arm(here: Routed) -> None:
    arms: dict[str, set[str]] = {}
    for user in range(24):
        responses = [here.ask("trial", user=f"user-{user}") for _ in range(2)]
        arms[str(user)] = {response.headers["x-routeiq-arm"] for response in responses}
        for response in responses:
            assert answerer(response) == "small"
            wanted = {"a": "cost", "b": "by-name"}[response.headers["x-routeiq-arm"]]
            assert response.headers["x-routeiq-strategy"] == wanted
    assert all(len(seen) == 1 for seen in arms.values())
    assert set().union(*arms.values()) == {"a", "b"}
    counts = {name: arm["counts"] for name, arm in here.info()["aliases"]["trial"]["arms"].items()}
    assert counts["a"]["requests"] + counts["b"]["requests"] == 48
    assert counts["a"]["success"] + counts["b"]["success"] == 48


def test_an_experiment_keeps_each_session_in_an_arm(here: Routed) -> None:
    arms: dict[str, set[str]] = {}
    for session in range(12):
        name = {"x-litellm-session-id": f"session-{session}"}
        for user in ("one", "other"):
            response = here.ask("trial-of-sessions", user=user, headers=name)
            assert response.status_code == 200, response.text
            arms.setdefault(str(session), set()).add(response.headers["x-routeiq-arm"])
    assert all(len(seen) == 1 for seen in arms.values())
    assert set().union(*arms.values()) == {"a", "b"}

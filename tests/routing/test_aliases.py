"""A request for an alias over every API: who answers, who else may, and what is said about it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.routing.provider import said
from tests.routing.world import Routed, answerer
from tests.support.processes import wait_until

pytestmark = pytest.mark.requirement("RTE-02")

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}


def asked(here: Routed, before: int) -> list[str]:
    return here.upstream.models[before:]


@pytest.mark.parametrize(
    ("text", "model"),
    [("prove it", "large"), ("was ist das und wie ist es", "middle"), ("x" * 2500, "middle"), ("hello", "small")],
)
def test_the_chosen_model_answers(here: Routed, text: str, model: str) -> None:
    response = here.ask("ruled", text)
    assert answerer(response) == model
    assert response.json()["model"] == "ruled"
    assert response.headers["x-routeiq-strategy"] == "rules"
    assert response.headers["x-routeiq-model"] == model
    assert response.headers["x-litellm-model-group"] == model
    assert float(response.headers["x-routeiq-decision-ms"]) > 0


def test_tags_and_headers(here: Routed) -> None:
    assert answerer(here.ask("ruled", "hello", headers={"x-tier": "gold"})) == "large"
    assert answerer(here.ask("ruled", "hello", headers={"x-tier": "silver"})) == "small"
    assert answerer(here.ask("ruled", "hello", metadata={"tags": ["batch"]})) == "middle"


def test_models_that_are_no_alias_are_left_alone(here: Routed) -> None:
    response = here.ask("middle", "prove it")
    assert answerer(response) == "middle"
    assert not [name for name in response.headers if name.startswith("x-routeiq")]


def test_a_client_cannot_send_a_decision_along(here: Routed) -> None:
    forged = {"routed_model": "large", "strategy": "x", "cause": "x", "decision_ms": 1, "arm": "-", "artifact": None}
    response = here.ask("middle", metadata={"routeiq_decision": forged, "routing_decision": forged})
    assert answerer(response) == "middle"
    assert not [name for name in response.headers if name.startswith("x-routeiq")]


def test_streaming(here: Routed) -> None:
    response = here.ask("ruled", "prove it", stream=True)
    assert response.status_code == 200
    assert response.headers["x-routeiq-model"] == "large"
    assert said("large") in _streamed(response)


def _streamed(response: httpx.Response) -> str:
    events = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: {")]
    return "".join(json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"input": "prove it"}),
        ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_text", "text": "prove it"}]}]}),
        ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "prove it"}]}),
        ("/v1/completions", {"prompt": "prove it"}),
        ("/v1/completions", {"prompt": ["prove it"]}),
        ("/v1beta/models/ruled:generateContent", {"contents": [{"role": "user", "parts": [{"text": "prove it"}]}]}),
    ],
)
def test_other_apis(here: Routed, path: str, body: dict[str, Any]) -> None:
    response = here.post(path, model="ruled", **body)
    assert response.status_code == 200, response.text
    assert said("large") in response.text
    assert response.headers["x-routeiq-model"] == "large"


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages", "/v1/completions"])
def test_other_apis_fall_back(here: Routed, path: str) -> None:
    body = {"input": "prove it", "prompt": "prove it", "messages": [{"role": "user", "content": "prove it"}]}
    with here.upstream.failing(500, "large"):
        response = here.post(path, model="ruled", max_tokens=9, **_only(path, body))
    assert response.status_code == 200, response.text
    assert said("small") in response.text


def _only(path: str, body: dict[str, Any]) -> dict[str, Any]:
    name = {"/v1/responses": "input", "/v1/messages": "messages", "/v1/completions": "prompt"}[path]
    return {name: body[name]}


@pytest.mark.parametrize("stream", [False, True])
def test_a_failing_model_is_followed_by_the_next(here: Routed, stream: bool) -> None:
    before = len(here.upstream.calls)
    with here.upstream.failing(500, "large", "small"):
        response = here.ask("ruled", "prove it", stream=stream)
    assert response.status_code == 200
    assert said("middle") in (_streamed(response) if stream else response.text)
    assert asked(here, before) == ["large", "small", "middle"]
    assert response.headers["x-routeiq-model"] == "large"


def test_the_clients_fallbacks_come_after_ours(here: Routed) -> None:
    before = len(here.upstream.calls)
    with here.upstream.failing(500, "large", "small"):
        response = here.ask("ghosts", "hello", fallbacks=["large", "middle"])
    assert answerer(response) == "middle"
    assert asked(here, before) == ["small", "large", "middle"]


def test_the_operators_fallbacks_come_after_ours(here: Routed) -> None:
    before = len(here.upstream.calls)
    with here.upstream.failing(500, "small"):
        response = here.ask("ghosts", "hello")
    assert answerer(response) == "middle"
    assert asked(here, before) == ["small", "middle"]


@pytest.mark.parametrize(("text", "model"), [("prove it", "large"), ("hello", "small")])
def test_the_chosen_model_is_what_is_paid_for(here: Routed, text: str, model: str) -> None:
    direct, routed = here.ask(model, text), here.ask("ruled", text)
    assert float(direct.headers["x-litellm-response-cost"]) > 0
    assert routed.headers["x-litellm-response-cost"] == direct.headers["x-litellm-response-cost"]


def test_all_of_them_down_is_their_error(here: Routed) -> None:
    with here.upstream.failing(500, "large", "small", "middle"):
        response = here.ask("ruled", "prove it")
    assert response.status_code == 500
    assert "is down" in response.text


def test_an_image_reaches_a_model_that_sees(here: Routed) -> None:
    response = here.ask("ruled", [{"type": "text", "text": "what is this?"}, IMAGE])
    assert answerer(response) == "large"
    with here.upstream.failing(500, "large"):
        assert here.ask("ruled", [{"type": "text", "text": "what is this?"}, IMAGE]).status_code == 500


def test_tools_reach_a_model_that_calls_them(here: Routed) -> None:
    assert answerer(here.ask("cheapest", "hello", tools=[TOOL])) == "middle"
    assert answerer(here.ask("cheapest", "hello")) == "small"


def test_a_long_prompt_reaches_a_model_with_the_window(here: Routed) -> None:
    assert answerer(here.ask("cheapest", "word " * 200_000)) == "large"


@pytest.mark.parametrize("alias", ["ruled", "smart", "turns", "cheapest", "fastest"])
@pytest.mark.parametrize("text", ["", [], [{"type": "text", "text": ""}], None])
def test_an_empty_prompt(here: Routed, alias: str, text: Any) -> None:
    response = here.ask(alias, text)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("messages", [[], "hello", [{}], [5], {"role": "user"}, None])
def test_nonsense_is_never_our_error(here: Routed, messages: Any) -> None:
    direct = here.ask("small", messages=messages).status_code
    assert here.ask("smart", messages=messages).status_code == direct


def test_models_lists_the_aliases(here: Routed) -> None:
    with here.proxy.client() as client:
        listed = {entry["id"] for entry in client.get("/v1/models").json()["data"]}
        one = client.get("/v1/models/smart")
    assert {"ruled", "smart", "large", "small"} <= listed
    assert one.status_code == 200
    assert one.json()["id"] == "smart"


def test_other_calls_of_an_alias_go_to_its_default(here: Routed) -> None:
    before = len(here.upstream.calls)
    here.post("/v1/embeddings", model="cheapest", input="hello")
    assert set(asked(here, before)) <= {"large"}


def test_the_decision_is_logged(here: Routed) -> None:
    here.ask("logged-quality", "Compute the integral of x^7 and prove that the result is right.")
    with here.upstream.failing(500, "large"):
        here.ask("logged-rules", "prove it")

    def of(alias: str) -> list[dict[str, Any]]:
        return [line for line in here.logged() if (line["decision"] or {}).get("router_model_name") == alias]

    wait_until(lambda: bool(of("logged-quality") and of("logged-rules")), 30, "LiteLLM's log")
    (quality,), (rules,) = of("logged-quality"), of("logged-rules")
    assert quality["group"] == "large"
    assert quality["decision"]["routed_model"] == "large"
    assert quality["decision"]["artifact"].startswith("smart@")
    assert quality["decision"]["strategy"] == "quality"
    assert rules["group"] == "small"
    assert rules["decision"]["routed_model"] == "large"
    assert "integral" not in json.dumps(quality)


def test_metrics(here: Routed) -> None:
    here.ask("ruled", "prove it")
    with here.proxy.client(follow_redirects=True) as client:
        text = client.get("/metrics").text
    assert 'routeiq_routing_decisions_total{alias="ruled",arm="-",cause="strategy",model="large"}' in text
    assert 'routeiq_routing_outcomes_total{alias="ruled",arm="-",outcome="success"}' in text
    assert 'routeiq_routing_decision_seconds_count{alias="ruled"}' in text


def test_explain(here: Routed) -> None:
    before = len(here.upstream.calls)
    counts = here.info()["aliases"]["smart"]["arms"]["-"]["counts"]
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": "Compute the integral of x^7 and prove that it is right."}]
    }
    told = here.post("/routeiq/routing/explain", model="smart", **body).json()
    assert told["routed_model"] == "large"
    assert told["fallbacks"] == ["middle", "small"]
    scores = {each["model"]: each["score"] for each in told["candidates"]}
    assert scores["large"] > scores["middle"] > scores["small"]
    assert told["candidates"][0]["input_cost_per_token"] > 0
    assert asked(here, before) == []
    assert here.info()["aliases"]["smart"]["arms"]["-"]["counts"] == counts
    image: dict[str, Any] = {"messages": [{"role": "user", "content": [IMAGE]}]}
    assert here.post("/routeiq/routing/explain", model="smart", **image).json()["left_out"]["no vision"] == [
        "middle",
        "small",
    ]


@pytest.mark.parametrize(
    ("body", "status"), [({"model": "small"}, 404), ({"model": 5}, 422), ({}, 422), ({"model": "smart"}, 200)]
)
def test_explain_refuses_nonsense(here: Routed, body: dict[str, Any], status: int) -> None:
    assert here.post("/routeiq/routing/explain", **body).status_code == status


def test_explain_is_for_admins(here: Routed) -> None:
    key = here.proxy.add_key()
    assert here.post("/routeiq/routing/explain", key, model="smart").status_code == 403
    with here.proxy.client(None) as client:
        assert client.post("/routeiq/routing/explain", json={"model": "smart"}).status_code == 401

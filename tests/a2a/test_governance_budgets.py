"""Budgets of key, team and user: agents are as closed to a spent one as models are, and what agents cost is spent."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import httpx
import pytest

from tests.a2a.calls import Registered, Wire, granted, registered, request, sending
from tests.conftest import PLUGIN_CONFIG, BackendOf
from tests.support import processes
from tests.support.proxy import PLUGIN, Proxy, inspected, merge, running_proxy

pytestmark = pytest.mark.requirement("A2A-20")

PATIENCE: Final = 30.0
PRICED: Final = "priced-model"
"""A model of LiteLLM's price list: who names it has its price reserved."""
CASES: Final[Mapping[str, Mapping[str, Any]]] = {
    "the key": {"max_budget": 1.0, "spend": 1.0},
    "a window of the key": {"budget_limits": [{"budget_duration": "1d", "max_budget": 0.0}]},
    "the team": {"team_id": "spent-team", "team_max_budget": 1.0, "team_spend": 1.5},
    "the user": {"user_id": "spent-user", "user_max_budget": 1.0, "user_spend": 1.0},
}
WITHIN: Final[Mapping[str, Mapping[str, Any]]] = {
    "the key": {"max_budget": 1.0, "spend": 0.5},
    "the team": {"team_id": "thrifty-team", "team_max_budget": 1.0, "team_spend": 0.5},
    "the user": {"user_id": "thrifty-user", "user_max_budget": 1.0, "user_spend": 0.5},
    "a user's own, with a key of a team": {
        "user_id": "spent-user", "user_max_budget": 1.0, "user_spend": 2.0, "team_id": "another-team",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def spending(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy with LiteLLM's own cost tracking, and a callback that shows its counters."""
    workdir = tmp_path_factory.mktemp("spending")
    model = {"model": "openai/gpt-4o", "api_key": "fake", "mock_response": "mock answer"}
    more = {
        "litellm_settings": {"callbacks": [PLUGIN, inspected(workdir), "inspection.tracker"]},
        "model_list": [{"model_name": PRICED, "litellm_params": model}],
    }
    with running_proxy(workdir, config=merge(PLUGIN_CONFIG, more)) as running:
        yield running


@pytest.fixture
def agent(spending: Proxy, backend_of: BackendOf) -> Iterator[Registered]:
    with registered(spending, backend_of("both").card()) as each:
        yield each


def bodies() -> list[dict[str, Any]]:
    """A call of every sort, in both versions."""
    get: Mapping[Wire, str] = {"0.3": "tasks/get", "1.0": "GetTask"}
    cancel: Mapping[Wire, str] = {"0.3": "tasks/cancel", "1.0": "CancelTask"}
    wires: tuple[Wire, ...] = ("0.3", "1.0")
    return [
        body
        for wire in wires
        for body in (
            sending("hello", wire),
            sending("hello", wire, stream=True),
            request(get[wire], {"id": "nobody's"}),
            request(cancel[wire], {"id": "nobody's"}),
        )
    ]


@pytest.mark.parametrize("case", CASES)
def test_a_spent_budget_refuses_every_call(
    spending: Proxy, agent: Registered, backend_of: BackendOf, case: str
) -> None:
    heard = len(backend_of("both").calls())
    with spending.client(granted(spending, agent, **CASES[case])) as client:
        for body in bodies():
            refused = client.post(agent.url, json=body)
            assert refused.status_code == 422, (body["method"], refused.text)
            assert refused.json()["error"]["type"] == "budget_exceeded"
        assert client.post(f"{agent.url}/message:send", json=sending("hello")["params"]).status_code == 422
        assert client.get(f"{agent.url}/tasks/nobodys").status_code == 422
        assert client.get("/v1/agents").status_code == 200, "looking costs nothing"
    assert len(backend_of("both").calls()) == heard


@pytest.mark.parametrize("case", WITHIN)
def test_a_budget_that_is_not_spent_refuses_nothing(spending: Proxy, agent: Registered, case: str) -> None:
    with spending.client(granted(spending, agent, **WITHIN[case])) as client:
        for body in bodies():
            assert client.post(agent.url, json=body).status_code == 200, body["method"]


@pytest.mark.parametrize(
    "params", [{"cost_per_query": 0.75}, {"input_cost_per_token": 0.1, "output_cost_per_token": 0.2}], ids=str
)
@pytest.mark.parametrize("stream", [False, True], ids=["send", "stream"])
def test_what_agents_cost_is_spent(
    spending: Proxy, backend_of: BackendOf, params: dict[str, float], *, stream: bool
) -> None:
    owner = {"team_id": f"team-{secrets.token_hex(4)}", "user_id": f"user-{secrets.token_hex(4)}"}
    with (
        registered(spending, backend_of("1.0").card(), litellm_params=params) as agent,
        spending.client(granted(spending, agent, max_budget=1.0, **owner)) as client,
    ):
        before = counters(spending)
        known = 0

        def spent() -> int:
            return counters(spending)[f"spend:user:{owner['user_id']}"]

        while (response := client.post(agent.url, json=sending("hello", stream=stream))).status_code == 200:
            assert known < 1000, "the budget is spent, and nobody minds"
            processes.wait_until(lambda: spent() > known, PATIENCE, "the cost of a call")  # noqa: B023  at once
            known = spent()
        assert response.status_code == 422, response.text
        assert response.json()["error"]["type"] == "budget_exceeded"
        assert known >= 1000
        grown = counters(spending) - before
        assert {f"spend:user:{owner['user_id']}", f"spend:team:{owner['team_id']}"} <= set(grown)
        assert any(name.startswith("spend:key:") for name in grown)
        assert set(grown.values()) == {known}, "all of it to each, and to nobody else"


def test_calls_that_fail_or_are_left_reserve_nothing(spending: Proxy, backend_of: BackendOf) -> None:
    backend = backend_of("1.0")
    owner = {"team_id": f"team-{secrets.token_hex(4)}", "user_id": f"user-{secrets.token_hex(4)}"}
    budgets = {"max_budget": 100.0, "team_max_budget": 100.0, "user_max_budget": 100.0}
    params = {"cost_per_query": 0.75}
    with registered(spending, backend.card(), litellm_params=params) as agent:
        key = granted(spending, agent, **owner, **budgets)
        before = counters(spending)

        def failing(number: int) -> None:
            with spending.client(key) as client:
                crashed = client.post(agent.url, json=sending("crash:now", stream=bool(number % 2)))
                assert "error" in crashed.text or "FAILED" in crashed.text
                body = {**request("SendMessage", {"message": 5}), "model": PRICED, "max_tokens": 10_000}
                assert client.post(agent.url, json=body).json()["error"]["code"] == -32600
                assert client.post(agent.url, json=request("GetTask", {"id": "nobody's"})).status_code == 200

        def leaving(number: int) -> None:
            gone = threading.Event()
            with spending.client(key, timeout=httpx.Timeout(60, read=1.0)) as client:
                try:
                    client.post(agent.url, json=sending(f"gate:{secrets.token_hex(6)}", stream=bool(number % 2)))
                except httpx.ReadTimeout:
                    gone.set()
            assert gone.is_set()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(failing, range(16)))
            list(pool.map(leaving, range(16)))
        with spending.client(key) as client:
            assert client.post(agent.url, json=sending("hello")).status_code == 200
        processes.wait_until(lambda: bool(counters(spending) - before), PATIENCE, "the cost of the last call")
        grown = counters(spending) - before
        assert f"spend:user:{owner['user_id']}" in grown
        assert set(grown.values()) == {750}, "of one call"
        assert {name for name in grown if "reserv" in name} == set()


def counters(proxy: Proxy) -> Counter[str]:
    """Read LiteLLM's spend counters, in thousandths of a dollar."""
    with proxy.client() as client:
        told: dict[str, float] = client.get("/_spend").raise_for_status().json()
    return Counter({name: round(1000 * value) for name, value in told.items()})

"""LiteLLM's limits on calls of agents: refused with LiteLLM's status before the agent hears of it, and given back."""

from __future__ import annotations

import secrets
from typing import Any, Final

import httpx
import pytest

from tests.a2a.calls import Registered, Wire, answers, granted, registered, request, sending, text_of
from tests.a2a.events import BLOCKING, FORBIDDEN, LATE, LATE_BLOCKING, Events
from tests.conftest import BackendOf
from tests.support.proxy import Proxy

WIRES: Final[tuple[Wire, ...]] = ("0.3", "1.0")
SESSION: Final = "x-litellm-session-id"
TRACE: Final = "x-litellm-trace-id"


def post(agent: Registered, key: str, body: Any, **headers: str) -> httpx.Response:
    """Call an agent with a key."""
    with httpx.Client(trust_env=False, timeout=60) as client:
        return client.post(agent.url, json=body, headers={"Authorization": f"Bearer {key}", **headers})


def assert_refused(response: httpx.Response, word: str) -> None:
    """LiteLLM's own refusal: its status, its body, its headers."""
    assert response.status_code == 429, response.text
    assert word in response.json()["detail"]
    assert int(response.headers["retry-after"]) >= 0


@pytest.mark.requirement("A2A-20")
@pytest.mark.parametrize("wire", WIRES)
def test_the_agents_own_rpm_limit_counts_every_method(
    recorded: Proxy, told: Events, backend_of: BackendOf, wire: Wire
) -> None:
    backend = backend_of("both")
    get = {"0.3": "tasks/get", "1.0": "GetTask"}[wire]
    with registered(recorded, backend.card(), rpm_limit=3) as agent:
        key = granted(recorded, agent)
        assert post(agent, key, sending("hello", wire)).status_code == 200
        assert post(agent, key, request(get, {"id": "nobody's"})).status_code == 200
        assert post(agent, key, sending("hello", wire, stream=True)).status_code == 200
        heard = len(backend.calls())

        assert_refused(post(agent, key, sending("hello", wire)), "Rate limit exceeded for agent")
        assert_refused(post(agent, key, sending("hello", wire, stream=True)), "Rate limit exceeded for agent")
        assert_refused(post(agent, key, request(get, {"id": "nobody's"})), "Rate limit exceeded for agent")

        assert len(backend.calls()) == heard
        ends = told.ends(agent.agent_id, 6)
        assert [end["event"] for end in ends].count("failure") == 4  # three refused, one without such a task


@pytest.mark.requirement("A2A-20")
def test_limits_of_the_key(recorded: Proxy, backend_of: BackendOf) -> None:
    with registered(recorded, backend_of("1.0").card()) as agent:
        key = granted(recorded, agent, rpm_limit=1)
        assert post(agent, key, sending("hello")).status_code == 200
        assert_refused(post(agent, key, sending("hello")), "Rate limit exceeded for api_key")
        assert post(agent, granted(recorded, agent), sending("hello")).status_code == 200


@pytest.mark.requirement("A2A-20")
@pytest.mark.parametrize("whose", ["team_rpm_limit", "user_rpm_limit"])
def test_limits_of_team_and_user(recorded: Proxy, backend_of: BackendOf, whose: str) -> None:
    with registered(recorded, backend_of("1.0").card()) as agent:
        owner = {"user_id": f"user-{secrets.token_hex(4)}", "team_id": f"team-{secrets.token_hex(4)}", whose: 1}
        grants = {"team_object_permission": {"agents": [agent.agent_id]}}
        keys = [granted(recorded, agent, **owner, **grants) for _ in range(2)]
        assert post(agent, keys[0], sending("hello")).status_code == 200
        assert_refused(post(agent, keys[1], sending("hello")), whose.split("_", maxsplit=1)[0])


@pytest.mark.requirement("A2A-20")
def test_limits_of_a_session(recorded: Proxy, backend_of: BackendOf) -> None:
    with registered(recorded, backend_of("1.0").card(), session_rpm_limit=1) as agent:
        key = granted(recorded, agent)
        assert post(agent, key, sending("hello"), **{SESSION: "session-one"}).status_code == 200
        assert_refused(post(agent, key, sending("hello"), **{SESSION: "session-one"}), "session-one")
        assert post(agent, key, sending("hello"), **{SESSION: "session-two"}).status_code == 200


@pytest.mark.requirement("A2A-20")
def test_iterations_of_a_session(recorded: Proxy, backend_of: BackendOf) -> None:
    with registered(recorded, backend_of("1.0").card()) as agent:
        key = granted(recorded, agent, metadata={"max_iterations": 1})
        session = {SESSION: f"session-{secrets.token_hex(4)}"}
        assert post(agent, key, sending("hello"), **session).status_code == 200
        refused = post(agent, key, sending("hello"), **session)
        assert refused.status_code == 429
        assert "Max iterations exceeded" in refused.json()["detail"]


@pytest.mark.requirement("A2A-20")
def test_tokens_are_counted_where_a_limit_needs_them(recorded: Proxy, told: Events, backend_of: BackendOf) -> None:
    with registered(recorded, backend_of("1.0").card(), tpm_limit=60) as agent:
        key = granted(recorded, agent)
        assert post(agent, key, sending("word " * 100)).status_code == 200
        (end,) = told.ends(agent.agent_id)
        prompt, completion = end["tokens"]
        assert prompt >= 100
        assert completion > prompt  # the echo says a little more
        assert_refused(post(agent, key, sending("hello")), "tokens")


@pytest.mark.requirement("A2A-20")
@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("stream", [False, True])
def test_a_place_among_concurrent_requests_is_given_back(
    recorded: Proxy, backend_of: BackendOf, wire: Wire, stream: bool
) -> None:
    backend = backend_of("both")
    guarded = {"guardrails": [BLOCKING, LATE_BLOCKING]}
    with registered(recorded, backend.card(), litellm_params=guarded) as agent:
        key = granted(recorded, agent, max_parallel_requests=1)
        for text in ("hello", "hello", "crash:now", FORBIDDEN, LATE, "fail:this", "hello"):
            response = post(agent, key, sending(text, wire, stream=stream))
            assert response.status_code == (403 if text == FORBIDDEN else 200), (text, response.text)
        bad = post(agent, key, request({"0.3": "message/send", "1.0": "SendMessage"}[wire], {"message": 5}))
        assert bad.status_code == 200
        assert post(agent, key, sending("hello", wire)).status_code == 200


@pytest.mark.requirement("A2A-20")
@pytest.mark.parametrize("wire", WIRES)
def test_who_leaves_gives_the_place_back(recorded: Proxy, told: Events, backend_of: BackendOf, wire: Wire) -> None:
    backend = backend_of("both")
    gate = f"leave-{secrets.token_hex(4)}"
    with registered(recorded, backend.card()) as agent:
        key = granted(recorded, agent, max_parallel_requests=1)
        backend.release(gate)
        with (
            httpx.Client(trust_env=False, timeout=60) as client,
            client.stream(
                "POST",
                agent.url,
                json=sending(f"gate:{gate}", wire, stream=True),
                headers={"Authorization": f"Bearer {key}"},
            ) as response,
        ):
            lines = response.iter_lines()  # kept: httpx closes the stream with its iterator
            next(line for line in lines if line.startswith("data:"))
            assert_refused(post(agent, key, sending("hello", wire)), "max_parallel_requests")
        ends = told.ends(agent.agent_id, 2)
        assert sorted((end["event"], end["client_disconnected"]) for end in ends) == [
            ("failure", False),
            ("success", True),
        ]
        assert post(agent, key, sending("hello", wire)).status_code == 200


@pytest.mark.requirement("A2A-20")
def test_a_sessions_budget_is_spent_by_calls(recorded: Proxy, told: Events, backend_of: BackendOf) -> None:
    """The agent that owns the key has the budget; LiteLLM adds up what its success events say.

    Budgets of keys and teams are compared with spend in LiteLLM's own database, which these tests do without.
    """
    params = {"cost_per_query": 0.75, "max_budget_per_session": 1.0}
    with registered(recorded, backend_of("1.0").card(), litellm_params=params) as agent:
        key = granted(recorded, agent, agent_id=agent.agent_id)
        session = {SESSION: f"session-{secrets.token_hex(4)}"}
        for count in (1, 2):
            assert post(agent, key, sending("hello"), **session).status_code == 200
            assert len(told.ends(agent.agent_id, count)) == count
        refused = post(agent, key, sending("hello"), **session)
        assert refused.status_code == 429, refused.text
        assert "budget" in refused.text.lower()


@pytest.mark.requirement("A2A-20")
def test_a_trace_is_asked_for_and_passed_on(recorded: Proxy, backend_of: BackendOf) -> None:
    backend = backend_of("1.0")
    params = {"require_trace_id_on_calls_to_agent": True}
    with registered(recorded, backend.card(), litellm_params=params) as agent:
        key = granted(recorded, agent)
        refused = post(agent, key, sending("hello"))
        assert refused.status_code == 400
        assert refused.json() == {
            "detail": f"Agent '{agent.agent_id}' requires x-litellm-trace-id header on all inbound requests."
        }
        trace = f"trace-{secrets.token_hex(8)}"
        answered = post(agent, key, sending("hello"), **{TRACE: trace})
        assert text_of(answers(answered)[0]) == "echo: hello"
        assert backend.calls()[-1].headers[TRACE] == trace

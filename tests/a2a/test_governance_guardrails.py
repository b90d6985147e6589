"""Guardrails on calls of agents, in both protocol versions: what they change is changed, what they refuse stops."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.a2a.calls import Registered, Wire, answers, error_of, granted, registered, request, sending, text_of
from tests.a2a.events import (
    BLOCKING,
    FORBIDDEN,
    FORBIDDEN_ANSWER,
    LATE,
    LATE_BLOCKING,
    MASK,
    MASKING,
    MASKING_ANSWERS,
    SECRET,
    Events,
)
from tests.conftest import BackendOf
from tests.support.backends import Backend
from tests.support.proxy import Proxy

WIRES: Final[tuple[Wire, ...]] = ("0.3", "1.0")

pytestmark = pytest.mark.requirement("A2A-20")


@pytest.fixture(scope="module")
def backend(backend_of: BackendOf) -> Backend:
    """A backend that speaks 1.0 only, so that what a 0.3 client says is translated on the way."""
    return backend_of("1.0")


@pytest.fixture(scope="module")
def masked(recorded: Proxy, backend: Backend) -> Iterator[Registered]:
    """An agent whose texts are masked."""
    with registered(recorded, backend.card(), litellm_params={"guardrails": [MASKING]}) as agent:
        yield agent


@pytest.fixture(scope="module")
def blocked(recorded: Proxy, backend: Backend) -> Iterator[Registered]:
    """An agent that must not hear or say certain words."""
    params = {"guardrails": [BLOCKING, LATE_BLOCKING]}
    with registered(recorded, backend.card(), litellm_params=params) as agent:
        yield agent


def post(proxy: Proxy, agent: Registered, body: Any) -> Any:
    """Call an agent with a user's key of its own."""
    with proxy.client(granted(proxy, agent)) as client:
        return client.post(agent.url, json=body)


def heard(backend: Backend, word: str) -> list[str]:
    """What the agent was sent about `word`, as it came over the wire."""
    return [json.dumps(call.body) for call in backend.calls() if word in json.dumps(call.body)]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("stream", [False, True])
def test_a_masked_text_is_what_the_agent_hears(
    recorded: Proxy, backend: Backend, masked: Registered, wire: Wire, stream: bool
) -> None:
    word = secrets.token_hex(8)
    response = post(recorded, masked, sending(f"{word} {SECRET}", wire, stream=stream))
    assert response.status_code == 200
    (sent,) = heard(backend, word)
    assert SECRET not in sent
    assert f"{word} {MASK}" in sent
    assert f"echo: {word} {MASK}" in json.dumps(answers(response)[-1])


@pytest.mark.parametrize("part", [{"text": SECRET}, {"kind": "text", "text": SECRET}])
@pytest.mark.parametrize("wire", WIRES)
def test_no_spelling_of_a_text_passes_unseen(
    recorded: Proxy, backend: Backend, masked: Registered, wire: Wire, part: dict[str, str]
) -> None:
    """The guardrail sees what the relay will read, not the caller's spelling of it."""
    word = secrets.token_hex(8)
    body = sending(word, wire)
    body["params"]["message"]["parts"] += [part]
    post(recorded, masked, body)
    for sent in heard(backend, word):
        assert SECRET not in sent


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_masked_on_its_way_out(recorded: Proxy, backend: Backend, wire: Wire, stream: bool) -> None:
    """A guardrail of answers alone: the agent hears the secret and says it, the caller reads the mask."""
    with registered(recorded, backend.card(), litellm_params={"guardrails": [MASKING_ANSWERS]}) as agent:
        word = secrets.token_hex(8)
        response = post(recorded, agent, sending(f"reply:{word} {SECRET}", wire, stream=stream))
        (sent,) = heard(backend, word)
        assert SECRET in sent
        assert text_of(answers(response)[-1]) == f"echo: {word} {MASK}"
        assert SECRET not in response.text


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("stream", [False, True])
def test_a_refused_text_never_reaches_the_agent(
    recorded: Proxy, told: Events, backend: Backend, wire: Wire, stream: bool
) -> None:
    word = secrets.token_hex(8)
    with registered(recorded, backend.card(), litellm_params={"guardrails": [BLOCKING]}) as agent:
        response = post(recorded, agent, sending(f"{word} {FORBIDDEN}", wire, stream=stream))
        assert response.status_code == 403
        assert response.json()["detail"]["error"] == "not allowed: request"
        assert heard(backend, word) == []
        (end,) = told.ends(agent.agent_id)
        assert end["event"] == "failure"


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("stream", [False, True])
def test_a_refused_answer_is_a_jsonrpc_error(recorded: Proxy, blocked: Registered, wire: Wire, stream: bool) -> None:
    """The agent was called by then, so the refusal comes in the protocol's own form."""
    response = post(recorded, blocked, sending(f"reply:{FORBIDDEN_ANSWER}", wire, stream=stream, call_id="seven"))
    assert response.status_code == 200
    error = error_of(response, "seven")
    assert error["code"] == -32603
    assert error["message"] == "not allowed: response"
    assert f"echo: {FORBIDDEN_ANSWER}" not in response.text


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("stream", [False, True])
def test_a_late_refusal_withholds_the_answer(recorded: Proxy, blocked: Registered, wire: Wire, stream: bool) -> None:
    """Guardrails of mode `during_call` judge while the agent works; nothing of its answer goes out before them."""
    response = post(recorded, blocked, sending(LATE, wire, stream=stream))
    assert response.status_code == 200
    assert error_of(response)["message"] == "not allowed: late"
    assert "echo" not in response.text


@pytest.mark.parametrize("wire", WIRES)
def test_a_caller_may_ask_for_a_guardrail(recorded: Proxy, backend: Backend, wire: Wire) -> None:
    with registered(recorded, backend.card()) as agent:
        body = sending(SECRET, wire)
        assert text_of(answers(post(recorded, agent, body))[0]) == f"echo: {SECRET}"
        inside = {**body, "params": {**body["params"], "guardrails": [MASKING]}}
        assert text_of(answers(post(recorded, agent, inside))[0]) == f"echo: {MASK}"


@pytest.mark.parametrize("wire", WIRES)
def test_guardrails_look_at_tasks_too(recorded: Proxy, backend: Backend, wire: Wire) -> None:
    with registered(recorded, backend.card()) as plain:
        with recorded.client() as client:
            sent = answers(client.post(plain.url, json=sending(SECRET, wire)))[0]["result"]
        task_id = (sent.get("task") or sent)["id"]
        get = request({"0.3": "tasks/get", "1.0": "GetTask"}[wire], {"id": task_id})
        with recorded.client() as client:
            get["params"]["guardrails"] = [MASKING]
            found = answers(client.post(plain.url, json=get))[0]
        assert text_of(found) == f"echo: {MASK}"


@pytest.mark.parametrize("wire", WIRES)
def test_an_event_is_shown_as_soon_as_the_guardrails_let_it_out(
    recorded: Proxy, backend: Backend, masked: Registered, wire: Wire
) -> None:
    """Nothing is held back: the agent makes an event only once the one before was read."""
    gate = f"{secrets.token_hex(8)} {MASK}"
    backend.release(gate)
    with (
        recorded.client() as client,
        client.stream(
            "POST", masked.url, json=sending(f"gate:{gate.replace(MASK, SECRET)}", wire, stream=True)
        ) as response,
    ):
        arrived = 0
        for line in response.iter_lines():
            if line.startswith("data:"):
                assert "result" in json.loads(line.removeprefix("data:"))
                assert SECRET not in line
                arrived += 1
                if arrived < 5:
                    backend.release(gate)
    assert arrived == 5

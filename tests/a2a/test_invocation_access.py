"""Who may call which agent, however it is addressed: one decision, and nothing reaches a backend without it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from tests.a2a import guarded as guarded_proxy
from tests.a2a.calls import Registered, answers, error_of, granted, registered, sending, text_of
from tests.a2a.registry import path
from tests.a2a.scripted import Scripted
from tests.conftest import BackendOf
from tests.support.backends import Backend
from tests.support.proxy import ANSWER, MODEL, Proxy

REFUSED: Final = "is not allowed for your key/team. Contact proxy admin for access."
SPELLINGS: Final = (
    "/a2a/{}",
    "/a2a/{}/",
    "/a2a/{}/message/send",
    "/a2a/{}/message/stream",
    "/v1/a2a/{}/message/send",
    "/v1/a2a/{}/message/stream",
)


@pytest.fixture(scope="module")
def backend(backend_of: BackendOf) -> Backend:
    return backend_of("both")


@pytest.fixture(scope="module")
def agent(proxy: Proxy, backend: Backend) -> Iterator[Registered]:
    with registered(proxy, backend.card()) as each:
        yield each


@pytest.fixture
def stranger(proxy: Proxy) -> Iterator[httpx.Client]:
    """A user without a grant."""
    with proxy.client(proxy.add_key()) as client:
        yield client


@pytest.mark.requirement("A2A-08", "A2A-13")
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("by", ["id", "name"])
@pytest.mark.parametrize("stream", [False, True], ids=["send", "stream"])
def test_a_key_calls_what_it_was_granted_and_nothing_else(
    proxy: Proxy, agent: Registered, backend: Backend, *, spelling: str, by: str, stream: bool
) -> None:
    where = spelling.format(agent.agent_id if by == "id" else agent.name)
    before = len(backend.seen())
    with registered(proxy, backend.card()) as other:
        for fields in ({}, {"object_permission": {"agents": [other.agent_id]}}, {"user_role": "proxy_admin_viewer"}):
            with proxy.client(proxy.add_key(**fields)) as client:
                response = client.post(where, json=sending("hello", stream=stream))
                assert response.status_code == 403
                assert REFUSED in response.json()["detail"]
    assert [request.rpc_method for request in backend.seen()[before:] if request.rpc_method] == []
    with proxy.client(granted(proxy, agent)) as client:
        response = client.post(where, json=sending("hello", stream=stream))
        assert response.status_code == 200
        assert "result" in answers(response)[-1]


@pytest.mark.requirement("A2A-13")
def test_who_may_not_see_an_agent_cannot_tell_it_from_none(stranger: httpx.Client, agent: Registered) -> None:
    for spelling in SPELLINGS:
        told = []
        for reference in (agent.agent_id, "no-such-agent"):
            response = stranger.post(spelling.format(reference), json=sending("hello"))
            told.append((response.status_code, response.text.replace(reference, "it")))
        assert told[0] == told[1]


@pytest.mark.requirement("A2A-08")
def test_an_unknown_agent_is_404_for_who_may_know(proxy: Proxy) -> None:
    with proxy.client() as admin:
        response = admin.post("/a2a/no-such-agent", json=sending("hello", call_id="mine"))
    assert response.status_code == 404
    assert error_of(response, "mine")["code"] == -32000


@pytest.mark.requirement("A2A-08")
def test_an_unknown_agent_is_404_even_for_a_broken_call(proxy: Proxy) -> None:
    with proxy.client() as admin:
        response = admin.post("/a2a/no-such-agent", content=b"{nope")
    assert response.status_code == 404
    assert error_of(response, None)["code"] == -32000


@pytest.mark.requirement("A2A-08")
def test_a_deleted_agent_is_gone_for_callers_at_once(proxy: Proxy, backend: Backend) -> None:
    with registered(proxy, backend.card()) as agent, proxy.client() as admin:
        assert "result" in answers(admin.post(agent.url, json=sending("hello")))[0]
        before = len(backend.calls())
        assert admin.delete(path(agent.agent_id)).status_code == 200
        assert admin.post(agent.url, json=sending("hello")).status_code == 404
        assert admin.post(agent.named_url, json=sending("hello")).status_code == 404
        assert len(backend.calls()) == before


@pytest.mark.requirement("A2A-08")
def test_a_disabled_agent_is_refused_to_all_and_works_when_enabled_again(proxy: Proxy, backend: Backend) -> None:
    with registered(proxy, backend.card(), enabled=False) as agent, proxy.client() as admin:
        before = len(backend.calls())
        with proxy.client(granted(proxy, agent)) as user:
            for client in (admin, user):
                response = client.post(agent.url, json=sending("hello"))
                assert response.status_code == 403
                assert "disabled" in response.text
        assert len(backend.calls()) == before
        assert admin.patch(path(agent.agent_id), json={"enabled": True}).status_code == 200
        assert "result" in answers(admin.post(agent.url, json=sending("hello")))[0]


@pytest.mark.requirement("A2A-08")
def test_an_agent_without_an_address_says_so(proxy: Proxy) -> None:
    with registered(proxy, {"name": "nowhere"}) as agent, proxy.client() as admin:
        response = admin.post(agent.url, json=sending("hello", call_id="mine"))
    assert response.status_code == 400
    assert "no URL" in error_of(response, "mine")["message"]


@pytest.mark.requirement("A2A-13")
@pytest.mark.parametrize(
    ("where", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hello"}]}),
        ("/chat/completions", {"messages": [{"role": "user", "content": "hello"}], "stream": True}),
        ("/v1/completions", {"prompt": "hello"}),
        ("/v1/responses", {"input": "hello"}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 9}),
        ("/openai/deployments/{model}/chat/completions", {"messages": [{"role": "user", "content": "hello"}]}),
        ("/v1/chat/completions?model={model}", {"messages": [{"role": "user", "content": "hello"}]}),
    ],
)
def test_an_agent_as_a_chat_model_follows_the_same_rule(
    proxy: Proxy, stranger: httpx.Client, agent: Registered, backend: Backend, *, where: str, body: dict[str, Any]
) -> None:
    """LiteLLM's own `a2a/<name>` models; stock opens them to every key without grants."""
    model = f"a2a/{agent.name}"
    before = len(backend.calls())
    response = stranger.post(where.format(model=model), json={**body, "model": model})
    assert response.status_code == 403, response.text
    assert REFUSED in response.text
    assert len(backend.calls()) == before
    if body.get("stream"):
        return  # LiteLLM's own streaming sends a field that 1.x agents refuse: not ours
    with proxy.client(granted(proxy, agent)) as user:
        response = user.post(where.format(model=model), json={**body, "model": model})
    assert response.status_code == 200, response.text
    assert "echo: " in response.text
    assert len(backend.calls()) > before


@pytest.mark.requirement("A2A-13")
@pytest.mark.parametrize(
    "body",
    [
        {"model": "{}", "fallbacks": [MODEL]},
        {"model": f"{MODEL},{{}}"},
        {"model": "no-such-model", "fallbacks": ["{}"]},
        {"model": MODEL, "fallbacks": ["{}"], "mock_testing_fallbacks": True},
        {"model": MODEL, "fallbacks": ["{}"], "n": "not a number, so that the model fails"},
        {"model": MODEL, "fallbacks": [{"model": "{}"}], "n": "not a number"},
    ],
    ids=str,
)
def test_no_detour_through_another_model_reaches_the_agent(
    stranger: httpx.Client, agent: Registered, backend: Backend, body: dict[str, Any]
) -> None:
    before = len(backend.calls())
    filled = _filled(body, f"a2a/{agent.name}")
    response = stranger.post(
        "/v1/chat/completions", json={"messages": [{"role": "user", "content": "hello"}], **filled}
    )
    assert response.status_code != 200 or "echo: " not in response.text, response.text
    assert len(backend.calls()) == before


def _filled(value: Any, model: str) -> Any:
    if isinstance(value, str):
        return value.replace("{}", model)
    if isinstance(value, list):
        return [_filled(each, model) for each in value]
    if isinstance(value, dict):
        return {name: _filled(each, model) for name, each in value.items()}
    return value


@pytest.mark.requirement("A2A-13")
def test_other_models_are_untouched(stranger: httpx.Client) -> None:
    response = stranger.post(
        "/v1/chat/completions", json={"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
    )
    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["content"] == ANSWER


@pytest.mark.requirement("A2A-08", "A2A-13")
def test_an_agent_of_litellms_config_is_relayed_under_our_rule(guarded: Proxy, script: Scripted) -> None:
    with guarded_proxy.client(guarded) as admin:
        [config] = [each for each in admin.get("/v1/agents").json() if each["agent_name"] == guarded_proxy.RELAYED]
        before = len(script.seen("good"))
        for reference in (guarded_proxy.RELAYED, config["agent_id"]):
            where = path(reference, "/a2a")
            with guarded_proxy.client(guarded, guarded.add_key()) as stranger:
                refused = stranger.post(where, json=sending("hello"))
                assert refused.status_code == 403
                assert REFUSED in refused.json()["detail"]
            with guarded_proxy.client(guarded, _granted(guarded, config["agent_id"])) as user:
                for wire in ("0.3", "1.0"):
                    [answer] = answers(user.post(where, json=sending("hello", wire)))
                    assert text_of(answer) == "well behaved"
    arrived = script.seen("good")[before:]
    assert len(arrived) == 4
    assert {headers["user-agent"] for headers in arrived} == {"routeiq-plugin"}


@pytest.mark.requirement("A2A-08", "A2A-13")
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_bridged_agent_goes_to_litellms_completion_bridge(guarded: Proxy, spelling: str) -> None:
    """Those of the config and those of ours; both under our rule, by every spelling."""
    params = {"custom_llm_provider": "openai", "model": "fake", "api_key": "fake", "mock_response": "bridged too"}
    admin = guarded_proxy.client(guarded)
    with registered(guarded, {"name": "Bridged"}, admin=admin, litellm_params=params) as ours:
        with guarded_proxy.client(guarded) as reader:
            listed = {each["agent_name"]: each["agent_id"] for each in reader.get("/v1/agents").json()}
        for name, agent_id, text in (
            (guarded_proxy.BRIDGED, listed[guarded_proxy.BRIDGED], guarded_proxy.BRIDGE_ANSWER),
            (ours.name, ours.agent_id, "bridged too"),
        ):
            for reference in (name, agent_id):
                where = spelling.format(reference)
                with guarded_proxy.client(guarded, guarded.add_key()) as stranger:
                    assert stranger.post(where, json=sending("hello")).status_code == 403
                with guarded_proxy.client(guarded, _granted(guarded, agent_id)) as user:
                    [answer] = answers(user.post(where, json=sending("hello")))
                    assert text_of(answer) == text
                    events = answers(user.post(where, json=sending("hello", stream=True)))
                    assert text in str(events)


@pytest.mark.requirement("A2A-08")
def test_the_rate_limit_of_a_key_counts_its_calls_of_agents(proxy: Proxy, agent: Registered) -> None:
    with proxy.client(granted(proxy, agent, rpm_limit=1)) as user:
        statuses = [user.post(agent.url, json=sending("hello")).status_code for _ in range(3)]
    assert statuses == [200, 429, 429]


@pytest.mark.requirement("A2A-08")
def test_the_rate_limit_of_an_agent_counts_its_calls(proxy: Proxy, backend: Backend) -> None:
    with registered(proxy, backend.card(), rpm_limit=1) as limited, proxy.client() as client:
        statuses = [client.post(limited.url, json=sending("hello")).status_code for _ in range(3)]
    assert statuses == [200, 429, 429]


@pytest.mark.requirement("A2A-08")
def test_an_agent_that_wants_a_trace_id_gets_one(proxy: Proxy, backend: Backend) -> None:
    params = {"require_trace_id_on_calls_to_agent": True}
    with registered(proxy, backend.card(), litellm_params=params) as strict, proxy.client() as client:
        traced = client.post(strict.url, json=sending("hello"), headers={"x-litellm-trace-id": "t"})
        assert "result" in answers(traced)[0]
        assert client.post(strict.url, json=sending("hello")).status_code == 400


def _granted(guarded: Proxy, agent_id: str) -> str:
    return guarded.add_key(object_permission={"agents": [agent_id]})

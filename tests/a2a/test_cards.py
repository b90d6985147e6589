"""Discovery: the card that the gateway serves is complete, leads to the gateway, and is the same by every path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import httpx
import pytest

from tests.a2a import guarded as guarded_proxy
from tests.a2a.calls import Registered, answers, granted, registered, sending, text_of
from tests.a2a.registry import path, unique
from tests.support.backends import Backend
from tests.support.proxy import Proxy

ENDINGS: Final = ("/a2a/{}/.well-known/agent-card.json", "/a2a/{}/.well-known/agent.json", "/a2a/agents/{}/card")


@pytest.fixture
def agent(proxy: Proxy, backend: Backend) -> Iterator[Registered]:
    with registered(proxy, backend.card()) as each:
        yield each


@pytest.fixture
def user(proxy: Proxy, agent: Registered) -> Iterator[httpx.Client]:
    with proxy.client(granted(proxy, agent)) as client:
        yield client


@pytest.mark.requirement("A2A-11")
def test_every_path_serves_the_same_card(user: httpx.Client, agent: Registered) -> None:
    cards = []
    for reference in (agent.agent_id, agent.name):
        for ending in ENDINGS:
            response = user.get(ending.format(reference))
            assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
            cards.append(response.json())
    assert all(card == cards[0] for card in cards)


@pytest.mark.requirement("A2A-11")
def test_the_card_leads_both_generations_to_the_gateway(user: httpx.Client, agent: Registered) -> None:
    card = user.get(ENDINGS[0].format(agent.agent_id)).json()
    assert [
        (each["url"], each["protocolBinding"], each["protocolVersion"]) for each in card["supportedInterfaces"]
    ] == [
        (agent.url, "JSONRPC", "1.0"),
        (agent.url, "JSONRPC", "0.3"),
        (agent.url, "HTTP+JSON", "1.0"),
        (agent.url, "HTTP+JSON", "0.3"),
    ]
    # what a 0.3 client reads
    assert (card["url"], card["preferredTransport"], card["protocolVersion"]) == (agent.url, "JSONRPC", "0.3")
    assert card["capabilities"] == {"streaming": True, "extendedAgentCard": True}
    assert [skill["id"] for skill in card["skills"]] == ["echo"]
    assert (card["name"], card["description"]) == ("echo", "Echoes what it is told.")
    assert card["defaultInputModes"] == card["defaultOutputModes"] == ["text/plain"]


@pytest.mark.requirement("A2A-11")
def test_nothing_is_advertised_that_the_gateway_does_not_relay(user: httpx.Client, agent: Registered) -> None:
    """The backends of this test offer push notifications, which need an address of the gateway; it has none here."""
    card = user.get(ENDINGS[0].format(agent.agent_id)).json()
    assert not card["capabilities"].get("pushNotifications")


@pytest.mark.requirement("A2A-11")
def test_the_card_names_the_key_that_callers_need(user: httpx.Client, agent: Registered) -> None:
    card = user.get(ENDINGS[0].format(agent.agent_id)).json()
    assert "LiteLLMKey" in card["securitySchemes"]
    assert card["security"] == [{"LiteLLMKey": []}]


@pytest.mark.requirement("A2A-11", "A2A-13")
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_card_is_for_who_may_read_the_agent(proxy: Proxy, agent: Registered, ending: str) -> None:
    where = ending.format(agent.agent_id)
    viewer = proxy.add_key(user_role="proxy_admin_viewer")
    for key, status in (
        (proxy.master_key, 200),
        (granted(proxy, agent), 200),
        (viewer, 200),
        (proxy.add_key(), 403),
        ("sk-nobody", 401),
        (None, 401),
    ):
        with proxy.client(key) as client:
            assert client.get(where).status_code == status


@pytest.mark.requirement("A2A-11")
@pytest.mark.parametrize("ending", ENDINGS)
def test_there_is_no_card_of_an_unknown_agent_or_of_one_without(proxy: Proxy, ending: str) -> None:
    with proxy.client() as admin:
        assert admin.get(ending.format("no-such-agent")).status_code == 404
        answer = admin.post("/v1/agents", json={"agent_name": unique(), "litellm_params": {"model": "x"}})
        assert answer.status_code == 200, answer.text
        agent_id = answer.json()["agent_id"]
        try:
            response = admin.get(ending.format(agent_id))
            assert response.status_code == 404
            assert "no agent card" in response.text
        finally:
            assert admin.delete(path(agent_id)).status_code == 200


@pytest.mark.requirement("A2A-11")
def test_reading_a_card_changes_no_agent(proxy: Proxy, backend: Backend) -> None:
    """The SDK edits the document that it parses."""
    card = backend.card()
    card["skills"][0]["security"] = [{"key": []}]
    card["securitySchemes"] = {"key": {"type": "apiKey", "name": "X-Key", "in": "header"}}
    with registered(proxy, card) as agent, proxy.client() as admin:
        before = admin.get(path(agent.agent_id)).json()
        for ending in ENDINGS:
            assert admin.get(ending.format(agent.agent_id)).status_code == 200
        assert admin.get(path(agent.agent_id)).json() == before


@pytest.mark.requirement("A2A-02", "A2A-11")
@pytest.mark.parametrize(
    "scheme",
    [
        {"apiKeySecurityScheme": {"name": "X-Key", "location": "header"}},
        {"httpAuthSecurityScheme": {"scheme": "bearer"}},
        {"type": "apiKey", "name": "X-Key", "in": "header"},
        {"type": "http", "scheme": "bearer"},
    ],
    ids=lambda scheme: next(iter(scheme.values())) if "type" in scheme else next(iter(scheme)),
)
def test_a_card_with_security_schemes_of_either_generation_is_taken(
    proxy: Proxy, backend: Backend, scheme: dict[str, object]
) -> None:
    card = backend.card() | {"securitySchemes": {"key": scheme}}
    with registered(proxy, card) as agent, proxy.client() as admin:
        served = admin.get(ENDINGS[0].format(agent.agent_id)).json()
        assert list(served["securitySchemes"]) == ["LiteLLMKey"]
        [answer] = answers(admin.post(agent.url, json=sending("hello")))
        assert text_of(answer) == "echo: hello"


@pytest.mark.requirement("A2A-11")
def test_a_card_follows_a_change_at_once(user: httpx.Client, proxy: Proxy, agent: Registered) -> None:
    with proxy.client() as admin:
        stored = admin.get(path(agent.agent_id)).json()["agent_card_params"]
        changed = {"agent_card_params": {**stored, "description": "Changed."}}
        assert admin.patch(path(agent.agent_id), json=changed).status_code == 200
    card = user.get(ENDINGS[0].format(agent.agent_id)).json()
    assert card["description"] == "Changed."
    assert card["url"] == agent.url


@pytest.mark.requirement("A2A-11")
def test_an_agent_read_and_written_back_still_reaches_its_backend(proxy: Proxy, backend: Backend) -> None:
    """An answer of ours shows the gateway's interface; written back, it must not become the backend's address."""
    with registered(proxy, backend.card()) as agent, proxy.client() as admin:
        read = admin.get(path(agent.agent_id)).json()
        written = admin.put(path(agent.agent_id), json=read)
        assert written.status_code == 200, written.text
        [answer] = answers(admin.post(agent.url, json=sending("hello")))
        assert text_of(answer) == "echo: hello"


@pytest.mark.requirement("A2A-11")
def test_an_agent_of_the_config_has_a_card_too(guarded: Proxy) -> None:
    with guarded_proxy.client(guarded) as admin:
        card = admin.get(path(guarded_proxy.RELAYED, "/a2a") + "/.well-known/agent-card.json").json()
        assert card["name"] == "Relayed"
        assert card["url"].startswith(f"{guarded.base_url}/a2a/")
        bridged = admin.get(path(guarded_proxy.BRIDGED, "/a2a") + "/.well-known/agent-card.json").json()
        assert bridged["name"] == "Bridged"


@pytest.mark.requirement("A2A-11")
def test_the_host_header_of_one_caller_is_in_nobody_elses_card(proxy: Proxy, agent: Registered) -> None:
    with proxy.client() as client:
        forged = client.get(ENDINGS[0].format(agent.agent_id), headers={"Host": "evil.example.com"})
        assert forged.status_code in (200, 400)
        assert "evil.example.com" not in client.get(ENDINGS[0].format(agent.agent_id)).text
        assert "evil.example.com" not in client.get(path(agent.agent_id)).text

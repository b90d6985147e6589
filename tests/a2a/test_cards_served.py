"""The card that clients discover: the gateway's address, the backend's abilities, nothing that leads behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any, Final

import httpx
import pytest
from a2a.types.a2a_pb2 import AgentCard
from google.protobuf.json_format import ParseDict

from routeiq_plugin.a2a import cards
from tests.a2a import registry as agents
from tests.a2a.calls import Registered, registered
from tests.a2a.carded import CARD, Carded
from tests.support.proxy import Proxy

pytestmark = pytest.mark.requirement("A2A-11", "A2A-23")

WELL_KNOWN: Final = ("/a2a/{}/.well-known/agent-card.json", "/a2a/{}/.well-known/agent.json", "/a2a/agents/{}/card")
LEGACY: Final = {"url", "protocolVersion", "preferredTransport", "additionalInterfaces", "security"}
"""Keys of 0.3 that no card of 1.0 has."""


@pytest.fixture(scope="module")
def client(proxy: Proxy) -> Iterator[httpx.Client]:
    with proxy.client() as opened:
        yield opened


def card_of(client: httpx.Client, agent: Registered, **headers: str) -> httpx.Response:
    response = client.get(WELL_KNOWN[0].format(agent.agent_id), headers=headers)
    assert response.status_code in (200, 304), response.text
    return response


def test_the_gateway_stands_in_every_interface_of_both_versions(
    proxy: Proxy, client: httpx.Client, site: Carded
) -> None:
    document = site.document(skills=[{"id": "s", "name": "S", "description": "S.", "tags": ["s"]}])
    site.show(document)
    with registered(proxy, {**document, "url": site.url}) as agent:
        for path in WELL_KNOWN:
            for reference in (agent.agent_id, agent.name):
                card = client.get(path.format(reference)).json()
                assert {each["url"] for each in card["supportedInterfaces"]} == {agent.url}
                versions = {each["protocolVersion"] for each in card["supportedInterfaces"]}
                assert versions == {"1.0", "0.3"}
                assert card["url"] == agent.url, "0.3 clients look here"
                assert str(site.port) not in json.dumps(card)


def test_a_caller_of_1_0_gets_a_card_of_1_0_alone(proxy: Proxy, client: httpx.Client, site: Carded) -> None:
    with registered(proxy, site.document(url=site.url)) as agent:
        both, pure = card_of(client, agent), card_of(client, agent, **{"A2A-Version": "1.0"})
        assert both.json().keys() >= LEGACY - {"additionalInterfaces"}
        assert pure.json().keys() & LEGACY == set()
        ParseDict(pure.json(), AgentCard())  # knows no key that 1.0 lacks
        assert pure.headers["ETag"] != both.headers["ETag"]
        assert "A2A-Version" in pure.headers["Vary"]
        assert "A2A-Version" in both.headers["Vary"]


def test_capabilities_are_the_backends_and_the_rest_is_as_registered(
    proxy: Proxy, client: httpx.Client, site: Carded
) -> None:
    every = {"streaming": True, "pushNotifications": True, "extendedAgentCard": True}
    site.show(site.document(name="Renamed", capabilities={}))
    with registered(proxy, site.document(url=site.url, capabilities=every)) as agent:
        card = card_of(client, agent).json()
        assert {name for name in every if card["capabilities"].get(name)} == set()
        assert card["name"] == "Carded"
    site.show(site.document(capabilities=every))
    with registered(proxy, site.document(url=site.url, capabilities={})) as agent:
        card = card_of(client, agent).json()
        assert {name for name in every if card["capabilities"].get(name)} == set(cards.RELAYED) - {cards.PUSH}, (
            "agents could not reach this gateway with a notification: it was told no address of its own"
        )


def test_links_to_the_backend_are_left_out_and_others_stay(proxy: Proxy, client: httpx.Client, site: Carded) -> None:
    inside = {"documentationUrl": f"{site.origin}/docs", "iconUrl": f"{site.origin}/icon.png"}
    provider = {"organization": "Ours", "url": site.origin}
    with registered(proxy, site.document(url=site.url, provider=provider, **inside)) as agent:
        answers = [card_of(client, agent).json()]
        with proxy.client(proxy.add_key(object_permission={"agents": [agent.agent_id]})) as user:
            answers.append(user.get(agents.path(agent.agent_id)).json()["agent_card_params"])
        for card in answers:
            assert "documentationUrl" not in card
            assert "iconUrl" not in card
            assert card["provider"] == {"organization": "Ours", "url": proxy.base_url}
            assert card["skills"][0]["description"] == f"Runs on {site.origin}.", "what skills say is the admin's own"
    outside = {"documentationUrl": "https://docs.example.com/", "iconUrl": "https://example.com/icon.png"}
    with registered(proxy, site.document(url=site.url, **outside)) as agent:
        card = card_of(client, agent).json()
        assert {name: card[name] for name in outside} == outside


def test_no_field_but_prose_names_the_backend_however_it_is_spelled(
    proxy: Proxy, client: httpx.Client, site: Carded
) -> None:
    host = site.origin.removeprefix("http://")
    hidden = {
        "documentationUrl": f"{host}/docs",
        "iconUrl": f"//{host}/icon.png",
        "provider": {"organization": "Ours", "url": f"{host}/prov", "contact": f"mail@{host}"},
        "skills": [{"id": "s", "name": "S", "description": "D.", "tags": ["s"], "url": f"{host}/skill", "own": "kept"}],
    }
    with registered(proxy, site.document(url=site.url, **hidden)) as agent:
        key = proxy.add_key(object_permission={"agents": [agent.agent_id]})
        assert client.post(f"/v1/agents/{agent.agent_id}/make_public").status_code == 200
        with proxy.client(key) as user:
            read = user.get(agents.path(agent.agent_id))
            answers = [card_of(client, agent), read, user.get("/v1/agents"), user.get("/public/agent_hub")]
    for answer in answers:
        assert host not in answer.text.replace(f"{proxy.base_url}/", ""), answer.text
    assert read.json()["agent_card_params"]["skills"][0]["own"] == "kept"
    assert read.json()["agent_card_params"]["provider"] == {"organization": "Ours", "url": proxy.base_url}


def test_an_extension_that_names_a_host_in_its_own_script_is_left_out() -> None:
    card = {"capabilities": {"extensions": [{"uri": "http://b\u00fccher.example/x"}, {"uri": "https://else.example/"}]}}
    kept = cards.capabilities(card, frozenset({"b\u00fccher.example"}))
    assert kept == {"extensions": [{"uri": "https://else.example/"}]}


def test_extensions_are_kept_unless_they_name_the_backend(proxy: Proxy, client: httpx.Client, site: Carded) -> None:
    kept = {"uri": "https://example.com/ext/v1", "description": "An extension."}
    site.show(site.document(capabilities={"extensions": [kept, {"uri": f"{site.origin}/ext"}]}))
    with registered(proxy, site.document(url=site.url)) as agent:
        (shown,) = card_of(client, agent).json()["capabilities"]["extensions"]
        assert {name: shown[name] for name in kept} == kept


# Conditional requests


@pytest.mark.parametrize("path", WELL_KNOWN)
def test_who_has_the_card_is_told_so(proxy: Proxy, client: httpx.Client, site: Carded, path: str) -> None:
    with registered(proxy, site.document(url=site.url)) as agent:
        url = path.format(agent.agent_id)
        first = client.get(url)
        assert first.headers["Cache-Control"] == "private, max-age=60"
        tag, changed = first.headers["ETag"], first.headers["Last-Modified"]
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = client.get(url, headers={"If-None-Match": known})
            assert (again.status_code, again.content) == (304, b"")
            assert {name: again.headers[name] for name in ("ETag", "Last-Modified", "Cache-Control", "Vary")} == {
                name: first.headers[name] for name in ("ETag", "Last-Modified", "Cache-Control", "Vary")
            }
        later = format_datetime(parsedate_to_datetime(changed) + timedelta(hours=1), usegmt=True)
        earlier = format_datetime(parsedate_to_datetime(changed) - timedelta(hours=1), usegmt=True)
        for since, status in ((changed, 304), (later, 304), (earlier, 200), ("yesterday", 200), ("2026-01-01", 200)):
            assert client.get(url, headers={"If-Modified-Since": since}).status_code == status, since
        both = {"If-None-Match": '"other"', "If-Modified-Since": later}
        assert client.get(url, headers=both).status_code == 200, "a tag outranks a date (RFC 9110 13.1.3)"


def test_a_change_of_the_agent_is_a_new_card(proxy: Proxy, client: httpx.Client, site: Carded) -> None:
    with registered(proxy, site.document(url=site.url)) as agent:
        first = card_of(client, agent)
        card = site.document(url=site.url, description="Changed.")
        assert client.patch(agents.path(agent.agent_id), json={"agent_card_params": card}).status_code == 200
        second = card_of(client, agent, **{"If-None-Match": first.headers["ETag"]})
        assert second.status_code == 200
        assert second.json()["description"] == "Changed."
        assert parsedate_to_datetime(second.headers["Last-Modified"]) <= datetime.now(UTC)


def test_a_card_from_a_host_header_is_never_for_sharing(proxy: Proxy, client: httpx.Client, site: Carded) -> None:
    with registered(proxy, site.document(url=site.url)) as agent:
        assert client.post(f"/v1/agents/{agent.agent_id}/make_public").status_code == 200
        answer = card_of(client, agent, Host="elsewhere.example.com")
        assert answer.json()["url"].startswith("http://elsewhere.example.com/")
        assert answer.headers["Cache-Control"].startswith("private")
        assert "elsewhere" not in card_of(client, agent).text


# Signatures


def faults(proxy: Proxy) -> Mapping[str, Any]:
    told = [each for each in agents.info(proxy)["faults"] if each["where"] == "agent card"]
    return told[-1] if told else {"message": ""}


def test_a_valid_signature_is_believed_and_dropped(proxy: Proxy, client: httpx.Client, site: Carded) -> None:
    site.show(site.signed(site.document(capabilities={"streaming": True})))
    with registered(proxy, site.document(url=site.url, capabilities={})) as agent:
        card = card_of(client, agent).json()
        assert card["capabilities"]["streaming"] is True
        assert "signatures" not in card
        assert agent.name not in faults(proxy)["message"]


def test_a_broken_signature_refuses_the_card_and_tells_the_admins(
    proxy: Proxy, client: httpx.Client, site: Carded
) -> None:
    site.show({**site.signed(site.document(capabilities={})), "capabilities": {"streaming": True}})
    with registered(proxy, site.document(url=site.url, capabilities={})) as agent:
        card = card_of(client, agent).json()
        assert "streaming" not in card["capabilities"], "the registered card counts"
        fault = faults(proxy)
        assert (fault["kind"], agent.name in fault["message"]) == ("SignatureRefused", True)
        assert str(site.port) not in fault["message"]


def test_a_card_of_more_than_a_mebibyte_is_not_read(proxy: Proxy, client: httpx.Client, site: Carded) -> None:
    site.show(site.document(capabilities={}, description="x" * 1_100_000))
    with registered(proxy, site.document(url=site.url)) as agent:
        assert card_of(client, agent).json()["capabilities"]["streaming"] is True


def test_one_look_at_the_backend_serves_many(proxy: Proxy, client: httpx.Client, site: Carded) -> None:
    site.show(site.document())
    with registered(proxy, site.document(url=site.url)) as agent:
        for path in WELL_KNOWN * 3:
            assert client.get(path.format(agent.agent_id)).status_code == 200
        assert len(site.asked(CARD)) == 1

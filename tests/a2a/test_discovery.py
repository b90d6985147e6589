"""Backends' own cards: fetched within bounds, revalidated, verified, kept through outages; and agents found by URL."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

import httpx
import pytest

from routeiq_plugin.a2a.discovery import CARD_SECONDS, UNREACHED_SECONDS, CardReader, OwnCards
from routeiq_plugin.a2a.model import Agent
from routeiq_plugin.errors import BackendResponseTooLarge
from routeiq_plugin.outbound import Clients, Guard
from routeiq_plugin.settings import OutboundSettings
from tests.a2a import registry as agents
from tests.a2a.carded import CARD, KEYS, Carded, carded
from tests.a2a.guarded import client as guarded_client
from tests.a2a.scripted import Scripted
from tests.support.backends import Backend
from tests.support.proxy import Proxy

pytestmark = pytest.mark.requirement("A2A-23")

OLDER: Final = "/.well-known/agent.json"


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """`OwnCards` on real connections to `site`, and what they complained of."""

    def __init__(self, site: Carded, *allowed: str) -> None:
        settings = OutboundSettings(allowed_hosts=allowed or (f"127.0.0.1:{site.port}",))
        guard = Guard(settings.allowed_hosts)
        self.clock = Clock()
        self.clients = Clients(settings, guard)
        self.reader = CardReader(self.clients, guard)
        self.faults: list[str] = []
        self.cards = OwnCards(self.reader, self.clock, lambda _, error: self.faults.append(str(error)))
        self.agent = Agent({"agent_id": "a", "agent_name": "A", "agent_card_params": {"url": site.url}}, version=1)

    async def name(self) -> str | None:
        """Return the name on the backend's own card, None where there is none."""
        own, _ = await self.cards.of(self.agent)
        return None if own is None else own.card.name


@pytest.fixture
async def bench(site: Carded) -> AsyncIterator[Bench]:
    made = Bench(site)
    yield made
    await made.clients.aclose()


# Remembering


async def test_a_card_is_believed_for_its_time_and_then_revalidated(bench: Bench, site: Carded) -> None:
    site.show(site.document(), ETag='"v1"', Last_Modified="Mon, 01 Jan 2024 00:00:00 GMT")
    assert [await bench.name() for _ in range(3)] == ["Carded"] * 3
    assert len(site.asked()) == 1
    bench.clock.now += CARD_SECONDS + 1
    assert await bench.name() == "Carded"
    conditions = site.asked()[1]
    assert conditions["if-none-match"] == '"v1"'
    assert conditions["if-modified-since"] == "Mon, 01 Jan 2024 00:00:00 GMT"
    assert await bench.name() == "Carded"
    assert len(site.asked()) == 2, "304 is good for as long as a card"


async def test_a_changed_card_is_taken_over_and_an_unchanged_one_keeps_its_date(bench: Bench, site: Carded) -> None:
    site.show(site.document())
    first, _ = await bench.cards.of(bench.agent)
    bench.clock.now += CARD_SECONDS + 1
    second, _ = await bench.cards.of(bench.agent)
    assert first is not None
    assert second is not None
    assert second.changed_at == first.changed_at
    site.show(site.document(name="New"))
    bench.clock.now += CARD_SECONDS + 1
    assert await bench.name() == "New"


@pytest.mark.parametrize("trouble", ["status", "no JSON", "no card", "too large", "redirect"])
async def test_an_outage_does_not_make_us_forget(bench: Bench, site: Carded, trouble: str) -> None:
    site.show(site.document())
    assert await bench.name() == "Carded"
    match trouble:
        case "status":
            site.fail(503)
        case "no JSON":
            site.fail(200)
        case "no card":
            site.show([1, 2])
        case "too large":
            site.show(site.document(description="x" * 1_100_000))
        case "redirect":
            site.fail(302)
    bench.clock.now += CARD_SECONDS + 1
    assert await bench.name() == "Carded"
    asked = len(site.asked())
    assert await bench.name() == "Carded"
    assert len(site.asked()) == asked, "a backend in trouble is not asked each time"
    site.show(site.document(name="Back"))
    bench.clock.now += UNREACHED_SECONDS + 1
    assert await bench.name() == "Back"


async def test_a_card_that_was_taken_down_is_forgotten(bench: Bench, site: Carded) -> None:
    site.show(site.document())
    assert await bench.name() == "Carded"
    site.reset()
    bench.clock.now += CARD_SECONDS + 1
    assert await bench.name() is None


async def test_the_older_path_is_tried_and_remembered(bench: Bench, site: Carded) -> None:
    site.show(site.document(), OLDER)
    assert await bench.name() == "Carded"
    bench.clock.now += CARD_SECONDS + 1
    assert await bench.name() == "Carded"
    assert (len(site.asked(CARD)), len(site.asked(OLDER))) == (1, 2)


async def test_another_configuration_is_looked_at_anew(bench: Bench, site: Carded) -> None:
    site.show(site.document())
    assert await bench.name() == "Carded"
    site.show(site.document(name="New"))
    bench.agent = Agent(bench.agent.fields, version=2)
    assert await bench.name() == "New"
    site.show(site.document(name="Newer"))
    bench.cards.forget("a")
    assert await bench.name() == "Newer"


async def test_more_than_a_mebibyte_is_not_read(bench: Bench, site: Carded) -> None:
    site.show(site.document(description="x" * 40_000_000))
    with pytest.raises(BackendResponseTooLarge):
        await bench.reader.read(f"{site.origin}{CARD}", {})


# Signatures


async def test_a_valid_signature_is_accepted(bench: Bench, site: Carded) -> None:
    site.show(site.signed(site.document()))
    assert await bench.name() == "Carded"
    assert bench.faults == []


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        ("content", "no signature of the card is valid"),
        ("key", "no signature of the card is valid"),
        ("missing keys", "the key set of the card's signature: HTTP 404"),
        ("no key set", "the key set of the card's signature cannot be read"),
        ("no jku", "names no key set (jku)"),
        ("algorithm", "no signature of the card is valid"),
    ],
)
async def test_a_signature_that_does_not_hold_refuses_the_card(
    bench: Bench, site: Carded, spoil: str, told: str
) -> None:
    document = site.signed(site.document())
    match spoil:
        case "content":
            document["description"] = "Somebody else's."
        case "key":
            site.signed(site.document())
        case "missing keys":
            site.fail(404, KEYS)
        case "no key set":
            site.show([], KEYS)
        case "no jku":
            document["signatures"][0]["protected"] = _protected({"alg": "ES256", "kid": "k1"})
        case "algorithm":
            header = {"alg": "none", "kid": "k1", "jku": f"{site.origin}{KEYS}"}
            document["signatures"][0] |= {"protected": _protected(header), "signature": ""}
    site.show(document)
    assert await bench.name() is None
    assert len(bench.faults) == 1
    assert told in bench.faults[0]
    assert bench.faults[0].startswith("Agent 'A': ")
    assert str(site.port) not in bench.faults[0]


async def test_keys_of_another_origin_count_only_where_that_host_is_named(site: Carded) -> None:
    with carded() as elsewhere:
        document = site.document()
        signed = elsewhere.signed(document)
        site.show(signed)
        named = (f"127.0.0.1:{site.port}", f"127.0.0.1:{elsewhere.port}")
        for allowed, expected, asked in ((named[:1], None, 0), (named, "Carded", 1)):
            bench = Bench(site, *allowed)
            assert await bench.name() == expected
            assert len(elsewhere.asked(KEYS)) == asked
            assert any("another origin" in fault for fault in bench.faults) is (expected is None)
            await bench.clients.aclose()


def _protected(header: Mapping[str, Any]) -> str:
    from jwt.utils import base64url_encode

    return base64url_encode(json.dumps(header).encode()).decode()


# POST /v1/a2a/discover


@pytest.fixture(scope="module")
def client(proxy: Proxy) -> Iterator[httpx.Client]:
    with proxy.client() as opened:
        yield opened


@pytest.mark.parametrize("path", [CARD, OLDER, "/agent.json"])
def test_discovery_answers_in_litellms_shape(client: httpx.Client, site: Carded, path: str) -> None:
    document = site.document(anything={"of": ["the", "backend's"]})
    site.show(document, path)
    for mode in ({}, {"discovery_mode": "well_known_fallback", "params": None}):
        answer = client.post("/v1/a2a/discover", json={"url": site.origin, **mode})
        assert (answer.status_code, answer.json()) == (200, {"url": site.origin, "agent_card": document})


def test_discovery_of_a_real_agent(client: httpx.Client, backend: Backend) -> None:
    answer = client.post("/v1/a2a/discover", json={"url": backend.url})
    assert answer.json() == {"url": backend.url, "agent_card": backend.card()}


def test_discovery_is_for_admins_in_litellms_words(proxy: Proxy, site: Carded) -> None:
    with proxy.client(proxy.add_key()) as user:
        answer = user.post("/v1/a2a/discover", json={"url": site.origin})
    assert answer.status_code == 403
    assert answer.json()["detail"].startswith("Only proxy admins can discover agent cards. Your role=")
    assert site.seen == []


def test_nothing_to_find_is_told(client: httpx.Client, site: Carded) -> None:
    answer = client.post("/v1/a2a/discover", json={"url": site.origin})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(
        f"Could not fetch agent card from {site.origin} (mode=well_known_fallback). Last error: HTTP 404"
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "url"), ({"url": 5}, "url"), ({"url": "http://x", "discovery_mode": "guess"}, "discovery_mode")],
)
def test_a_wrong_question_is_told_by_its_field(client: httpx.Client, body: Any, field: str) -> None:
    answer = client.post("/v1/a2a/discover", json=body)
    assert answer.status_code == 422
    assert [error["loc"] for error in answer.json()["detail"]] == [["body", field]]


def test_discovery_of_langgraph_is_stocks(client: httpx.Client, site: Carded) -> None:
    answer = client.post("/v1/a2a/discover", json={"url": site.origin, "discovery_mode": "langgraph_platform"})
    assert (answer.status_code, answer.json()["detail"]) == (
        400,
        "langgraph_platform discovery requires params.assistant_id",
    )


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "http://127.0.0.1:{canary}/", "file:///etc/passwd", "x"])
def test_discovery_stays_behind_the_guard(guarded: Proxy, canary: Scripted, url: str) -> None:
    with guarded_client(guarded) as admin:
        for path in ("/v1/a2a/discover", "/v1/agents"):
            where = {"url": url.format(canary=canary.port)}
            body = where if path.endswith("discover") else {"agent_name": "found", "agent_card_params": where}
            answer = admin.post(path, json=body)
            assert answer.status_code == 400, answer.text
    assert canary.connections == 0


# Registration by a URL


@pytest.mark.parametrize("given", ["", ".well-known/agent-card.json"])
def test_an_agent_is_registered_by_its_url_alone(client: httpx.Client, site: Carded, given: str) -> None:
    site.show(site.document(description="As found."))
    made = client.post(
        "/v1/agents", json={"agent_name": agents.unique(), "agent_card_params": {"url": f"{site.url}{given}"}}
    )
    assert made.status_code == 200, made.text
    agent = made.json()
    assert agent["agent_card_params"]["description"] == "As found."
    assert agent["agent_card_params"]["url"] == site.url
    site.reset()
    read = client.get(agents.path(agent["agent_id"])).json()
    assert read["agent_card_params"]["skills"][0]["id"] == "s", "it was stored"
    assert client.delete(agents.path(agent["agent_id"])).status_code == 200


def test_an_agent_that_was_registered_by_its_url_answers(client: httpx.Client, backend: Backend) -> None:
    for url in (backend.url, backend.card_url):
        made = client.post("/v1/agents", json={"agent_name": agents.unique(), "agent_card_params": {"url": url}})
        assert made.status_code == 200, made.text
        assert agents.answer_of(agents.call(client, made.json()["agent_id"])) == "echo: hello"
        assert client.delete(agents.path(made.json()["agent_id"])).status_code == 200


def test_a_found_card_keeps_the_origin_where_it_was_found(client: httpx.Client, site: Carded) -> None:
    interface = {"url": "http://0.0.0.0:9999/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
    site.show(site.document(supportedInterfaces=[interface]))
    made = client.post("/v1/agents", json={"agent_name": agents.unique(), "agent_card_params": {"url": site.url}})
    assert made.status_code == 200, made.text
    assert "0.0.0.0" not in made.text
    assert client.delete(agents.path(made.json()["agent_id"])).status_code == 200


def test_no_card_at_a_cards_url_is_refused_and_a_silent_agent_is_not(client: httpx.Client, site: Carded) -> None:
    body = {"agent_name": agents.unique(), "agent_card_params": {"url": f"{site.origin}{CARD}"}}
    refused = client.post("/v1/agents", json=body)
    assert refused.status_code == 400
    assert "agent_card_params.url: no agent card there" in refused.json()["detail"]
    made = client.post("/v1/agents", json={**body, "agent_card_params": {"url": site.url}})
    assert made.status_code == 200, made.text
    assert client.delete(agents.path(made.json()["agent_id"])).status_code == 200


def test_a_found_card_with_a_broken_signature_is_refused(client: httpx.Client, site: Carded) -> None:
    site.show({**site.signed(site.document()), "description": "Somebody else's."})
    body = {"agent_name": agents.unique(), "agent_card_params": {"url": site.url}}
    refused = client.post("/v1/agents", json=body)
    assert (refused.status_code, refused.json()["detail"]) == (
        400,
        "agent_card_params.url: no signature of the card is valid",
    )

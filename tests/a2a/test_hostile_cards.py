"""Cards that strangers write: whatever is in them, agents are listed, read and called, and nothing is a 500."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from routeiq_plugin.a2a import signatures
from routeiq_plugin.a2a.signatures import MAX_KEYS, MAX_SIGNATURES, SignatureRefused, Verifier
from tests.a2a import registry as agents
from tests.a2a.calls import sending
from tests.a2a.carded import KEYS, Carded
from tests.support.proxy import Proxy

pytestmark = pytest.mark.requirement("A2A-23")


@pytest.fixture
def client(proxy: Proxy) -> Iterator[httpx.Client]:
    with proxy.client() as opened:
        yield opened


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def header(value: Any) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def skill(**beside: Any) -> dict[str, Any]:
    return {"skills": [{"id": "s", "name": "S", "description": "D.", "tags": ["s"], **beside}]}


def signed(protected: Any) -> dict[str, Any]:
    return {"signatures": [{"protected": header(protected), "signature": "AAAA"}]}


ODD_URL: Final = "http://[x"


def hostile(keys: str) -> dict[str, dict[str, Any]]:
    """List what cards may hold; `keys` is where a key set is."""
    interface = {"url": ODD_URL, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
    return {
        "half a surrogate": skill(x="\ud800"),
        "half a surrogate as a key": {"\ud800": 1},
        "deep in a skill": skill(x=deep(470)),
        "deep beside all": {"x": deep(700)},
        "not a number": skill(x=float("nan")),
        "not a number in an extension": {"capabilities": {"extensions": [{"uri": "u", "params": {"x": float("nan")}}]}},
        "no URL": {"supportedInterfaces": [interface]},
        "a list for a key id": signed({"alg": "ES256", "kid": ["x"], "jku": keys}),
        "a list for a key set": signed({"alg": "ES256", "kid": "x", "jku": ["x"]}),
        "a deep header": signed(b"[" * 5000),
        "many signatures": {"signatures": signed({"alg": "ES256", "jku": keys})["signatures"] * 2000},
    }


HOSTILE: Final = tuple(hostile(""))


def shown(site: Carded, name: str) -> None:
    site.show({"keys": [{"kty": "oct", "k": "AA", "kid": "k"}]}, KEYS)
    site.show(site.document(**hostile(f"{site.origin}{KEYS}")[name]))


@pytest.mark.parametrize("name", HOSTILE)
def test_an_agent_that_is_registered_by_its_url_hurts_nobody(client: httpx.Client, site: Carded, name: str) -> None:
    shown(site, name)
    name = agents.unique()
    created = client.post("/v1/agents", json={"agent_name": name, "agent_card_params": {"url": site.url}})
    assert created.status_code in (200, 400), created.text
    try:
        reads = ["/v1/agents", "/v1/agents?query=shows", "/public/agent_hub"]
        if created.status_code == 200:
            assert client.post(f"/v1/agents/{created.json()['agent_id']}/make_public").status_code == 200
            reads.append(agents.path(created.json()["agent_id"]))
        for path in reads:
            assert client.get(path).status_code == 200, path
    finally:
        client.delete(agents.path(name))
    assert client.post("/v1/a2a/discover", json={"url": site.url}).status_code in (200, 400)


@pytest.mark.parametrize("name", HOSTILE)
def test_an_agent_that_shows_one_later_is_read_and_called(client: httpx.Client, site: Carded, name: str) -> None:
    shown(site, name)
    body = {"agent_name": agents.unique(), "agent_card_params": site.document(url=site.url)}
    created = client.post("/v1/agents", json=body).raise_for_status().json()
    try:
        card = client.get(f"/a2a/{created['agent_id']}/.well-known/agent-card.json")
        assert card.status_code == 200, card.text
        call = client.post(f"/a2a/{created['agent_id']}", json=sending("hello"))
        assert call.status_code == 200, call.text
        assert call.json()["error"]["code"] == -32603  # nobody takes calls there
        asked = len(site.seen)
        client.get(f"/a2a/{created['agent_id']}/.well-known/agent-card.json")
        assert len(site.seen) == asked, "what is no card is not asked for again at once"
    finally:
        client.delete(agents.path(created["agent_id"]))


@pytest.mark.parametrize(
    "card",
    [
        {"url": ODD_URL},
        {"name": "x", "url": ODD_URL},
        {"name": "x", "supportedInterfaces": [{"url": ODD_URL, "protocolBinding": "JSONRPC"}]},
    ],
    ids=["alone", "of a card", "of an interface"],
)
def test_a_malformed_address_is_refused_by_its_field(client: httpx.Client, site: Carded, card: Any) -> None:
    name = agents.unique()
    refused = client.post("/v1/agents", json={"agent_name": name, "agent_card_params": card})
    assert refused.status_code == 400, refused.text
    assert "agent_card_params" in refused.text
    good = {"agent_name": name, "agent_card_params": site.document(url=site.url)}
    created = client.post("/v1/agents", json=good).raise_for_status().json()
    for method in ("PUT", "PATCH"):
        changed = client.request(method, agents.path(created["agent_id"]), json={**good, "agent_card_params": card})
        assert changed.status_code == 400, (method, changed.text)
    client.delete(agents.path(created["agent_id"])).raise_for_status()


# Signatures

KNOWN: Final = {"alg": "ES256", "kid": "x", "jku": "https://a.example/keys"}


def _card(protected: Any, count: int = 1) -> Any:
    from a2a.client.card_resolver import parse_agent_card

    card = {"name": "A", "version": "1", "description": "D.", "skills": [], "capabilities": {}}
    return parse_agent_card({**card, "signatures": signed(protected)["signatures"] * count})


@pytest.mark.parametrize(
    ("protected", "keys"),
    [
        ({"alg": "ES256", "kid": ["x"], "jku": "https://a.example/keys"}, {"keys": []}),
        (
            {"alg": "ES256", "kid": "x", "jku": "https://a.example/keys"},
            {"keys": [{"kty": "oct", "k": "AA"}] * (MAX_KEYS + 1)},
        ),
        (KNOWN, {"keys": 3}),
        (KNOWN, ["keys"]),
        (KNOWN, b"[" * 200_000),
        (b"[" * 5000, {"keys": []}),
    ],
    ids=["kid", "many keys", "keys of no kind", "no key set", "deep keys", "deep header"],
)
async def test_what_is_no_signature_refuses_the_card(protected: Any, keys: Any) -> None:
    async def read(_: str) -> bytes:
        return keys if isinstance(keys, bytes) else json.dumps(keys).encode()

    verifier = Verifier(read, lambda _: False)
    with pytest.raises(SignatureRefused):
        await verifier.verify(_card(protected), "https://a.example/")


async def test_no_more_signatures_are_checked_than_a_card_may_bear(monkeypatch: pytest.MonkeyPatch) -> None:
    async def read(_: str) -> bytes:
        raise AssertionError("no key is asked for")

    checked: list[Any] = []
    monkeypatch.setattr(signatures, "_verify", lambda *each: checked.append(each))
    protected = {"alg": "ES256", "jku": "https://a.example/keys"}
    with pytest.raises(SignatureRefused, match=f"more than {MAX_SIGNATURES} signatures"):
        await Verifier(read, lambda _: False).verify(_card(protected, MAX_SIGNATURES + 1), "https://a.example/")
    assert checked == []

"""Agent cards: sections 3.1.11, 4.4 and 8."""

from __future__ import annotations

from typing import Any, Final

import httpx

from tests.a2a.calls import VERSION
from tests.a2a.conformance.peers import Peer, Wire
from tests.a2a.conformance.table import ALL, MODERN, check

CARD: Final = "/.well-known/agent-card.json"
_NO_CACHE: Final = "sends no such header"
_REQUIRED: Final = (
    "name", "description", "version", "capabilities", "skills", "defaultInputModes", "defaultOutputModes",
)  # fmt: skip


def fetch(peer: Peer, **headers: str) -> httpx.Response:
    """Read the card, as this wire's client does."""
    stated = {} if peer.is_legacy else {VERSION: "1.0"}
    return peer.http.get(peer.url.rstrip("/") + CARD, headers={**stated, **peer.headers, **headers})


def card_of(peer: Peer) -> dict[str, Any]:
    """Read the card's document."""
    response = fetch(peer)
    assert response.status_code == 200
    document: dict[str, Any] = response.json()
    return document


@check("8.2")
def the_card_is_where_it_is_looked_for(peer: Peer) -> None:
    response = fetch(peer)
    assert response.status_code == 200
    assert response.headers["content-type"].split(";")[0] in ("application/json", "application/a2a+json")


@check("4.4.1")
def the_card_has_what_it_must(peer: Peer) -> None:
    card = card_of(peer)
    assert all(card.get(name) not in (None, "", []) for name in _REQUIRED if name != "capabilities")
    assert isinstance(card["capabilities"], dict)
    for skill in card["skills"]:
        assert all(skill[name] for name in ("id", "name", "description", "tags"))


@check("4.4.6", MODERN)
def the_card_of_1_0_names_its_interfaces(peer: Peer) -> None:
    interfaces = card_of(peer)["supportedInterfaces"]
    assert interfaces
    for interface in interfaces:
        assert interface["url"].startswith("http")
        assert interface["protocolBinding"]
        assert interface["protocolVersion"]
    assert ("JSONRPC", "1.0") in {(each["protocolBinding"], each["protocolVersion"]) for each in interfaces}


@check("0.3 5.5", (Wire.LEGACY,))
def the_card_of_0_3_names_its_address_and_version(peer: Peer) -> None:
    card = card_of(peer)
    assert card["url"].startswith("http")
    assert card["protocolVersion"].startswith("0.3")
    assert card.get("preferredTransport", "JSONRPC") == "JSONRPC"


@check("4.4.3")
def the_card_says_what_the_agent_can(peer: Peer) -> None:
    capabilities = card_of(peer)["capabilities"]
    assert capabilities["streaming"] is True
    assert capabilities["pushNotifications"] is True


@check("4.4.3", agent="plain")
def the_card_says_what_the_agent_cannot(peer: Peer) -> None:
    card = card_of(peer)
    assert not any(card["capabilities"].get(name) for name in ("streaming", "pushNotifications", "extendedAgentCard"))
    assert not card.get("supportsAuthenticatedExtendedCard")


@check("4.4.4", MODERN, agent="extended")
def the_card_says_which_extension_the_agent_asks_for(peer: Peer) -> None:
    (extension,) = card_of(peer)["capabilities"]["extensions"]
    assert (extension["uri"], extension["required"]) == ("urn:example:required", True)


@check("8.6.1", bare_fails=dict.fromkeys(ALL, _NO_CACHE))
def the_card_says_how_long_it_is_good(peer: Peer) -> None:
    assert "max-age=" in fetch(peer).headers["cache-control"]


@check("8.6.1", bare_fails={Wire.LEGACY: _NO_CACHE})
def the_card_has_a_tag_that_saves_reading_it_again(peer: Peer) -> None:
    tag = fetch(peer).headers["etag"]
    again = fetch(peer, **{"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert fetch(peer, **{"If-None-Match": '"another"'}).status_code == 200


@check("8.6.1", bare_fails={Wire.LEGACY: _NO_CACHE})
def the_card_has_the_same_tag_twice(peer: Peer) -> None:
    assert fetch(peer).headers["etag"] == fetch(peer).headers["etag"]


@check("8.6.1", bare_fails=dict.fromkeys(ALL, _NO_CACHE))
def the_card_says_when_it_changed(peer: Peer) -> None:
    changed = fetch(peer).headers["last-modified"]
    assert fetch(peer, **{"If-Modified-Since": changed}).status_code == 304


@check("3.1.11")
def the_extended_card_has_more(peer: Peer) -> None:
    answer = peer.call("GetExtendedAgentCard", {})
    assert answer.error is None, answer.message
    assert {skill["id"] for skill in answer.result["skills"]} == {"echo", "secret"}
    assert all(answer.result.get(name) for name in _REQUIRED)


@check("4.4", MODERN)
def the_card_of_1_0_holds_nothing_of_0_3(peer: Peer) -> None:
    assert not {"url", "protocolVersion", "preferredTransport", "additionalInterfaces", "security"} & set(card_of(peer))

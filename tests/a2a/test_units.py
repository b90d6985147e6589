"""The pure parts of the gateway, as tables: where a backend is called, who may, which headers pass, what cards say."""

from __future__ import annotations

import copy
from typing import Any, Final

import pytest

from routeiq_plugin.a2a import cards, headers
from routeiq_plugin.a2a.access import Action, DefaultAccess, decide
from routeiq_plugin.a2a.cards import pinned
from routeiq_plugin.a2a.model import Agent
from routeiq_plugin.errors import BackendError, InvalidRequest
from routeiq_plugin.host.auth import AgentGrants, Caller, Grant

GATEWAY: Final = "https://gateway.example.com/a2a/id-1"
PROVIDER: Final = "https://gateway.example.com"


def agent(**fields: Any) -> Agent:
    return Agent({"agent_id": "ID-1", "agent_name": "My Agent", "agent_card_params": {}, **fields}, version=1)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("https://agent.example.com/a2a", "https://agent.example.com/a2a"),
        ("https://agent.example.com/other?x=1", "https://agent.example.com/other?x=1"),
        ("http://0.0.0.0:9999/", "https://agent.example.com/a2a"),
        ("http://0.0.0.0:9999", "https://agent.example.com/a2a"),
        ("http://localhost:9999/rpc", "https://agent.example.com/rpc"),
        ("https://evil.example.com/rpc?x=1#y", "https://agent.example.com/rpc?x=1"),
        ("http://agent.example.com/rpc", "https://agent.example.com/rpc"),
        ("https://agent.example.com:8443/rpc", "https://agent.example.com/rpc"),
        ("https://user@agent.example.com/rpc", "https://agent.example.com/rpc"),
        ("https://agent.example.com.evil.com/rpc", "https://agent.example.com/rpc"),
        ("https://agent.example.com@evil.com/rpc", "https://agent.example.com/rpc"),
        ("//evil.example.com/rpc", "https://agent.example.com/rpc"),
        ("/rpc", "https://agent.example.com/rpc"),
        ("", "https://agent.example.com/a2a"),
        ("file:///etc/passwd", "https://agent.example.com/etc/passwd"),
    ],
)
def test_an_interface_stays_on_the_registered_origin(stated: str, expected: str) -> None:
    assert pinned(stated, "https://agent.example.com/a2a") == expected


def caller(role: str = "internal_user") -> Caller:
    admin = role == "proxy_admin"
    view = role in ("proxy_admin", "proxy_admin_viewer")
    return Caller(identity=None, user_id="u", team_id=None, role=role, is_admin=admin, has_admin_view=view)


NONE: Final = AgentGrants()
OTHER: Final = AgentGrants((Grant(frozenset({"ID-2"})),))
THIS: Final = AgentGrants((Grant(frozenset({"ID-1"})),))
EMPTY: Final = AgentGrants((Grant(frozenset()),))

SEE, READ, CALL = Action.LIST, Action.READ, Action.INVOKE
ALL: Final = {SEE, READ, CALL}


@pytest.mark.requirement("A2A-13")
@pytest.mark.parametrize(
    ("role", "grants", "public", "deny", "litellm"),
    [
        ("proxy_admin", NONE, False, ALL, ALL),
        ("proxy_admin", OTHER, False, ALL, ALL),
        ("proxy_admin_viewer", NONE, False, {SEE, READ}, ALL),
        ("proxy_admin_viewer", OTHER, False, {SEE, READ}, {SEE, READ}),
        ("proxy_admin_viewer", THIS, False, ALL, ALL),
        ("internal_user", THIS, False, ALL, ALL),
        ("internal_user", OTHER, False, set(), set()),
        ("internal_user", EMPTY, False, set(), set()),
        ("internal_user", NONE, False, set(), {READ, CALL}),
        ("internal_user", NONE, True, ALL, ALL),
        ("internal_user", OTHER, True, ALL, ALL),
        ("unknown", NONE, False, set(), {READ, CALL}),
    ],
)
def test_who_may_do_what(
    role: str, grants: AgentGrants, *, public: bool, deny: set[Action], litellm: set[Action]
) -> None:
    this = Agent({"agent_id": "ID-1", "agent_name": "x"}, version=1, is_public=public)
    rules: dict[DefaultAccess, set[Action]] = {"deny": deny, "litellm": litellm}
    for default, expected in rules.items():
        assert {action for action in ALL if decide(caller(role), grants, this, action, default)} == expected


@pytest.mark.parametrize(
    ("fields", "incoming", "expected"),
    [
        pytest.param({}, {"x-custom": "a", "cookie": "b"}, {}, id="nothing is passed by itself"),
        pytest.param(
            {}, {"traceparent": "t", "a2a-extensions": "e"}, {"traceparent": "t", "a2a-extensions": "e"}, id="protocol"
        ),
        pytest.param({"extra_headers": ["X-Custom"]}, {"x-custom": "a"}, {"X-Custom": "a"}, id="allowed"),
        pytest.param(
            {"extra_headers": ["Authorization", "COOKIE"]}, {"authorization": "a", "cookie": "b"}, {}, id="never"
        ),
        pytest.param({"extra_headers": ["X-LiteLLM-Anything"]}, {"x-litellm-anything": "a"}, {}, id="LiteLLM's own"),
        pytest.param({}, {"x-a2a-id-1-authorization": "a"}, {"authorization": "a"}, id="addressed by id"),
        pytest.param({}, {"x-a2a-my agent-x-b": "a"}, {"x-b": "a"}, id="addressed by name"),
        pytest.param(
            {}, {"x-a2a-id-1-host": "a", "x-a2a-id-1-": "b", "x-a2a-id-1-x-litellm-user-id": "c"}, {}, id="framing"
        ),
        pytest.param(
            {"extra_headers": ["x-api_key"]},
            {
                "x-a2a-id-1-x_litellm-user-id": "a",
                "x-a2a-id-1-x_litellm_user_id": "b",
                "x-a2a-id-1-a2a_version": "c",
                "x-api_key": "d",
            },
            {},
            id="what CGI takes for one of ours",
        ),
        pytest.param({"litellm_params": {"api_key": "k"}}, {}, {"Authorization": "Bearer k"}, id="token"),
        pytest.param(
            {"litellm_params": {"api_key": "k"}},
            {"x-a2a-id-1-authorization": "a"},
            {"Authorization": "Bearer k"},
            id="token wins",
        ),
        pytest.param(
            {"litellm_params": {"api_key": "k"}, "static_headers": {"authorization": "s"}},
            {},
            {"authorization": "s"},
            id="static wins",
        ),
        pytest.param(
            {"extra_headers": ["X-A"], "static_headers": {"x-a": "s"}}, {"x-a": "c"}, {"x-a": "s"}, id="the admin wins"
        ),
        pytest.param({"static_headers": {"X-LiteLLM-Agent-Id": "forged"}}, {}, {}, id="who it is cannot be forged"),
        pytest.param({"static_headers": None, "extra_headers": None}, {}, {}, id="null"),
    ],
)
def test_headers_of_a_call(fields: dict[str, Any], incoming: dict[str, str], expected: dict[str, str]) -> None:
    sent = headers.outbound(agent(**fields), incoming, user_id=None, team_id=None)
    assert sent == {**expected, "X-LiteLLM-Agent-Id": "ID-1"}


def test_who_calls_is_told() -> None:
    sent = headers.outbound(agent(), {"x-litellm-trace-id": "t"}, user_id="u", team_id="v")
    assert sent == {
        "X-LiteLLM-Agent-Id": "ID-1",
        "X-LiteLLM-User-Id": "u",
        "X-LiteLLM-Team-Id": "v",
        "X-LiteLLM-Trace-Id": "t",
    }


@pytest.mark.parametrize("value", ["J\u00fcrgen", "a\r\nX-Evil: b", "a\x00", "\u65e5"])
def test_a_value_that_http_cannot_carry_is_refused_by_name_alone(value: str) -> None:
    with pytest.raises(InvalidRequest, match="X-Name") as refused:
        headers.outbound(agent(static_headers={"X-Name": value}), {}, user_id=None, team_id=None)
    assert value not in str(refused.value)


@pytest.mark.parametrize(
    ("stated", "served"),
    [
        ("0.3", "0.3"),
        ("0.3.0", "0.3"),
        ("1.0", "1.0"),
        ("1.0.0", "1.0"),
        ("1.0.0-rc.1", "1.0"),
        ("1.0.0+build.5", "1.0"),
        ("0.2.6", None),
        ("2.0", None),
        ("1", None),
        ("1.0.0.0", None),
        ("v1.0", None),
        ("", None),
        (1.0, None),
        (None, None),
    ],
)
def test_the_version_of_a_card(stated: Any, served: str | None) -> None:
    card = {"protocolVersion": stated}
    assert cards.protocol_version(card) == served
    if served is None and stated is not None:
        with pytest.raises(InvalidRequest, match="Unsupported protocolVersion"):
            cards.validate(card)
    else:
        cards.validate(card)


def test_every_address_of_a_card_is_named() -> None:
    card = {
        "url": "a",
        "supportedInterfaces": [{"url": "b"}, {"no": "url"}, 5, {"url": "c"}],
        "additionalInterfaces": [{"url": "d"}],
        "documentationUrl": "never called",
    }
    assert list(cards.addresses(card)) == [
        ("agent_card_params.url", "a"),
        ("agent_card_params.supportedInterfaces.0.url", "b"),
        ("agent_card_params.supportedInterfaces.3.url", "c"),
        ("agent_card_params.additionalInterfaces.0.url", "d"),
    ]
    assert list(cards.addresses({"supportedInterfaces": "odd", "additionalInterfaces": None})) == []


OURS: Final = {"url": f"{GATEWAY}/", "protocolBinding": "JSONRPC"}
THEIRS: Final = {"url": "https://agent.example.com/rpc", "protocolBinding": "JSONRPC"}


@pytest.mark.parametrize(
    ("card", "stored", "kept"),
    [
        pytest.param({"url": "https://x/"}, None, {"url": "https://x/"}, id="a new one"),
        pytest.param({"url": GATEWAY}, {"url": "https://x/"}, {"url": "https://x/"}, id="ours is theirs"),
        pytest.param({"url": GATEWAY}, None, {}, id="ours without theirs"),
        pytest.param(
            {"supportedInterfaces": [OURS]},
            {"supportedInterfaces": [THEIRS]},
            {"supportedInterfaces": [THEIRS]},
            id="interface",
        ),
        pytest.param({"supportedInterfaces": [OURS]}, None, {}, id="interface without theirs"),
        pytest.param({"supportedInterfaces": [OURS, THEIRS]}, None, {"supportedInterfaces": [THEIRS]}, id="both"),
        pytest.param({"url": "https://y/a2a/id-2"}, None, {"url": "https://y/a2a/id-2"}, id="another gateway's agent"),
    ],
)
def test_our_own_address_never_becomes_the_backends(
    card: dict[str, Any], stored: dict[str, Any] | None, kept: dict[str, Any]
) -> None:
    assert cards.as_registered(card, "id-1", stored) == kept


SECRETS: Final = {
    "url": "https://secret.example.com/",
    "supportedInterfaces": [{"url": "https://secret.example.com/", "protocolBinding": "JSONRPC"}],
    "additionalInterfaces": [{"url": "https://secret.example.com/", "transport": "JSONRPC"}],
    "signatures": [{"protected": "secret", "signature": "secret"}],
    "securitySchemes": {"k": {"type": "openIdConnect", "openIdConnectUrl": "https://secret.example.com/"}},
    "x-internal": "secret",
}


def test_a_shown_card_holds_nothing_of_the_backends_place() -> None:
    card = {
        **SECRETS,
        "name": "n",
        "skills": [{"id": "s", "name": "s", "description": "d", "tags": [], "security": [{"k": []}]}],
    }
    before = copy.deepcopy(card)
    listed = cards.shown(card, name="n", gateway_url=GATEWAY, provider_url=PROVIDER, backend_url=None)
    served = cards.public(card, name="n", gateway_url=GATEWAY, provider_url=PROVIDER)
    assert card == before
    for each in (listed, served):
        assert "secret" not in str(each)
        assert each["url"] == GATEWAY
    assert "secret.example.com" in str(
        cards.shown(card, name="n", gateway_url=GATEWAY, provider_url=PROVIDER, backend_url=str(card["url"]))["url"]
    )


@pytest.mark.parametrize("capabilities", [None, {}, {"streaming": False}, {"stateTransitionHistory": True}, "odd"])
def test_what_is_not_offered_is_not_shown(capabilities: Any) -> None:
    assert cards.capabilities({"capabilities": capabilities}) == {}


def test_a_card_that_a2a_cannot_read_is_the_backends_fault() -> None:
    with pytest.raises(BackendError, match="not an A2A agent card"):
        cards.public({"skills": "many"}, name="n", gateway_url=GATEWAY, provider_url=PROVIDER)

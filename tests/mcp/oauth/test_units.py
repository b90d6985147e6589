"""Rules without a server: redirect URIs, PKCE, owners, and what a browser under https is given."""

from __future__ import annotations

import pytest
from starlette.responses import Response

from routeiq_plugin.host.auth import Caller
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.oauth.logins import Begun, Cookie, cookie_name
from routeiq_plugin.mcp.oauth.memory import SECONDS, Memory
from routeiq_plugin.mcp.oauth.owners import owner_of
from routeiq_plugin.mcp.oauth.providers import binding, is_machine, wants_login
from routeiq_plugin.mcp.oauth.redirects import is_ours_or_local, is_registered, with_query
from routeiq_plugin.mcp.oauth.requests import proves
from routeiq_plugin.mcp.oauth.routes import _sent_off
from routeiq_plugin.store.feed import Change, Resync
from routeiq_plugin.store.oauth_tokens import KIND, Held, TokenKind

pytestmark = pytest.mark.requirement("MCP-12")


def test_under_https_the_cookie_is_this_hosts_alone() -> None:
    name = cookie_name("https://gateway.example", "state")

    answer: Response = _sent_off(Begun("https://as.example/authorize", Cookie(name, "value", secure=True)))

    set_cookie = answer.headers["set-cookie"]
    assert name.startswith("__Host-")
    assert "Secure" in set_cookie
    assert "Path=/" in set_cookie
    assert "HttpOnly" in set_cookie
    assert "Domain" not in set_cookie


@pytest.mark.parametrize(
    ("asked", "registered", "same"),
    [
        ("https://app.example/cb", "https://app.example/cb", True),
        ("https://app.example:8443/cb", "https://app.example/cb", False),
        ("https://app.example/CB", "https://app.example/cb", False),
        ("http://127.0.0.1:1/cb", "http://127.0.0.1/cb", True),
        ("http://[::1]:1/cb", "http://[::1]:2/cb", True),
        ("http://127.0.0.1:1/cb?x=1", "http://127.0.0.1:1/cb", False),
        ("http://127.0.0.1:99999/cb", "http://127.0.0.1:1/cb", False),
        ("http://127.0.0.2:1/cb", "http://127.0.0.1:1/cb", False),
        ("http://localhost:1/cb", "http://localhost:2/cb", False),
        ("http://x@127.0.0.1:1/cb", "http://127.0.0.1:1/cb", False),
        ("https://127.0.0.1:1/cb", "http://127.0.0.1:1/cb", False),
    ],
)
def test_redirect_uris_are_compared_exactly(asked: str, registered: str, same: bool) -> None:
    assert is_registered(asked, [registered]) is same


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("https://gateway.example/ui/mcp/oauth/callback", True),
        ("https://gateway.example:443/ui", True),
        ("https://gateway.example.evil.example/ui", False),
        ("https://gateway.example:8443/ui", False),
        ("http://gateway.example/ui", False),
        ("http://localhost:3000/cb", True),
        ("http://127.0.0.1.evil.example/cb", False),
    ],
)
def test_who_did_not_register_is_answered_here_or_at_home(uri: str, allowed: bool) -> None:
    assert is_ours_or_local(uri, "https://gateway.example") is allowed


def test_a_query_is_kept() -> None:
    assert with_query("https://a.example/cb?x=1", {"code": "a b", "iss": None}) == "https://a.example/cb?x=1&code=a+b"


def test_pkce_is_that_of_rfc_7636_appendix_b() -> None:
    verifier, challenge = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"

    assert proves(verifier, challenge)
    assert not proves(verifier[:-1] + "x", challenge)
    assert not proves(challenge, challenge), "plain"
    assert not proves("short", challenge)


def test_an_owner_is_the_user_or_else_the_key() -> None:
    class Identity:
        api_key = "hash-of-the-key"

    def caller(user_id: str | None) -> Caller:
        return Caller(Identity(), user_id, None, "internal_user", is_admin=False, has_admin_view=False)

    owners = [owner_of(caller(each)) for each in ("alice", None, "key:hash-of-the-key", "x" * 4000)]
    assert owners[:3] == ["user:alice", "key:hash-of-the-key", "user:key:hash-of-the-key"]
    assert len(set(owners)) == 4
    assert len(owners[3]) < 100


@pytest.mark.parametrize(
    ("fields", "machine", "login"),
    [
        ({"auth_type": "oauth2"}, False, True),
        ({"auth_type": "oauth2", "oauth2_flow": "client_credentials"}, True, False),
        ({"auth_type": "oauth2", "oauth2_flow": "authorization_code"}, False, True),
        ({"auth_type": "oauth2", "token_url": "https://t", "credentials": {"client_id": "a"}}, False, True),
        (
            {"auth_type": "oauth2", "token_url": "https://t", "credentials": {"client_id": "a", "client_secret": "b"}},
            True,
            False,
        ),
        ({"auth_type": "bearer_token"}, False, False),
        ({}, False, False),
    ],
)
def test_who_logs_in_is_read_as_litellm_reads_it(fields: dict[str, object], machine: bool, login: bool) -> None:
    server = Server({"server_id": "s", **fields}, version=1)

    assert (is_machine(server), wants_login(server)) == (machine, login)


@pytest.mark.parametrize("field", ["url", "issuer", "authorization_url", "token_url"])
def test_a_login_is_bound_to_where_it_was_made(field: str) -> None:
    fields = {"server_id": "s", "url": "https://m", "auth_type": "oauth2"}

    assert binding(Server(fields, 1)) == binding(Server({**fields, "description": "new"}, 2))
    assert binding(Server(fields, 1)) != binding(Server({**fields, field: "https://other"}, 2))
    assert binding(Server(fields, 1)) != binding(Server({**fields, "credentials": {"client_id": "x"}}, 2))


def test_what_is_remembered_ends_with_a_change_and_with_time() -> None:
    clock = [0.0]
    memory = Memory(lambda: clock[0])
    held = Held(server_id="s", owner="user:alice", kind=TokenKind.USER, payload={})

    memory.put(held, memory.generation)
    assert memory.get("s", "user:alice") is held
    assert memory.get("s", "user:bob") is None
    memory.follow([Change(1, KIND, "other", "update"), Change(2, "agent", "s", "update")])
    assert memory.get("s", "user:alice") is held
    memory.follow([Change(3, KIND, "s", "delete")])
    assert memory.get("s", "user:alice") is None

    before = memory.generation
    memory.forget("s")
    memory.put(held, before)
    assert memory.get("s", "user:alice") is None, "what was read before a change is not remembered after it"

    memory.put(held, memory.generation)
    clock[0] = SECONDS + 1
    assert memory.get("s", "user:alice") is None

    memory.put(held, memory.generation)
    memory.follow(Resync(4))
    assert memory.get("s", "user:alice") is None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routeiq_plugin.mcp.oauth.memory.MOST", 2)
    memory = Memory(lambda: 0.0)

    for owner in "abc":
        memory.put(Held(server_id="s", owner=owner, kind=TokenKind.USER, payload={}), memory.generation)

    assert [memory.get("s", owner) is not None for owner in "abc"] == [False, True, True]

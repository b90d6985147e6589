"""What an attacker, a broken client or a broken authorization server tries: refused, and no token is kept."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.mcp.oauth.conftest import Register
from tests.mcp.oauth.flow import REDIRECT, Client, Pair, Pkce, query_of
from tests.support import processes
from tests.support.oauth_server import Upstream

pytestmark = pytest.mark.requirement("MCP-12")


def _kept(client: Client, server: str) -> bool:
    return bool(client.status(server)["has_credential"])


def test_a_replayed_code_is_refused_and_ends_the_login(pair: Pair, server: str, client: Client) -> None:
    pkce = Pkce()
    code = client.code(server, pkce)
    assert client.fetch(server, pkce, code, at=pair.a).status_code == 200
    assert _kept(client, server)

    again = client.fetch(server, pkce, code, at=pair.b)

    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert not _kept(client, server)


def test_a_replayed_state_is_refused(pair: Pair, server: str, client: Client) -> None:
    address = client.consent(client.authorize(server, Pkce()))
    cookies = dict(client.browser.cookies)
    assert client.come_back(address, at=pair.a).status_code == 302
    client.browser.cookies.update(cookies)

    again = client.come_back(address, at=pair.b)

    assert again.status_code == 400
    assert not _kept(client, server)


@pytest.mark.parametrize("iss", ["https://evil.example", ""])
def test_an_answer_of_another_issuer_is_refused(upstream: Upstream, server: str, client: Client, iss: str) -> None:
    """Mix-up (RFC 9207): also an issuer that is not said, where the metadata promise that it is."""
    upstream.turn(issuer_in_answer=iss)

    back = client.come_back(client.consent(client.authorize(server, Pkce())))

    assert back.status_code == 400
    assert "evil" not in back.text
    assert not _kept(client, server)


def test_a_callback_in_another_browser_is_refused_and_ends_the_login(
    pair: Pair, server: str, client: Client, other: Client
) -> None:
    address = client.consent(client.authorize(server, Pkce()))

    stolen = other.come_back(address, at=pair.b)

    assert stolen.status_code == 403
    assert client.come_back(address).status_code == 400
    assert not _kept(client, server)
    assert not _kept(other, server)


def test_consent_of_someone_whom_the_attacker_sent_is_not_the_attackers(
    pair: Pair, server: str, client: Client, other: Client
) -> None:
    """Confused deputy: the attacker begins, and the victim's browser consents."""
    begun = other.authorize(server, Pkce())

    address = client.consent(begun)

    assert "as-user" not in address
    assert client.come_back(address).status_code == 403
    assert not _kept(other, server)


def test_the_cookie_is_for_this_browser_alone(server: str, client: Client) -> None:
    cookie = client.authorize(server, Pkce()).headers["set-cookie"]

    assert {part.strip().split("=")[0].lower() for part in cookie.split(";")[1:]} == {
        "httponly",
        "max-age",
        "path",
        "samesite",
    }
    assert "SameSite=lax" in cookie


@pytest.mark.parametrize("state", ["", "x", "tampered"])
def test_an_unknown_state_is_refused(server: str, client: Client, state: str) -> None:
    address = client.consent(client.authorize(server, Pkce()))
    real = httpx.URL(address)
    told = real.params["state"][:-1] + "!" if state == "tampered" else state

    back = client.come_back(str(real.copy_set_param("state", told)))

    assert back.status_code == 400
    assert not _kept(client, server)


@pytest.mark.parametrize("stage", ["state", "code"])
def test_what_took_too_long_is_refused(pair: Pair, server: str, client: Client, stage: str) -> None:
    pkce = Pkce()
    address = client.consent(client.authorize(server, pkce))
    if stage == "state":
        assert pair.expire("state") >= 1
        assert client.come_back(address).status_code == 400
    else:
        code = query_of(client.come_back(address))["code"]
        assert pair.expire("code") >= 1
        assert client.fetch(server, pkce, code).status_code == 400
    assert not _kept(client, server)


@pytest.mark.parametrize(
    "query",
    [
        {"code_challenge_method": "plain"},
        {"code_challenge_method": None},
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge": "short"},
        {"response_type": "token"},
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": "http://127.0.0.1@evil.example/"},
        {"redirect_uri": None},
        {"client_id": "riq-unknown"},
        {"resource": "https://another.example/mcp"},
        {"scope": 'a"b'},
    ],
)
def test_a_wrong_authorization_request_is_refused(server: str, client: Client, query: dict[str, Any]) -> None:
    refused = client.authorize(server, Pkce(), **query)

    assert refused.status_code == 400, refused.headers.get("location")
    assert set(refused.json()["detail"]) == {"error", "message"}


def test_a_parameter_that_comes_twice_is_refused(pair: Pair, server: str, client: Client) -> None:
    asked: Any = [
        ("redirect_uri", REDIRECT),
        ("redirect_uri", "https://evil.example/"),
        ("code_challenge", Pkce().challenge),
        ("code_challenge_method", "S256"),
    ]
    url = f"{pair.a.base_url}/v1/mcp/server/oauth/{server}/authorize"

    refused = client.browser.get(url, params=asked, headers={"Authorization": f"Bearer {client.key}"})

    assert refused.status_code == 400


@pytest.mark.parametrize(
    "uri", [f"{REDIRECT}/", "http://127.0.0.1:9999/other", "https://app.example/cb?x=1", "http://localhost:9999/done"]
)
def test_a_redirect_uri_is_compared_exactly(server: str, client: Client, uri: str) -> None:
    registered = client.register(server, redirect_uris=[REDIRECT, "https://app.example/cb"]).json()["client_id"]

    assert client.authorize(server, Pkce(), client_id=registered, redirect_uri=uri).status_code == 400


def test_a_loopback_redirect_uri_may_change_its_port(server: str, client: Client) -> None:
    registered = client.register(server).json()["client_id"]

    sent = client.authorize(server, Pkce(), client_id=registered, redirect_uri="http://127.0.0.1:4711/done")

    assert sent.status_code == 302


@pytest.mark.parametrize(
    "uri",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "http://evil.example/cb",
        "https://app.example/cb#x",
        "https://user@app.example/cb",
        "https://app.example/\n",
        "x" * 3000,
        "",
    ],
)
def test_a_redirect_uri_that_nobody_should_have_is_not_registered(server: str, client: Client, uri: str) -> None:
    refused = client.register(server, redirect_uris=[uri])

    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_redirect_uri")


@pytest.mark.parametrize(
    "body", [{"grant_types": ["password"]}, {"response_types": ["token"]}, {"client_name": "x" * 300}]
)
def test_what_is_not_supported_is_not_registered(server: str, client: Client, body: dict[str, Any]) -> None:
    refused = client.register(server, **body)

    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client_metadata")


def test_a_client_is_its_owners_alone(server: str, client: Client, other: Client) -> None:
    theirs = other.register(server).json()["client_id"]

    refused = client.authorize(server, Pkce(), client_id=theirs)

    assert (refused.status_code, refused.json()["detail"]["error"]) == (400, "invalid_client")


def test_a_flood_of_registrations_is_stopped(pair: Pair, server: str, client: Client, other: Client) -> None:
    statuses = [client.register(server, at=(pair.a, pair.b)[n % 2]).status_code for n in range(12)]

    assert statuses == [201] * 10 + [429] * 2
    last = client.register(server)
    assert last.json()["error"] == "temporarily_unavailable"
    assert int(last.headers["retry-after"]) > 0
    assert other.register(server).status_code == 201, "one key's flood is not another's"
    rows = [row for row in pair.rows("routeiq_oauth_flow") if row["kind"] == "client"]
    assert len([row for row in rows if row["owner"].startswith("user:alice")]) <= 50


def test_a_flood_of_logins_is_stopped(pair: Pair, server: str, client: Client) -> None:
    statuses = [client.authorize(server, Pkce(), at=(pair.a, pair.b)[n % 2]).status_code for n in range(52)]

    assert statuses == [302] * 50 + [429] * 2


@pytest.mark.parametrize(
    "form",
    [
        {"code_verifier": "x" * 43},
        {"code_verifier": "too-short"},
        {"redirect_uri": "http://127.0.0.1:9999/other"},
        {"client_id": "riq-another"},
    ],
)
def test_a_code_that_was_shown_wrongly_is_used_up(server: str, client: Client, form: dict[str, Any]) -> None:
    pkce = Pkce()
    code = client.code(server, pkce)

    wrong = client.fetch(server, pkce, code, **form)
    right = client.fetch(server, pkce, code)

    assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_grant")
    assert (right.status_code, right.json()["error"]) == (400, "invalid_grant")
    assert not _kept(client, server)


def test_a_code_of_someone_elses_is_refused(
    pair: Pair, register: Register, server: str, client: Client, other: Client
) -> None:
    pkce = Pkce()

    stolen = other.fetch(server, pkce, client.code(server, pkce), at=pair.b)
    elsewhere = client.fetch(register(), pkce, client.code(server, pkce))

    assert (stolen.status_code, elsewhere.status_code) == (400, 400)
    assert not _kept(client, server)
    assert not _kept(other, server)


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"grant_type": "authorization_code"}, "invalid_request"),
        ({"grant_type": "authorization_code", "code": "x"}, "invalid_request"),
        ({"grant_type": "authorization_code", "code": "x", "code_verifier": "y"}, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "rt_unknown"}, "invalid_grant"),
    ],
)
def test_a_wrong_token_request_is_refused_in_the_words_of_rfc_6749(
    server: str, client: Client, form: dict[str, str], error: str
) -> None:
    refused = client.token(server, form)

    assert (refused.status_code, refused.json()["error"]) == (400, error)
    assert refused.headers["cache-control"] == "no-store"


def test_a_missing_or_unknown_key_is_refused(pair: Pair, server: str) -> None:
    for what, method in (("authorize", "GET"), ("token", "POST"), ("register", "POST")):
        for key in ("", "sk-nobody"):
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            refused = httpx.request(
                method, f"{pair.a.base_url}/v1/mcp/server/oauth/{server}/{what}", headers=headers, trust_env=False
            )
            assert refused.status_code == 401, (what, key, refused.text)
            if method == "POST":
                assert refused.json()["error"] == "invalid_client"


def test_who_may_not_use_a_server_does_not_log_in_at_it(pair: Pair, register: Register, client: Client) -> None:
    closed = register(allow_all_keys=False)
    keyed = Client(pair, pair.add_key(user_id="closed-out", object_permission={"mcp_servers": ["another"]}))

    with keyed.browser:
        assert keyed.authorize(closed, Pkce()).status_code == 403
        assert keyed.authorize("no-such-server", Pkce()).status_code == 403
        assert keyed.token(closed, {"grant_type": "refresh_token", "refresh_token": "x"}).status_code == 403
        assert keyed.register(closed).json()["error"] == "access_denied"


@pytest.mark.parametrize("fields", [{"auth_type": "none"}, {"oauth2_flow": "client_credentials"}])
def test_where_users_do_not_log_in_there_is_no_login(
    register: Register, client: Client, fields: dict[str, str]
) -> None:
    server = register(**fields)

    refused = client.authorize(server, Pkce())

    assert (refused.status_code, refused.json()["detail"]["error"]) == (400, "server_not_oauth2")
    assert client.register(server).status_code == 400


def test_an_authorization_server_that_is_down_is_a_502(upstream: Upstream, server: str, client: Client) -> None:
    upstream.turn(down=True)

    refused = client.authorize(server, Pkce())

    assert refused.status_code == 502
    assert refused.json() == {"detail": "the authorization server's metadata answered with HTTP status 503"}


def test_an_authorization_server_that_goes_down_on_the_way_is_a_502(
    upstream: Upstream, server: str, client: Client
) -> None:
    pkce = Pkce()
    code = client.code(server, pkce)
    upstream.turn(down=True)

    refused = client.fetch(server, pkce, code)

    assert (refused.status_code, refused.json()["error"]) == (502, "server_error")
    assert not _kept(client, server)


def test_a_server_where_nobody_listens_is_a_502(register: Register, client: Client) -> None:
    server = register(url=f"http://127.0.0.1:{processes.free_port()}/mcp")

    assert client.authorize(server, Pkce()).status_code == 502


@pytest.mark.parametrize(
    "knobs",
    [
        {"metadata": {"authorization_endpoint": "javascript:alert(1)"}},
        {"metadata": {"authorization_endpoint": "http://evil.example/authorize"}},
        {"metadata": {"token_endpoint": "http://evil.example/token"}},
        {"metadata": {"token_endpoint": "https://169.254.169.254/token"}},
        {"metadata": {"token_endpoint": "https://10.0.0.7/token"}},
        {"metadata": {"registration_endpoint": "file:///etc/passwd"}},
        {"metadata": {"issuer": "https://evil.example"}},
        {"metadata": {"code_challenge_methods_supported": None}},
        {"metadata": {"code_challenge_methods_supported": ["plain"]}},
        {"metadata": {"registration_endpoint": None}},
        {"register_status": 400},
        {"register_status": 500},
        {
            "protected_resource": {
                "resource": "https://evil.example/mcp",
                "authorization_servers": ["https://e.example"],
            }
        },
    ],
)
def test_an_authorization_server_that_cannot_be_trusted_is_a_502(
    upstream: Upstream, server: str, client: Client, knobs: dict[str, Any]
) -> None:
    upstream.turn(**knobs)

    refused = client.authorize(server, Pkce())

    assert refused.status_code == 502, refused.text
    assert isinstance(refused.json()["detail"], str)
    assert not _kept(client, server)

"""Logging in, begun on one worker and ended on another, against a real authorization server."""

from __future__ import annotations

import httpx
import jwt
import pytest

from tests.mcp.oauth.conftest import DECLARED, Register
from tests.mcp.oauth.flow import REDIRECT, Client, Pair, Pkce, query_of
from tests.support.oauth_server import MACHINE_ID, MACHINE_SECRET, SCOPE, WHO, Upstream
from tests.support.processes import wait_until
from tests.support.proxy import Proxy


@pytest.mark.requirement("MCP-12", "MCP-22")
def test_a_login_begun_on_one_worker_ends_on_another(
    pair: Pair, upstream: Upstream, server: str, client: Client
) -> None:
    assert pair.a.worker_pids() != pair.b.worker_pids()
    before = len(upstream.seen()["authorizations"])
    registered = client.register(server, at=pair.b)
    assert registered.status_code == 201, registered.text
    client_id = registered.json()["client_id"]
    pkce = Pkce()

    sent = client.authorize(server, pkce, at=pair.a, client_id=client_id)
    back = client.come_back(client.consent(sent), at=pair.b)
    assert back.status_code == 302, back.text
    answer = query_of(back)
    assert back.headers["location"].startswith(REDIRECT)
    assert answer["state"] == "client-state"
    assert answer["iss"] == f"{pair.a.base_url}/mcp/{server}"
    token = client.fetch(server, pkce, answer["code"], at=pair.a, client_id=client_id)

    assert token.status_code == 200, token.text
    assert token.headers["cache-control"] == "no-store"
    assert token.json()["token_type"] == "Bearer"
    assert token.json()["scope"] == SCOPE
    issued = upstream.seen()["issued"][-1]
    assert token.json()["access_token"] == issued["access"]
    assert issued["subject"] == "alice"
    assert token.json()["refresh_token"] != issued["refresh"], "the refresh token stays with the gateway"
    asked = upstream.seen()["authorizations"][before]
    assert asked["resource"] == upstream.url
    assert asked["code_challenge"] != pkce.challenge, "the gateway has a verifier of its own"
    assert client.status(server, at=pair.b)["has_credential"] is True


@pytest.mark.requirement("MCP-12")
def test_a_client_that_did_not_register_may_live_on_its_users_machine(server: str, client: Client) -> None:
    token = client.login(server)

    assert token["access_token"].startswith("canary-access-")
    assert client.status(server)["is_expired"] is False


@pytest.mark.requirement("MCP-12")
@pytest.mark.parametrize("uri", ["cursor://anysphere.cursor-mcp/oauth/callback", "com.example.app:/done"])
def test_an_app_is_answered_at_its_own_scheme(server: str, client: Client, uri: str) -> None:
    registered = client.register(server, redirect_uris=[uri]).json()["client_id"]
    pkce = Pkce()

    back = client.come_back(client.consent(client.authorize(server, pkce, client_id=registered, redirect_uri=uri)))

    assert back.headers["location"].startswith(f"{uri}?code=")
    token = client.fetch(server, pkce, query_of(back)["code"], client_id=registered, redirect_uri=uri)
    assert token.status_code == 200, token.text


@pytest.mark.requirement("MCP-12")
def test_litellms_own_servers_are_logged_in_at_too(client: Client) -> None:
    client.login(DECLARED)

    assert client.status(DECLARED)["has_credential"] is True


@pytest.mark.requirement("MCP-12")
def test_an_admin_logs_in_at_a_staged_server_and_keeps_the_login_when_it_is_registered(
    pair: Pair, upstream: Upstream
) -> None:
    body = {
        "server_name": "staged",
        "alias": "staged",
        "url": upstream.url,
        "transport": "http",
        "auth_type": "oauth2",
        "credentials": {"client_id": MACHINE_ID, "client_secret": MACHINE_SECRET},
    }
    staged = pair.call("POST", "/v1/mcp/server/oauth/session", json=body | {"credentials": {"scopes": [SCOPE]}})
    assert staged.status_code == 200, staged.text
    server_id = staged.json()["server_id"]
    admin = Client(pair, pair.a.master_key, person="admin")
    with admin.browser:
        pkce = Pkce()
        code = admin.code(server_id, pkce, at=pair.b)
        assert admin.fetch(server_id, pkce, code, at=pair.a).status_code == 200
        assert pair.call("GET", f"/v1/mcp/server/{server_id}").status_code == 404, "a staged server is not registered"

        kept = {**body, "allow_all_keys": True, "server_id": server_id, "credentials": {"scopes": [SCOPE]}}
        assert pair.call("POST", "/v1/mcp/server", json=kept).status_code == 201
        assert admin.status(server_id, at=pair.b)["has_credential"] is True
        assert _said(_ask(admin, server_id, at=pair.b)) == "admin"
        row = next(row for row in pair.rows("routeiq_oauth_token") if row["server_id"] == server_id and row["owner"])
        assert row["expires_at"] is None, "it is no longer kept for a day only"
        pair.call("DELETE", f"/v1/mcp/server/{server_id}")


@pytest.mark.requirement("MCP-12")
def test_what_is_staged_shows_no_secret_and_belongs_to_who_staged_it(pair: Pair, upstream: Upstream) -> None:
    credentials = {"client_id": MACHINE_ID, "client_secret": MACHINE_SECRET}
    body = {"server_name": "mine", "url": upstream.url, "transport": "http", "auth_type": "oauth2"}
    staged = pair.call("POST", "/v1/mcp/server/oauth/session", json=body | {"credentials": credentials})
    assert staged.status_code == 200, staged.text
    assert MACHINE_SECRET not in staged.text
    other_admin = pair.add_key(user_id="another-admin", user_role="proxy_admin")
    asked = {"redirect_uri": REDIRECT, "code_challenge": Pkce().challenge, "code_challenge_method": "S256"}

    path = f"/v1/mcp/server/oauth/{staged.json()['server_id']}/authorize"
    assert pair.call("GET", path, key=other_admin, params=asked).status_code == 404
    assert pair.call("GET", path, params=asked).status_code == 302


@pytest.mark.requirement("MCP-12")
def test_only_admins_stage_servers(pair: Pair, upstream: Upstream, client: Client) -> None:
    body = {"server_name": "theirs", "url": upstream.url, "transport": "http", "auth_type": "oauth2"}

    refused = pair.call("POST", "/v1/mcp/server/oauth/session", key=client.key, json=body)

    assert refused.status_code == 403
    assert "PROXY_ADMIN" in refused.json()["detail"]["error"]


@pytest.mark.requirement("MCP-12")
def test_a_server_where_the_guard_would_not_call_is_not_staged(pair: Pair) -> None:
    body = {"server_name": "inside", "url": "http://10.0.0.7/mcp", "transport": "http", "auth_type": "oauth2"}

    refused = pair.call("POST", "/v1/mcp/server/oauth/session", json=body)

    assert refused.status_code == 400
    assert "allowed_hosts" in refused.json()["detail"]


@pytest.mark.requirement("MCP-12")
def test_a_browser_that_is_logged_in_to_the_dashboard_needs_no_header(pair: Pair, server: str, client: Client) -> None:
    claims = {"key": client.key, "login_method": "sso", "user_id": "whoever"}
    session = jwt.encode(claims, pair.a.master_key, algorithm="HS256")
    forged = jwt.encode(claims, "sk-another-key-that-is-long-enough", algorithm="HS256")
    pkce = Pkce()
    asked = {"redirect_uri": REDIRECT, "code_challenge": pkce.challenge, "code_challenge_method": "S256"}
    url = f"{pair.a.base_url}/v1/mcp/server/oauth/{server}/authorize"

    assert client.browser.get(url, params=asked).status_code == 401
    assert client.browser.get(url, params=asked, headers={"Cookie": f"token={forged}"}).status_code == 401
    client.browser.cookies.set("token", session)
    back = client.come_back(client.consent(client.browser.get(url, params=asked)))

    assert client.fetch(server, pkce, query_of(back)["code"]).status_code == 200
    assert client.status(server)["has_credential"] is True


@pytest.mark.requirement("MCP-12")
def test_a_refusal_of_the_users_reaches_the_client(upstream: Upstream, server: str, client: Client) -> None:
    # The SDK's server does not say its issuer beside an error.
    upstream.turn(deny=True, metadata={"authorization_response_iss_parameter_supported": None})

    back = client.come_back(client.consent(client.authorize(server, Pkce())))

    assert back.headers["location"].startswith(REDIRECT)
    assert query_of(back) | {"error_description": "", "iss": ""} == {
        "error": "access_denied",
        "error_description": "",
        "state": "client-state",
        "iss": "",
    }
    assert client.status(server)["has_credential"] is False


@pytest.mark.requirement("MCP-12")
def test_the_gateway_registers_once_with_an_authorization_server(
    pair: Pair, upstream: Upstream, server: str, client: Client, other: Client
) -> None:
    before = len(upstream.seen()["registrations"])

    client.login(server, at=pair.a)
    other.login(server, at=pair.b)

    new = upstream.seen()["registrations"][before:]
    assert [each["redirect_uris"] for each in new] == [[f"{pair.a.base_url}/routeiq/oauth/callback"]]


@pytest.mark.requirement("MCP-12")
@pytest.mark.parametrize("proof", ["client_secret_basic", "client_secret_post"])
def test_the_gateway_proves_itself_as_the_authorization_server_wants(
    upstream: Upstream, server: str, client: Client, proof: str
) -> None:
    upstream.turn(metadata={"token_endpoint_auth_methods_supported": [proof]})

    client.login(server)

    assert upstream.seen()["registrations"][-1]["token_endpoint_auth_method"] == proof
    assert upstream.seen()["token_requests"][-1]["_proof"] == proof.removeprefix("client_secret_")


@pytest.mark.requirement("MCP-12")
def test_a_configured_client_is_used_instead_of_registering(
    upstream: Upstream, register: Register, client: Client
) -> None:
    before = len(upstream.seen()["registrations"])
    server = register(credentials={"client_id": "nobody-knows-it", "client_secret": "whatever"})

    sent = client.authorize(server, Pkce())

    assert query_of(sent)["client_id"] == "nobody-knows-it"
    assert len(upstream.seen()["registrations"]) == before


@pytest.mark.requirement("MCP-12")
def test_logins_are_listed_and_dropped(
    pair: Pair, upstream: Upstream, server: str, client: Client, other: Client
) -> None:
    client.login(server)
    path = f"/v1/mcp/server/{server}/oauth-user-credential"

    listed = pair.call("GET", "/v1/mcp/user-credentials", key=client.key, at=pair.b)
    assert [each["alias"] for each in listed.json()] == [server]
    assert "canary" not in listed.text
    assert pair.call("GET", "/v1/mcp/user-credentials", key=other.key).json() == []
    alice = next(row for row in pair.rows("routeiq_oauth_token") if row["owner"].startswith("user:alice"))
    user_id = alice["owner"].removeprefix("user:")
    assert pair.call("DELETE", path, key=other.key, params={"user_id": user_id}).status_code == 403
    assert client.status(server)["has_credential"] is True

    dropped = pair.call("DELETE", path, key=client.key, at=pair.b)

    assert dropped.json()["has_credential"] is False
    assert upstream.seen()["revoked"][-1:] == [upstream.seen()["issued"][-1]["refresh"]]
    assert client.status(server)["has_credential"] is False
    trail = pair.call("GET", "/routeiq/audit").json()
    actions = [entry["action"] for entry in trail["entries"]]
    assert "mcp.login.store" in actions
    assert "mcp.login.drop" in actions
    assert "mcp.oauth.register" in actions


@pytest.mark.requirement("MCP-12")
def test_a_token_obtained_elsewhere_can_be_stored(pair: Pair, server: str, client: Client) -> None:
    path = f"/v1/mcp/server/{server}/oauth-user-credential"

    stored = pair.call("POST", path, key=client.key, json={"access_token": "canary-brought", "expires_in": 60})

    assert stored.status_code == 200, stored.text
    assert stored.json()["has_credential"] is True
    assert "canary" not in stored.text
    assert pair.call("POST", path, key=client.key, json={"access_token": "x", "expires_in": 10**30}).status_code == 200
    assert client.status(server)["is_expired"] is False
    refused = pair.call("POST", path, key=client.key, json={"access_token": "canary\nbrought"})
    assert refused.status_code == 422
    assert "canary" not in refused.text


@pytest.mark.requirement("MCP-12")
def test_another_address_and_a_deletion_end_logins(
    pair: Pair, upstream: Upstream, register: Register, client: Client
) -> None:
    moved, gone = register(), register()
    for each in (moved, gone):
        client.login(each)
    server_id = pair.call("GET", f"/v1/mcp/server/{gone}").json()["server_id"]
    assert server_id in {row["server_id"] for row in pair.rows("routeiq_oauth_token")}

    assert pair.call("PUT", f"/v1/mcp/server/{moved}", json={"url": f"{upstream.url}/x"}).status_code == 202
    assert pair.call("DELETE", f"/v1/mcp/server/{gone}").status_code == 202

    assert client.status(moved)["has_credential"] is False
    for table in ("routeiq_oauth_token", "routeiq_oauth_flow"):
        assert server_id not in {row["server_id"] for row in pair.rows(table)}


def _ask(client: Client, server: str, at: Proxy | None = None) -> httpx.Response:
    body = {"server_id": server, "name": WHO, "arguments": {}}
    answer: httpx.Response = client.pair.call("POST", "/mcp/tools/call", key=client.key, at=at, json=body)
    return answer


def _said(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["content"][0]["text"])


@pytest.mark.requirement("MCP-12", "MCP-22")
def test_the_users_token_is_used_on_the_next_call_of_that_user_alone(
    pair: Pair, upstream: Upstream, server: str, client: Client, other: Client
) -> None:
    for each in (client, other):
        refused = _ask(each, server)
        assert refused.status_code == 401, refused.text
        where = f"{pair.a.base_url}/.well-known/oauth-protected-resource/mcp/{server}"
        assert refused.headers["www-authenticate"] == f'Bearer resource_metadata="{where}"'
    client.login(server, at=pair.a)

    assert _said(_ask(client, server, at=pair.b)) == "alice"
    assert _ask(other, server, at=pair.b).status_code == 401
    other.login(server, at=pair.b)
    assert _said(_ask(other, server, at=pair.a)) == "mallory"
    assert _said(_ask(client, server, at=pair.a)) == "alice"
    issued = {each["access"] for each in upstream.seen()["issued"]}
    shown = {call.get("authorization", "").removeprefix("Bearer ") for call in upstream.seen()["calls"]} - {""}
    assert shown <= issued, "nothing but the tokens of the authorization server arrives"

    pair.call("DELETE", f"/v1/mcp/server/{server}/oauth-user-credential", key=client.key, at=pair.b)
    assert _ask(client, server, at=pair.b).status_code == 401
    wait_until(lambda: _ask(client, server, at=pair.a).status_code == 401, 30, "the other worker's hearing of it")
    assert _said(_ask(other, server, at=pair.a)) == "mallory"


@pytest.mark.requirement("MCP-12")
def test_a_token_that_the_server_no_longer_takes_is_refreshed_for_the_next_call(
    upstream: Upstream, server: str, client: Client
) -> None:
    client.login(server)
    assert _said(_ask(client, server)) == "alice"
    upstream.revoke_all()

    refused = _ask(client, server)

    assert refused.status_code == 502, refused.text
    assert _said(_ask(client, server)) == "alice"


@pytest.mark.requirement("MCP-12")
def test_the_gateway_logs_in_by_itself_where_the_server_says_so(
    pair: Pair, upstream: Upstream, register: Register, client: Client, other: Client
) -> None:
    credentials = {"client_id": MACHINE_ID, "client_secret": MACHINE_SECRET, "scopes": [SCOPE]}
    server = register(oauth2_flow="client_credentials", credentials=credentials)
    before = len(upstream.seen()["token_requests"])

    assert [_said(_ask(each, server, at=pair.a)) for each in (client, other, client)] == ["machine"] * 3

    assert len(upstream.seen()["token_requests"]) == before + 1

"""Tokens, codes, verifiers and client secrets: in the answer that is theirs, and nowhere else."""

from __future__ import annotations

import httpx
import pytest

from tests.mcp.oauth.conftest import Register
from tests.mcp.oauth.flow import Client, Pair, Pkce, query_of
from tests.support.oauth_server import Upstream

CANARY = "canary"


@pytest.mark.requirement("MCP-12", "MCP-22")
def test_no_secret_is_stored_in_clear_logged_or_shown(
    pair: Pair, upstream: Upstream, register: Register, client: Client
) -> None:
    server = register(credentials={"scopes": ["tools"]})
    secret = register(oauth2_flow="client_credentials", credentials={"client_id": "x", "client_secret": "canary-own"})
    pkce = Pkce(f"canary-verifier-{'x' * 40}")
    address = client.consent(client.authorize(server, pkce, at=pair.a, state="canary-client-state"))
    cookies = [value for name, value in client.browser.cookies.items() if "oauth" in name]
    sent_back = httpx.URL(address).params
    code = query_of(client.come_back(address, at=pair.b))["code"]
    token = client.fetch(server, pkce, code, at=pair.a).json()
    client.fetch(server, pkce, code, at=pair.b)
    other = client.login(server)
    refreshed = client.token(server, {"grant_type": "refresh_token", "refresh_token": other["refresh_token"]})
    assert refreshed.status_code == 200, refreshed.text
    upstream.turn(down=True)
    client.token(server, {"grant_type": "refresh_token", "refresh_token": refreshed.json()["refresh_token"]})
    client.token(server, {"grant_type": "refresh_token", "refresh_token": "canary-unknown"})
    upstream.turn()

    registration = upstream.seen()["registrations"][-1]["client_secret"]
    secrets = {CANARY, code, token["refresh_token"], other["refresh_token"], registration, *cookies}
    secrets |= {sent_back["state"], sent_back["code"]}
    assert len(secrets) == 8
    stored = b"".join(each.read_bytes() for each in pair.directory.glob("shared.db*"))
    log = pair.log()
    paths = ["/v1/mcp/server", f"/v1/mcp/server/{server}", f"/v1/mcp/server/{secret}", "/v1/mcp/user-credentials"]
    paths += ["/router/info", "/routeiq/audit", f"/v1/mcp/server/{server}/oauth-user-credential/status", "/mcp/servers"]
    answers = "".join(pair.call("GET", path).text + pair.call("GET", path, key=client.key).text for path in paths)
    for text in secrets:
        assert text.encode() not in stored, f"{text[:12]} in the database"
        assert text not in log, f"{text[:12]} in the log"
        assert text not in answers, f"{text[:12]} in an answer"

"""How an MCP client finds out where to log in: the 401, the documents, and the official client walking along them."""

from __future__ import annotations

from typing import Any

import httpx
import httpx2
import pytest
from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from tests.mcp.oauth.conftest import DECLARED, Register
from tests.mcp.oauth.flow import REDIRECT, Client, Pair
from tests.support.oauth_server import SCOPE, Upstream

pytestmark = pytest.mark.requirement("MCP-13")


def _get(pair: Pair, path: str, **headers: str) -> httpx.Response:
    return httpx.get(f"{pair.b.base_url}{path}", headers=headers, trust_env=False, timeout=120)


@pytest.mark.parametrize("form", ["/mcp/{}", "/{}/mcp"])
def test_a_server_says_where_to_log_in(pair: Pair, register: Register, form: str) -> None:
    server = register(credentials={"scopes": [SCOPE]})
    base, path = pair.a.base_url, form.format(server)

    document = _get(pair, f"/.well-known/oauth-protected-resource{path}", host="evil.example").json()

    assert document == {
        "resource": f"{base}{path}",
        "authorization_servers": [f"{base}/mcp/{server}"],
        "scopes_supported": [SCOPE],
        "bearer_methods_supported": ["header"],
    }
    metadata = _get(pair, f"/.well-known/oauth-authorization-server/mcp/{server}").json()
    assert metadata["issuer"] == f"{base}/mcp/{server}"
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert metadata["token_endpoint"] == f"{base}/v1/mcp/server/oauth/{server}/token"


@pytest.mark.parametrize("form", ["/mcp/{}", "/{}/mcp", "/mcp/{}/", "/{}/mcp/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_who_comes_without_a_key_is_sent_to_log_in(pair: Pair, server: str, form: str, method: str) -> None:
    answer = httpx.request(
        method, f"{pair.a.base_url}{form.format(server)}", content=b"{}", trust_env=False, timeout=120
    )

    assert answer.status_code == 401
    where = f"{pair.a.base_url}/.well-known/oauth-protected-resource/mcp/{server}"
    assert answer.headers["www-authenticate"] == f'Bearer resource_metadata="{where}"'
    assert answer.json()["detail"]["error"] == "login_required"
    assert httpx.get(where, trust_env=False).status_code == 200


def test_stock_answers_for_everything_else(pair: Pair, register: Register, client: Client) -> None:
    plain, machine = register(auth_type="none", oauth2_flow=None), register(oauth2_flow="client_credentials")
    for name in (plain, machine, DECLARED, "no-such-server"):
        answer = httpx.post(f"{pair.a.base_url}/mcp/{name}", json={}, trust_env=False, timeout=120)
        assert "login_required" not in answer.text, name
    assert _get(pair, "/.well-known/oauth-protected-resource").json()["authorization_servers"]
    assert _get(pair, "/.well-known/oauth-protected-resource/mcp/no-such-server").status_code == 404
    assert _get(pair, f"/.well-known/oauth-authorization-server/mcp/{plain}").status_code == 404


def test_with_a_key_the_address_is_stocks(pair: Pair, register: Register, client: Client) -> None:
    server = register(url=f"{pair.a.base_url}/nowhere", auth_type="none", oauth2_flow=None)
    initialize = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }

    answer = pair.call(
        "POST",
        f"/mcp/{server}",
        key=client.key,
        json=initialize,
        headers={"Accept": "application/json, text/event-stream"},
        follow_redirects=True,
    )

    assert answer.status_code == 200, answer.text
    assert "serverInfo" in answer.text


class _Memory:
    """The official client's storage."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


async def test_the_official_client_finds_its_way_and_logs_in(
    pair: Pair, upstream: Upstream, server: str, client: Client
) -> None:
    """From the 401 to a token by documents alone; the key goes along only where the gateway asks for one."""
    browser = client.browser
    arrived: dict[str, str] = {}

    async def open_browser(url: str) -> None:
        sent = browser.get(url, headers={"Authorization": f"Bearer {client.key}"})
        arrived.update(httpx.URL(client.come_back(client.consent(sent)).headers["location"]).params)

    async def came_back() -> AuthorizationCodeResult:
        return AuthorizationCodeResult(code=arrived["code"], state=arrived["state"], iss=arrived["iss"])

    async def add_key(request: httpx2.Request) -> None:
        if request.url.path.startswith("/v1/mcp/server/oauth/"):
            request.headers["x-litellm-api-key"] = client.key

    storage = _Memory()
    metadata = OAuthClientMetadata(client_name="official", redirect_uris=[AnyUrl(REDIRECT)])
    provider = OAuthClientProvider(f"{pair.a.base_url}/mcp/{server}", metadata, storage, open_browser, came_back)
    hooks: dict[str, list[Any]] = {"request": [add_key], "response": []}
    async with httpx2.AsyncClient(auth=provider, event_hooks=hooks, trust_env=False, timeout=60) as official:
        await official.post(f"{pair.a.base_url}/mcp/{server}", json={})

    assert storage.client is not None
    assert storage.client.client_id.startswith("riq-")
    assert storage.tokens is not None
    assert storage.tokens.access_token == upstream.seen()["issued"][-1]["access"]
    assert client.status(server)["has_credential"] is True

"""Servers at which each user logs in, at the relay: where to log in, and whose token the server gets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.mcp import servers
from tests.mcp.conformance.sessions import ACCEPT, initialize
from tests.mcp.oauth.flow import Client, Pair
from tests.support import processes
from tests.support.oauth_server import WHO, Upstream, oauth_server
from tests.support.proxy import Proxy

pytestmark = pytest.mark.requirement("MCP-21", "MCP-22")


@pytest.fixture(scope="module")
def login_server() -> Iterator[Upstream]:
    """An authorization server, and an MCP server that takes nothing but its tokens."""
    with oauth_server() as running:
        yield running
        processes.kill_group(running.process)  # the gateway outlives it, and keeps sessions there for the next calls


@pytest.fixture(scope="module")
def locked(relaying: Proxy, login_server: Upstream) -> Iterator[dict[str, Any]]:
    """That MCP server, registered for every key until the end of these tests: others count what a key may use."""
    with relaying.client() as client:
        how = {"auth_type": "oauth2", "oauth2_flow": "authorization_code", "allow_all_keys": True}
        created = servers.created(client, "locked", login_server.url, **how)
        yield created
        assert client.delete(servers.path(created["server_id"])).status_code == 202


def _user(relaying: Proxy, name: str) -> Client:
    key = relaying.add_key(user_id=f"{name}-at-the-relay")
    return Client(Pair(relaying, relaying, relaying.workdir, "unused"), key, person=name)


def test_who_has_not_logged_in_is_told_where(relaying: Proxy, locked: dict[str, Any]) -> None:
    with relaying.client(_user(relaying, "eve").key, headers=ACCEPT) as client:
        answer = client.post(f"/mcp/{locked['server_name']}", json=initialize())
    assert answer.status_code == 401, answer.text
    challenge = answer.headers["www-authenticate"]
    where = f"{relaying.base_url}/.well-known/oauth-protected-resource/mcp/{locked['server_name']}"
    assert challenge == f'Bearer resource_metadata="{where}"'
    assert httpx.get(where, trust_env=False).json()["resource"] == f"{relaying.base_url}/mcp/{locked['server_name']}"


def test_each_user_comes_with_a_login_of_their_own(
    relaying: Proxy, locked: dict[str, Any], login_server: Upstream
) -> None:
    name, path = locked["server_name"], f"/mcp/{locked['server_name']}"
    for person in ("alice", "mallory"):
        user = _user(relaying, person)
        with user.browser:
            user.login(name)
        for _ in range(3):  # either worker
            assert servers.mcp_call(relaying, WHO, {}, user.key, at=path).content[0].text == person
    shown = {each.get("authorization", "").removeprefix("Bearer ") for each in login_server.seen()["calls"]} - {""}
    assert shown <= {each["access"] for each in login_server.seen()["issued"]}, "no key of the gateway's arrives"

"""Logins that two workers carry out together over PostgreSQL; all else about them is proved over SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.mcp.oauth.conftest import two_workers
from tests.mcp.oauth.flow import Client, Pair, Pkce, query_of
from tests.support.oauth_server import Upstream
from tests.support.postgres import create_database

pytestmark = pytest.mark.requirement("MCP-12", "MCP-22")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, postgres_url: str, shared_upstream: Upstream) -> Iterator[Pair]:
    """Two workers that share a database server."""
    assert postgres_url
    with two_workers(tmp_path_factory.mktemp("postgresql"), create_database(), shared_upstream) as running:
        yield running


def test_a_login_begun_on_one_worker_ends_on_another(pair: Pair, server: str, client: Client) -> None:
    registered = client.register(server, at=pair.b).json()["client_id"]
    pkce = Pkce()
    back = client.come_back(client.consent(client.authorize(server, pkce, at=pair.a, client_id=registered)), at=pair.b)
    assert back.status_code == 302, back.text
    token = client.fetch(server, pkce, query_of(back)["code"], at=pair.a, client_id=registered)

    assert token.status_code == 200, token.text
    for worker in (pair.b, pair.a):
        body = {"name": "whoami", "server_id": server, "arguments": {}}
        said = pair.call("POST", "/mcp/tools/call", key=client.key, at=worker, json=body)
        assert said.json()["content"][0]["text"] == "alice", said.text


def test_a_code_that_both_workers_get_at_once_is_good_for_nothing_after(
    pair: Pair, server: str, client: Client
) -> None:
    """One of the two is a replay, which ends the login (RFC 6749, 10.5), for the other too if that is not done yet."""
    for _ in range(5):
        pkce = Pkce()
        code = client.code(server, pkce)
        redeem = partial(client.fetch, server, pkce, code)
        with ThreadPoolExecutor(2) as both:
            answers = list(both.map(redeem, (pair.a, pair.b)))

        refused = [answer.json()["error"] for answer in answers if answer.status_code == 400]
        assert len(refused) + sum(answer.status_code == 200 for answer in answers) == 2
        assert refused in (["invalid_grant"], ["invalid_grant"] * 2)
        assert client.status(server, at=pair.a)["has_credential"] is False


def test_a_state_that_comes_again_at_the_other_worker_is_refused(pair: Pair, server: str, client: Client) -> None:
    address = client.consent(client.authorize(server, Pkce(), at=pair.b))
    cookies = dict(client.browser.cookies)
    assert client.come_back(address, at=pair.a).status_code == 302
    client.browser.cookies.update(cookies)

    assert client.come_back(address, at=pair.b).status_code == 400
    assert client.status(server, at=pair.b)["has_credential"] is False


@pytest.mark.parametrize("stage", ["state", "code"])
def test_what_took_too_long_is_refused(pair: Pair, server: str, client: Client, stage: str) -> None:
    pkce = Pkce()
    address = client.consent(client.authorize(server, pkce))
    if stage == "state":
        assert pair.expire("state") >= 1
        assert client.come_back(address, at=pair.b).status_code == 400
        return
    code = query_of(client.come_back(address))["code"]
    assert pair.expire("code") >= 1
    assert client.fetch(server, pkce, code, at=pair.b).json()["error"] == "invalid_grant"

"""Tokens as they are used: the user's own, refreshed once for all workers, and the gateway's, fetched once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from routeiq_plugin.errors import BackendError, LoginRequired
from routeiq_plugin.mcp.oauth.refusals import CodeRefused
from routeiq_plugin.store.oauth_tokens import TokenKind
from tests.mcp.oauth.parts import ALICE, AUTHOR, BASE, OWNER, Worker, machine_at, server_at, worker
from tests.support.oauth_server import Upstream
from tests.support.postgres import create_database

pytestmark = pytest.mark.requirement("MCP-12", "MCP-22")


@pytest.fixture(params=["sqlite", "postgresql"])
async def workers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Worker, Worker]]:
    """Two workers on one database, of each kind in turn."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    if request.param == "postgresql":
        request.getfixturevalue("postgres_url")
        url = create_database()
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(worker(url)), await stack.enter_async_context(worker(url))


def _asked(upstream: Upstream, grant_type: str) -> list[dict[str, Any]]:
    return [form for form in upstream.seen()["token_requests"] if form.get("grant_type") == grant_type]


async def _call(url: str, headers: Any) -> str:
    """Call the tool over the SDK's client with these headers, and return what it says."""
    import httpx2
    from mcp.client.session import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async with (
        httpx2.AsyncClient(headers=dict(headers), trust_env=False) as client,
        streamable_http_client(url, http_client=client) as streams,
        ClientSession(streams[0], streams[1]) as session,
    ):
        await session.initialize()
        answer: Any = await session.call_tool("whoami", {})
        return str(answer.content[0].text)


async def test_a_users_token_is_used_on_the_next_call_by_any_worker(
    upstream: Upstream, workers: tuple[Worker, Worker]
) -> None:
    first, second = workers
    server = server_at(upstream)
    with pytest.raises(LoginRequired) as required:
        await second.credentials().of(server, ALICE, {})
    assert required.value.headers["WWW-Authenticate"] == (
        f'Bearer resource_metadata="{BASE.rstrip("/")}/.well-known/oauth-protected-resource/mcp/one"'
    )
    granted = await first.logged_in(server, upstream)

    credential = await second.credentials({"X-Static": "1"}).of(server, ALICE, {})

    assert credential.headers == {"X-Static": "1", "Authorization": f"Bearer {granted.access_token}"}
    assert granted.access_token not in repr(credential)
    assert granted.access_token not in credential.identity
    assert await _call(upstream.url, credential.headers) == "nobody"
    with pytest.raises(LoginRequired):
        await second.credentials().of(server, replace(ALICE, user_id="bob"), {})


async def test_what_the_caller_sends_for_the_server_itself_goes_first(
    upstream: Upstream, workers: tuple[Worker, Worker]
) -> None:
    credential = await workers[0].credentials({"authorization": "Bearer own"}).of(server_at(upstream), ALICE, {})

    assert credential.headers == {"authorization": "Bearer own"}


async def test_twenty_calls_on_two_workers_refresh_once(upstream: Upstream, workers: tuple[Worker, Worker]) -> None:
    server = server_at(upstream)
    old = await workers[0].logged_in(server, upstream, seconds=0)
    before = len(_asked(upstream, "refresh_token"))
    upstream.turn(slow_token_seconds=0.5)

    found = await asyncio.gather(*(each.users.of(server, OWNER) for each in workers * 10))

    tokens = {token.access_token for token in found if token is not None}
    assert len(tokens) == 1
    assert old.access_token not in tokens
    assert len(found) == 20
    refreshes = _asked(upstream, "refresh_token")[before:]
    assert [form["resource"] for form in refreshes] == [upstream.url]
    held = await workers[1].store.get("one", OWNER, TokenKind.USER)
    assert held is not None
    assert held.version == 2
    assert held.payload["refresh_token"] != old.refresh_token, "rotated"


async def test_a_caller_who_hangs_up_does_not_lose_the_rotated_token(
    upstream: Upstream, workers: tuple[Worker, Worker]
) -> None:
    server = server_at(upstream)
    await workers[0].logged_in(server, upstream, seconds=0)
    before = len(_asked(upstream, "refresh_token"))
    upstream.turn(slow_token_seconds=0.5)
    calling = asyncio.create_task(workers[0].users.of(server, OWNER))
    while len(_asked(upstream, "refresh_token")) == before:  # noqa: ASYNC110  another process
        await asyncio.sleep(0.01)

    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    await workers[0].users.aclose()

    token = await workers[1].users.of(server, OWNER)
    assert token is not None
    assert token.access_token == upstream.seen()["issued"][-1]["access"]
    assert len(_asked(upstream, "refresh_token")) == before + 1


async def test_a_refresh_that_is_refused_ends_the_login(upstream: Upstream, workers: tuple[Worker, Worker]) -> None:
    server = server_at(upstream)
    await workers[0].logged_in(server, upstream, seconds=0)
    upstream.turn(refuse_refresh=True)

    with pytest.raises(LoginRequired):
        await workers[1].credentials().of(server, ALICE, {})

    assert await workers[0].store.get("one", OWNER, TokenKind.USER) is None


async def test_an_authorization_server_that_is_down_costs_no_login(
    upstream: Upstream, workers: tuple[Worker, Worker]
) -> None:
    server = server_at(upstream)
    await workers[0].logged_in(server, upstream, seconds=0)
    upstream.turn(down=True)

    with pytest.raises(BackendError, match="503"):
        await workers[0].users.of(server, OWNER)
    upstream.turn()

    assert await workers[0].users.of(server, OWNER) is not None


async def test_a_token_that_the_server_refused_is_refreshed_at_the_next_call(
    upstream: Upstream, workers: tuple[Worker, Worker]
) -> None:
    server = server_at(upstream)
    await workers[0].logged_in(server, upstream)
    credentials = workers[0].credentials()
    first = await credentials.of(server, ALICE, {})
    assert await credentials.of(server, ALICE, {}) == first

    assert first.on_refusal is not None
    await first.on_refusal()
    second = await credentials.of(server, ALICE, {})

    assert second.headers != first.headers
    assert second.identity != first.identity, "sessions of the old token are not used again"
    assert await _call(upstream.url, second.headers) == "nobody"


async def test_a_token_is_bound_to_its_server_and_authorization_server(
    upstream: Upstream, workers: tuple[Worker, Worker]
) -> None:
    await workers[0].logged_in(server_at(upstream), upstream)

    assert await workers[0].users.of(server_at(upstream, url=f"{upstream.url}/other"), OWNER) is None
    assert await workers[0].store.get("one", OWNER, TokenKind.USER) is None


async def test_a_clients_handle_refreshes_once_and_is_then_another(
    upstream: Upstream, workers: tuple[Worker, Worker]
) -> None:
    server = server_at(upstream)
    provider = await workers[0].discovery.of(server)
    granted = await workers[0].logged_in(server, upstream)
    handle = await workers[0].users.keep(server, OWNER, granted, AUTHOR, provider=provider)
    assert handle is not None

    token, following = await workers[1].users.refreshed(server, OWNER, handle)

    assert token.access_token != granted.access_token
    assert following != handle
    with pytest.raises(CodeRefused):
        await workers[0].users.refreshed(server, OWNER, handle)
    again, _ = await workers[0].users.refreshed(server, OWNER, following)
    assert again.access_token != token.access_token
    with pytest.raises(CodeRefused):
        await workers[0].users.refreshed(server, "user:bob", following)


async def test_the_gateway_fetches_its_own_token_once(upstream: Upstream, workers: tuple[Worker, Worker]) -> None:
    server = machine_at(upstream)
    before = len(_asked(upstream, "client_credentials"))
    credentials = workers[0].credentials()

    found = await asyncio.gather(*(credentials.of(server, ALICE, {}) for _ in range(20)))

    assert len({credential.headers["Authorization"] for credential in found}) == 1
    requests = _asked(upstream, "client_credentials")[before:]
    assert [form["resource"] for form in requests] == [upstream.url]
    assert await _call(upstream.url, found[0].headers) == "machine"

    assert found[0].on_refusal is not None
    await found[0].on_refusal()
    assert (await credentials.of(server, ALICE, {})).headers != found[0].headers


async def test_a_token_of_the_gateways_that_ends_is_fetched_anew(
    upstream: Upstream, workers: tuple[Worker, Worker]
) -> None:
    server = machine_at(upstream)
    upstream.turn(access_seconds=0)

    first = await workers[0].machines.of(server)
    second = await workers[0].machines.of(server)

    assert first.access_token != second.access_token


async def test_a_wrong_secret_of_the_gateways_is_a_backend_error_without_it(
    upstream: Upstream, workers: tuple[Worker, Worker]
) -> None:
    credentials = {"client_id": "the-gateway", "client_secret": "canary-wrong"}
    server = server_at(upstream, oauth2_flow="client_credentials", credentials=credentials)

    with pytest.raises(BackendError) as wrong:
        await workers[0].credentials().of(server, ALICE, {})

    assert "canary" not in str(wrong.value)
    assert "canary" not in repr(server)

"""Health of servers: a real session with each, many at once, remembered, and told without any address."""

from __future__ import annotations

import httpx
import pytest

from tests.mcp import servers
from tests.mcp.conftest import CONFIG_SERVER, Create
from tests.mcp.servers import Server, path
from tests.support.proxy import Proxy

pytestmark = pytest.mark.requirement("MCP-06")

BASES = ("/v1/mcp/server/health", "/mcp/servers/health")


def checked(client: httpx.Client, *server_ids: str, base: str = BASES[0], **query: object) -> dict[str, str]:
    response = client.get(base, params={"server_ids": list(server_ids), **query})  # type: ignore[dict-item]
    assert response.status_code == 200, response.text
    return {each["server_id"]: each["status"] for each in response.json()}


@pytest.mark.parametrize("base", BASES)
def test_each_condition_is_told_apart(client: httpx.Client, create: Create, upstream: Server, base: str) -> None:
    with servers.server(status=500) as broken, servers.server(require={"authorization": "Bearer right"}) as strict:
        bearer = {"auth_type": "bearer_token", "url": strict.url}
        well = create(url=upstream.url)
        dead = create()
        failing = create(url=broken.url)
        right = create(**bearer, credentials={"auth_value": "right"})
        wrong = create(**bearer, credentials={"auth_value": "wrong"})
        login = create(**bearer)
        every = {each["server_id"] for each in (well, dead, failing, right, wrong, login)}
        found = checked(client, *every, "no-such-id", base=base)
        expected = {
            well["server_id"]: "healthy",
            dead["server_id"]: "unhealthy",
            failing["server_id"]: "unhealthy",
            right["server_id"]: "healthy",
            wrong["server_id"]: "unhealthy",
            login["server_id"]: "unknown",
        }
        assert found == expected, "and an unknown id is absent"
        reachable = checked(client, login["server_id"], base=base, include_reachability=True)
        assert reachable == {login["server_id"]: "reachable"}
        listed = servers.listed(client)
        for server_id, error in (
            (dead["server_id"], "could not be reached"),
            (failing["server_id"], "500"),
            (wrong["server_id"], "HTTP 401"),
        ):
            told = client.get(path(server_id)).json()
            assert error in told["health_check_error"]
            assert "127.0.0.1" not in told["health_check_error"]
            assert listed[server_id]["health_check_error"] == told["health_check_error"]
        assert listed[well["server_id"]]["status"] == "healthy"
        assert listed[well["server_id"]]["last_health_check"] is not None


def test_latency_is_told(client: httpx.Client, create: Create, upstream: Server) -> None:
    made = create(url=upstream.url)
    answer = client.get(BASES[0], params={"server_ids": made["server_id"]}).json()[0]
    assert answer["latency_ms"] > 0
    assert answer["last_health_check"] is not None


def test_a_server_is_asked_once_until_it_is_changed(client: httpx.Client, create: Create) -> None:
    with servers.server() as counted:
        made = create(url=counted.url)
        asked: list[int] = []
        for _ in range(5):
            assert checked(client, made["server_id"]) == {made["server_id"]: "healthy"}
            assert client.get(path(made["server_id"])).json()["status"] == "healthy"
            asked.append(sum(each["path"] == "/mcp" for each in counted.seen()))
        assert len(set(asked)) == 1
        assert client.put(path(made["server_id"]), json={"description": "x"}).status_code == 202
        assert checked(client, made["server_id"]) == {made["server_id"]: "healthy"}
        assert sum(each["path"] == "/mcp" for each in counted.seen()) > asked[0]


def test_checks_are_concurrent_and_share_one_question(gateway: Proxy, create: Create) -> None:
    import asyncio

    with servers.server() as counted:
        made = create(url=counted.url)

        async def many() -> list[int]:
            async with gateway.async_client() as client:
                query = {"server_ids": made["server_id"]}
                answers = await asyncio.gather(*(client.get(BASES[0], params=query) for _ in range(10)))
            return [answer.status_code for answer in answers]

        assert asyncio.run(many()) == [200] * 10
        # The catalog, which looks at a new server's tools, speaks 2026-07-28, where each request names its method.
        shaken = [each for each in counted.seen() if each["method"] == "POST" and "mcp-method" not in each["headers"]]
        assert 1 <= len(shaken) <= 2, "initialize and initialized, once"


def test_litellms_own_servers_are_asked_by_litellm(furnished: Proxy) -> None:
    with furnished.client() as client:
        server_id = client.get(path(CONFIG_SERVER)).json()["server_id"]
        assert checked(client, server_id) == {server_id: "healthy"}


def test_processes_are_started_by_litellm_where_they_may_be(furnished: Proxy) -> None:
    script = "from tests.mcp.echo_server import build; build('io').run(transport='stdio')"
    with furnished.client() as client:
        made = servers.created(
            client, transport="stdio", url=None, command="python3", args=["-c", script], env={"PYTHONPATH": _root()}
        )
        assert checked(client, made["server_id"]) == {made["server_id"]: "healthy"}
        assert servers.rest_tools(client, made["server_id"]) == {f"{made['alias']}-echo", f"{made['alias']}-add"}
        assert client.delete(path(made["server_id"])).status_code == 202


def _root() -> str:
    from tests.support import processes

    return str(processes.REPOSITORY)

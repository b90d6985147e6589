"""Who reaches which server: grants of key and team by id, name, group and tool, on our routes and LiteLLM's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from tests.mcp import servers
from tests.mcp.servers import Server, path
from tests.support.proxy import Proxy

GROUP: Final = "group-of-access"


@dataclass(frozen=True)
class World:
    """Three servers: `mine` is in the group, `other` is in none, `open` is for all keys."""

    proxy: Proxy
    mine: Mapping[str, Any]
    other: Mapping[str, Any]
    open: Mapping[str, Any]

    def key(self, permission: Mapping[str, Any] | None = None, **fields: Any) -> str:
        """Make a key with grants; `team` is its team's."""
        team = fields.pop("team", None)
        if team is not None:
            fields |= {"team_id": "team-of-access", "team_object_permission": team}
        return self.proxy.add_key(object_permission=permission, **fields)

    def names(self, found: set[str]) -> set[str]:
        """Say which of the three are among ids."""
        known = {"mine": self.mine, "other": self.other, "open": self.open}
        return {name for name, server in known.items() if server["server_id"] in found}


@pytest.fixture(scope="module")
def world(proxy: Proxy, upstream: Server) -> Iterator[World]:
    with proxy.client() as admin:
        made = World(
            proxy,
            servers.created(admin, url=upstream.url, mcp_access_groups=[GROUP, "group-of-others"]),
            servers.created(admin, url=upstream.url),
            servers.created(admin, url=upstream.url, allow_all_keys=True),
        )
        yield made
        for server in (made.mine, made.other, made.open):
            admin.delete(path(server["server_id"]))


def listed(client: httpx.Client) -> set[str]:
    return set(servers.listed(client))


@pytest.fixture(params=["server_id", "alias", "server_name"])
def reference(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.requirement("MCP-01", "MCP-03", "MCP-06")
@pytest.mark.parametrize("grant", ["key", "team", "both"])
def test_a_grant_by_any_spelling_gives_the_server_and_those_of_all_keys(
    world: World, reference: str, grant: str
) -> None:
    permission = {"mcp_servers": [world.mine[reference]]}
    key = world.key(permission if grant != "team" else None, team=permission if grant != "key" else None)
    with world.proxy.client(key) as client:
        assert world.names(listed(client)) == {"mine", "open"}
        health = {each["server_id"] for each in client.get("/v1/mcp/server/health").json()}
        assert world.names(health) == {"mine", "open"}
        for server, status in ((world.mine, 200), (world.open, 200), (world.other, 403)):
            assert client.get(path(server["server_id"])).status_code == status
            assert client.get(path(server["alias"], "/mcp/servers")).status_code == status


@pytest.mark.requirement("MCP-01")
def test_key_and_team_intersect(world: World) -> None:
    both = {"mcp_servers": [world.mine["server_id"], world.other["alias"]]}
    one = {"mcp_servers": [world.other["server_id"]]}
    group = {"mcp_access_groups": [GROUP]}
    for permission, team, expected in (
        (both, one, {"other", "open"}),
        (one, both, {"other", "open"}),
        (group, one, {"open"}),
        (group, both, {"mine", "open"}),
        ({"mcp_tool_permissions": {world.other["alias"]: ["add"]}}, one, {"other", "open"}),
        ({"mcp_access_groups": ["no such group"]}, one, {"open"}),
        ({"mcp_servers": []}, one, {"other", "open"}),
        ({"mcp_servers": ["no-mcp-servers"]}, both, set()),
        (None, {"mcp_servers": ["all-proxy-mcpservers"]}, {"mine", "other", "open"}),
    ):
        with world.proxy.client(world.key(permission, team=team)) as client:
            assert world.names(listed(client)) == expected, (permission, team)


@pytest.mark.requirement("MCP-01", "MCP-10")
def test_without_a_grant_a_key_reaches_what_is_open_to_all_keys(world: World) -> None:
    with world.proxy.client(world.key()) as client:
        assert world.names(listed(client)) == {"open"}
        assert client.get("/v1/mcp/access_groups").json() == {"access_groups": []}
        unknown = client.get(path("nobody_knows_this_server"))
        forbidden = client.get(path(world.other["server_id"]))
        assert (unknown.status_code, forbidden.status_code) == (403, 403)
        assert unknown.text.replace("nobody_knows_this_server", "X") == forbidden.text.replace(
            world.other["server_id"], "X"
        )


@pytest.mark.requirement("MCP-10")
@pytest.mark.parametrize("base", ["/v1/mcp/access_groups", "/mcp/access_groups"])
def test_groups_follow_key_and_team_never_the_request(world: World, base: str) -> None:
    group = {"mcp_access_groups": [GROUP]}
    more = {"mcp_access_groups": [GROUP, "group-of-others", "no such group"]}
    for key, expected in (
        (world.key(group), [GROUP]),
        (world.key(None, team=group), [GROUP]),
        (world.key(more, team=group), [GROUP]),
        (world.key({"mcp_servers": [world.mine["server_id"]]}), []),
    ):
        with world.proxy.client(key) as client:
            for query in ({}, {"mcp_access_groups": "group-of-others"}, {"team_id": "x"}):
                answer = client.get(base, params=query, headers={"x-mcp-access-groups": "group-of-others"})
                assert answer.json() == {"access_groups": expected}
    with world.proxy.client() as admin:
        assert {GROUP, "group-of-others"} <= set(admin.get(base).json()["access_groups"])


@pytest.mark.requirement("MCP-01")
def test_an_administrators_key_that_names_servers_is_held_to_them(world: World) -> None:
    key = world.key({"mcp_servers": [world.mine["server_id"]]}, user_role="proxy_admin")
    with world.proxy.client(key) as client:
        assert world.names(listed(client)) == {"mine", "open"}
        assert client.get(path(world.other["server_id"])).status_code == 200, "and may still look after the others"


@pytest.mark.requirement("MCP-01", "MCP-03")
def test_who_is_no_administrator_reads_nothing_of_the_upstream(world: World) -> None:
    with world.proxy.client() as admin:
        secretive = servers.created(
            admin,
            url="http://127.0.0.1:9/canary-path",
            static_headers={"X-Canary": "canary-value"},
            extra_headers=["x-canary-extra"],
            env_vars=[{"name": "CANARY", "value": "canary-env"}],
            issuer="http://127.0.0.1:9/canary-issuer",
            authorization_url="http://127.0.0.1:9/canary-authorize",
            token_url="http://127.0.0.1:9/canary-token",
            audience="canary-audience",
            auth_type="oauth2",
            credentials={"client_id": "canary-id", "client_secret": "canary-secret", "scopes": ["canary-scope"]},
            mcp_info={"internal": "told to members"},
        )
        grant = {"mcp_servers": [secretive["server_id"]]}
        for key in (world.key(grant), world.key(None, user_role="proxy_admin_viewer")):
            with world.proxy.client(key) as client:
                for answer in (client.get("/v1/mcp/server"), client.get(path(secretive["server_id"]))):
                    assert answer.status_code == 200
                    assert "canary" not in answer.text.lower()
        confined = world.key(grant, allowed_routes=["/v1/mcp/server", "/v1/agents", "/mcp-rest/tools/list"])
        with world.proxy.client(confined) as client:
            shown = servers.listed(client)[secretive["server_id"]]
            assert "canary" not in str(shown).lower()
            assert (shown["created_by"], shown["mcp_access_groups"], shown["allowed_tools"]) == (None, [], [])
            assert shown["mcp_info"] == {"is_public": False, "is_public_explicit": False}
        assert admin.delete(path(secretive["server_id"])).status_code == 202


@pytest.mark.requirement("MCP-01", "MCP-05")
def test_litellms_own_paths_keep_to_a_keys_grants_of_ours(world: World) -> None:
    """What stock decides: a key's servers, groups and tools; without a database it knows no team's."""
    prefix = world.mine["alias"]
    tools = {f"{prefix}-echo", f"{prefix}-add"}
    for permission, expected in (
        ({"mcp_servers": [world.mine["server_id"]]}, tools),
        ({"mcp_servers": [world.mine["alias"]]}, tools),
        ({"mcp_access_groups": [GROUP]}, tools),
        ({"mcp_tool_permissions": {world.mine["server_id"]: ["add"]}}, {f"{prefix}-add"}),
        ({"mcp_servers": [world.other["server_id"]]}, set()),
    ):
        key = world.key(permission)
        found = {each for each in servers.mcp_tools(world.proxy, key) if each.startswith(f"{prefix}-")}
        assert found == expected, permission
        with world.proxy.client(key) as client:
            assert ("mine" in world.names(listed(client))) == bool(expected)

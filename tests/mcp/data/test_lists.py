"""What many servers offer, in one answer: tools, resources and prompts, found by name or address."""

from __future__ import annotations

import httpx
import pytest

from tests.mcp.data.calling import call, error, names, result
from tests.mcp.data.conftest import HTTP, NETWORK, OwnBackend, Register, Shared
from tests.support.mcp_backends import Speaks
from tests.support.processes import wait_until
from tests.support.proxy import Proxy

TOOLS = ["add", "ask", "boom", "complain", "echo", "environment", "huge", "picky", "wait"]


@pytest.mark.requirement("MCP-07")
@pytest.mark.parametrize("path", ["/mcp/tools", "/mcp/tools/list"])
def test_tools_of_every_server_say_whose_they_are(
    client: httpx.Client, registered: Register, backend_that: Shared, path: str
) -> None:
    servers = [registered(backend_that(speaks), f"list_{speaks.value}") for speaks in NETWORK]

    listed = client.get(path)

    assert sorted(names(listed)) == sorted(TOOLS * len(servers))
    body = listed.json()
    assert body["error"] is None
    assert body["server_outcomes"] == {each.name: {"status": "ok", "tool_count": len(TOOLS)} for each in servers}
    assert {each["mcp_info"]["server_id"] for each in body["tools"]} == {each.server_id for each in servers}
    assert {"inputSchema", "description"} <= set(body["tools"][0])


@pytest.mark.requirement("MCP-07")
def test_the_lists_are_those_of_stock(client: httpx.Client, registered: Register, backend_that: Shared) -> None:
    server = registered(backend_that(Speaks.SESSIONS), "as_stock")

    ours = client.get("/mcp/tools", params={"server_id": server.server_id}).json()
    stock = client.get("/mcp-rest/tools/list", params={"server_id": server.server_id}).json()
    prefixed = names(client.get("/v1/mcp/tools"))

    assert set(stock) <= set(ours)
    assert [each["name"] for each in ours["tools"]] == [each["name"] for each in stock["tools"]]
    shown = [{name: value for name, value in each.items() if value is not None} for each in stock["tools"]]
    for tool, of_stock in zip(ours["tools"], shown, strict=True):
        assert tool["inputSchema"] == of_stock["inputSchema"]
        assert tool["mcp_info"]["server_id"] == of_stock["mcp_info"]["server_id"]
    assert sorted(prefixed) == sorted(f"as_stock-{name}" for name in TOOLS)


@pytest.mark.requirement("MCP-07")
def test_a_server_that_fails_costs_its_own_part_only(
    client: httpx.Client, registered: Register, own_backend: OwnBackend, backend_that: Shared
) -> None:
    well = registered(backend_that(Speaks.STATELESS), "well")
    dead = registered(own_backend(Speaks.SESSIONS), "dead")
    dead.backend.kill()

    listed = client.get("/mcp/tools")

    assert sorted(names(listed)) == TOOLS
    assert listed.json()["server_outcomes"] == {
        well.name: {"status": "ok", "tool_count": len(TOOLS)},
        dead.name: {"status": "unreachable"},
    }
    alone = client.get("/mcp/tools", params={"server_id": dead.server_id})
    assert alone.status_code == 502
    assert "127.0.0.1" not in alone.text


@pytest.mark.requirement("MCP-07")
def test_long_lists_are_read_page_by_page_and_once(
    client: httpx.Client, registered: Register, own_backend: OwnBackend
) -> None:
    server = registered(own_backend(Speaks.STATELESS, many=250), "long")

    for _ in range(3):
        assert len(names(client.get("/mcp/tools", params={"server_id": server.server_id}))) == 250 + len(TOOLS)

    assert server.backend.posts().count("tools/list") == 3
    assert result(call(client, "tool_250", {}, server.server_id)) == "many"


@pytest.mark.requirement("MCP-07")
@pytest.mark.parametrize("speaks", HTTP)
def test_a_server_that_says_its_tools_have_changed_is_asked_again(
    client: httpx.Client, registered: Register, own_backend: OwnBackend, speaks: Speaks
) -> None:
    server = registered(own_backend(speaks), "changing")

    def description() -> str:
        tools = client.get("/mcp/tools", params={"server_id": server.server_id}).json()["tools"]
        return str(next(each["description"] for each in tools if each["name"] == "echo"))

    assert description() == "Says it again."
    server.backend.redefine("Says something else.")
    wait_until(lambda: description() == "Says something else.", 30, "the new list")


@pytest.mark.requirement("MCP-08")
def test_a_tool_is_found_by_prefix_by_server_and_by_a_name_of_its_own(
    client: httpx.Client, registered: Register, own_backend: OwnBackend, backend_that: Shared
) -> None:
    one = registered(backend_that(Speaks.STATELESS), "one")
    two = registered(own_backend(Speaks.STATELESS, many=1), "two")

    assert result(call(client, "one-add", {"a": 1, "b": 2})) == 3
    assert result(call(client, "add", {"a": 1, "b": 3}, "two")) == 4
    assert result(call(client, "two-add", {"a": 1, "b": 4}, two.server_id)) == 5
    assert result(call(client, "tool_1")) == "many"
    ambiguous = error(call(client, "add", {"a": 1, "b": 2}), 400)
    assert ambiguous["error"] == "ambiguous_tool"
    assert "'one-add'" in ambiguous["message"]
    assert "'two-add'" in ambiguous["message"]
    assert error(call(client, "three-add", {"a": 1, "b": 2}), 404)["error"] == "tool_not_found"
    assert one.server_id != two.server_id


@pytest.mark.requirement("MCP-09")
def test_resources_are_listed_with_their_templates(
    client: httpx.Client, registered: Register, backend_that: Shared
) -> None:
    for speaks in NETWORK:
        registered(backend_that(speaks), f"res_{speaks.value}")

    listed = client.get("/mcp/resources").json()

    assert {each["uri"] for each in listed["resources"]} == {f"note://{speaks.value}" for speaks in NETWORK}
    templates = {each["uriTemplate"] for each in listed["resourceTemplates"]}
    assert templates == {f"{speaks.value}://{{chapter}}/{{verse}}" for speaks in NETWORK}
    assert all(each["mcp_info"]["server_id"] for each in [*listed["resources"], *listed["resourceTemplates"]])


@pytest.mark.requirement("MCP-09")
def test_a_resource_is_read_from_whoever_lists_it_or_has_a_template_for_it(
    client: httpx.Client, registered: Register, backend_that: Shared
) -> None:
    for speaks in NETWORK:
        registered(backend_that(speaks), f"read_{speaks.value}")

    for speaks in NETWORK:
        for uri, text in ((f"note://{speaks.value}", "the note of"), (f"{speaks.value}://3/16", "3:16")):
            read = client.post("/mcp/resources/read", json={"uri": uri})
            assert read.status_code == 200, read.text
            assert text in read.json()["contents"][0]["text"]
    for uri in ("note://nobody", f"{Speaks.SSE.value}://3/16/7", "elsewhere://3/16"):
        assert error(client.post("/mcp/resources/read", json={"uri": uri}), 404)["error"] == "resource_not_found"


@pytest.mark.requirement("MCP-09")
def test_a_resource_of_two_servers_needs_a_name(
    client: httpx.Client, registered: Register, backend_that: Shared
) -> None:
    registered(backend_that(Speaks.SESSIONS), "twin_a")
    twin = registered(backend_that(Speaks.SESSIONS), "twin_b")

    refused = error(client.post("/mcp/resources/read", json={"uri": "note://sessions"}), 400)
    read = client.post("/mcp/resources/read", json={"uri": "note://sessions", "server_id": twin.server_id})

    assert refused["error"] == "ambiguous_resource"
    assert read.json()["contents"][0]["text"] == "the note of sessions"


@pytest.mark.requirement("MCP-09")
@pytest.mark.parametrize("speaks", NETWORK)
def test_prompts_are_listed_and_got(
    client: httpx.Client, registered: Register, backend_that: Shared, speaks: Speaks
) -> None:
    server = registered(backend_that(speaks), "prompting")

    assert names(client.get("/mcp/prompts"), "prompts") == ["greet"]
    for name in ("greet", "prompting-greet"):
        got = client.post("/mcp/prompts/get", json={"name": name, "arguments": {"who": "Ada", "tone": "dry"}})
        assert got.status_code == 200, got.text
        assert got.json()["messages"][0]["content"]["text"] == "Say something dry to Ada."
    wanting = error(client.post("/mcp/prompts/get", json={"name": "greet", "server_id": server.server_id}), 400)
    assert wanting["field"] == "arguments.who"
    assert error(client.post("/mcp/prompts/get", json={"name": "nobody"}), 404)["error"] == "prompt_not_found"


def test_each_tenant_sees_and_uses_its_own_servers(
    calling_proxy: Proxy, client: httpx.Client, registered: Register, backend_that: Shared
) -> None:
    mine = registered(backend_that(Speaks.SESSIONS), "mine")
    theirs = registered(backend_that(Speaks.STATELESS), "theirs")
    key = calling_proxy.add_key(object_permission={"mcp_servers": [mine.server_id]})
    with calling_proxy.client(key) as tenant:
        assert set(tenant.get("/mcp/tools").json()["server_outcomes"]) == {"mine"}
        assert [each["uri"] for each in tenant.get("/mcp/resources").json()["resources"]] == ["note://sessions"]
        assert len(names(tenant.get("/mcp/prompts"), "prompts")) == 1
        assert result(call(tenant, "add", {"a": 1, "b": 2})) == 3
        assert call(tenant, "add", {"a": 1, "b": 2}, theirs.server_id).status_code == 403
        assert call(tenant, "theirs-add", {"a": 1, "b": 2}).status_code == 404
        assert tenant.post("/mcp/resources/read", json={"uri": "note://stateless"}).status_code == 404
        read = tenant.post("/mcp/resources/read", json={"uri": "note://stateless", "server_id": theirs.server_id})
        assert read.status_code == 403
        assert tenant.get("/mcp/tools", params={"server_id": theirs.server_id}).status_code == 403
        assert tenant.post(f"/v1/mcp/server/{mine.server_id}/tools/approve").status_code == 403


def test_a_grant_of_one_tool_is_a_grant_of_no_other(
    calling_proxy: Proxy, registered: Register, backend_that: Shared
) -> None:
    server = registered(backend_that(Speaks.SESSIONS), "few")
    permission = {"mcp_servers": [server.server_id], "mcp_tool_permissions": {server.server_id: ["add"]}}
    with calling_proxy.client(calling_proxy.add_key(object_permission=permission)) as tenant:
        assert names(tenant.get("/mcp/tools")) == ["add"]
        assert names(tenant.get("/v1/mcp/tools")) == ["few-add"]
        assert result(call(tenant, "add", {"a": 1, "b": 2})) == 3
        assert call(tenant, "echo", {"text": "x"}).status_code == 403

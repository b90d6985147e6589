"""The registry of MCP servers over HTTP: LiteLLM's shapes, statuses and words, on both databases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import httpx
import pytest

from tests.mcp import servers
from tests.mcp.conftest import CONFIG_SERVER, Create
from tests.mcp.servers import MARKER, NOWHERE, path
from tests.support.proxy import Proxy

BASES: Final = ("/v1/mcp/server", "/mcp/servers")


def error(response: httpx.Response) -> str:
    """Read LiteLLM's shape of a refusal."""
    assert set(response.json()) == {"detail"}, response.text
    return str(response.json()["detail"]["error"])


@pytest.mark.requirement("MCP-02")
@pytest.mark.parametrize("base", BASES)
def test_a_registered_server_is_answered_in_litellms_shape(client: httpx.Client, base: str) -> None:
    name = servers.unique()
    response = client.post(base, json=servers.body(name, description="Says it again", mcp_access_groups=["g"]))
    assert response.status_code == 201, response.text
    made = response.json()
    assert made.keys() == servers.KEYS
    assert (made["server_name"], made["alias"], made["transport"], made["url"]) == (name, name, "http", NOWHERE)
    assert (made["status"], made["approval_status"], made["is_config"]) == ("unknown", "active", False)
    assert (made["created_by"], made["updated_by"]) == ("default_user_id", "default_user_id")
    assert response.headers["etag"] == '"1"'
    assert client.delete(path(made["server_id"], base)).status_code == 202


@pytest.mark.requirement("MCP-01", "MCP-03")
@pytest.mark.parametrize("base", BASES)
def test_it_is_listed_and_read_by_id_alias_and_name(client: httpx.Client, create: Create, base: str) -> None:
    made = create(alias=servers.unique("alias"))
    listed = servers.listed(client, base)[made["server_id"]]
    assert {**listed, "updated_at": ""} == {**made, "updated_at": ""}
    for reference in (made["server_id"], made["alias"], made["server_name"]):
        read = client.get(path(reference, base))
        assert read.status_code == 200, read.text
        assert read.headers["etag"] == '"1"'
        assert read.json()["server_id"] == made["server_id"]


@pytest.mark.requirement("MCP-01")
def test_lists_are_json_at_once_where_stock_opens_an_endless_stream(client: httpx.Client) -> None:
    response = client.get("/mcp/servers", timeout=20)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    names = [str(each["server_name"]).lower() for each in response.json()]
    assert names == sorted(names)


@pytest.mark.requirement("MCP-01", "MCP-03")
def test_a_server_of_the_config_stands_beside_ours(furnished: Proxy) -> None:
    with furnished.client() as client:
        found = {each["server_name"]: each for each in client.get("/v1/mcp/server").json()}[CONFIG_SERVER]
        assert found["is_config"] is True
        for reference in (found["server_id"], CONFIG_SERVER):
            read = client.get(path(reference))
            assert (read.status_code, read.json()["server_id"]) == (200, found["server_id"])
            assert "etag" not in read.headers
            assert read.json()["status"] == "healthy"


@pytest.mark.requirement("MCP-02", "MCP-04", "MCP-05")
def test_what_is_litellms_is_left_to_it(furnished: Proxy) -> None:
    """Without a database of its own LiteLLM can change no server, and says so."""
    with furnished.client() as client:
        for response in (
            client.put("/v1/mcp/server", json={"server_id": CONFIG_SERVER, "description": "x"}),
            client.put(path(CONFIG_SERVER), json={"description": "x"}),
            client.put(path(CONFIG_SERVER, "/mcp/servers"), json={"description": "x"}),
            client.delete(path(CONFIG_SERVER)),
            client.delete(path(CONFIG_SERVER, "/mcp/servers")),
        ):
            assert "Database not connected" in error(response)
        for name in (CONFIG_SERVER, CONFIG_SERVER.upper()):
            refused = client.post("/v1/mcp/server", json=servers.body(name))
            assert refused.status_code == 400
            assert f"An MCP server with alias '{name}' already exists (server_id=" in error(refused)
        stock_id = client.get(path(CONFIG_SERVER)).json()["server_id"]
        refused = client.post("/v1/mcp/server", json=servers.body(server_id=stock_id))
        assert (refused.status_code, error(refused)) == (
            400,
            f"MCP Server with id {stock_id} already exists. Cannot create another.",
        )


@pytest.mark.requirement("MCP-04")
@pytest.mark.parametrize("form", ["body", "path", "name", "alias path"])
def test_a_change_merges_and_null_clears(client: httpx.Client, create: Create, form: str) -> None:
    made = create(description="old", allowed_tools=["echo"], mcp_access_groups=["g"], timeout=5)
    change: dict[str, Any] = {"description": "new", "timeout": None, "allowed_tools": None}
    if form == "body":
        response = client.put("/v1/mcp/server", json={"server_id": made["server_id"], **change})
    else:
        reference = made["server_name"] if form == "name" else made["server_id"]
        base = "/mcp/servers" if form == "alias path" else "/v1/mcp/server"
        response = client.put(path(reference, base), json=change)
    assert response.status_code == 202, response.text
    expected = {**made, "description": "new", "timeout": None, "allowed_tools": []}
    assert {**response.json(), "updated_at": ""} == {**expected, "updated_at": ""}
    assert response.headers["etag"] == '"2"'
    assert response.json()["updated_at"] > made["updated_at"]


@pytest.mark.requirement("MCP-04")
def test_a_server_that_was_read_and_put_back_is_as_before(client: httpx.Client, create: Create) -> None:
    made = create(
        auth_type="bearer_token",
        credentials={"auth_value": "t"},
        static_headers={"X-A": "b"},
        env_vars=[{"name": "A", "value": "b"}],
        mcp_info={"cost": 1},
    )
    read = client.get(path(made["server_id"])).json()
    assert read["static_headers"] == {"X-A": MARKER}
    assert read["credentials"] is None
    answer = client.put(path(made["server_id"]), json=read)
    assert answer.status_code == 202, answer.text
    ignored = {"updated_at": "", "status": "", "last_health_check": "", "health_check_error": ""}
    assert {**answer.json(), **ignored} == {**made, **ignored}
    stale = client.put(path(made["server_id"]), json=read)
    assert stale.status_code == 409, stale.text


@pytest.mark.requirement("MCP-04", "MCP-05")
def test_a_writer_who_is_late_is_told(client: httpx.Client, create: Create) -> None:
    made = create()
    at = path(made["server_id"])
    assert client.put(at, json={"description": "a"}, headers={"If-Match": '"1"'}).status_code == 202
    for late in (
        client.put(at, json={"description": "b"}, headers={"If-Match": '"1"'}),
        client.delete(at, headers={"If-Match": '"1"'}),
    ):
        assert late.status_code == 412
    assert client.put(at, json={"description": "b"}, headers={"If-Match": "one"}).status_code == 400
    assert client.get(at).json()["description"] == "a"
    assert client.delete(at, headers={"If-Match": '"2"'}).status_code == 202


@pytest.mark.requirement("MCP-05")
def test_a_deleted_server_is_gone(client: httpx.Client, create: Create) -> None:
    made = create()
    response = client.delete(path(made["server_name"]))
    assert (response.status_code, response.content) == (202, b"")
    assert client.get(path(made["server_id"])).status_code == 404
    assert made["server_id"] not in servers.listed(client)
    again = client.delete(path(made["server_id"]))
    assert (again.status_code, error(again)) == (404, f"MCP Server not found, passed server_id={made['server_id']}")
    gone = client.put("/v1/mcp/server", json={"server_id": made["server_id"], "description": "x"})
    assert (gone.status_code, error(gone)) == (404, f"MCP Server not found, passed server_id={made['server_id']}")


@pytest.mark.requirement("MCP-02")
def test_a_given_id_is_kept_and_never_taken_twice(client: httpx.Client, create: Create) -> None:
    server_id = servers.unique("id")
    assert create(server_id=server_id)["server_id"] == server_id
    again = client.post("/v1/mcp/server", json=servers.body(server_id=server_id))
    assert (again.status_code, error(again)) == (
        400,
        f"MCP Server with id {server_id} already exists. Cannot create another.",
    )


@pytest.mark.requirement("MCP-02", "MCP-04")
def test_names_are_unique_across_aliases_names_and_ids_in_any_case(client: httpx.Client, create: Create) -> None:
    made = create(alias=servers.unique("alias"), server_id=servers.unique("id"))
    other = create()
    for taken in (made["alias"], made["server_name"], made["server_id"]):
        for spelling in (taken, taken.upper()):
            for response in (
                client.post("/v1/mcp/server", json=servers.body(spelling)),
                client.post("/v1/mcp/server", json=servers.body(alias=spelling)),
                client.post("/v1/mcp/server", json=servers.body(server_id=spelling)),
                client.put(path(other["server_id"]), json={"alias": spelling}),
                client.put(path(other["server_id"]), json={"server_name": spelling, "alias": None}),
            ):
                assert response.status_code == 400, response.text
                assert "already exists" in error(response)
    assert client.get(path(other["server_id"])).json()["alias"] == other["alias"]


RESERVED: Final = ("agents", "servers", "Tools", "RESOURCES", "enabled", "oauth", "registry", "mcp", "toolset", "v1")


@pytest.mark.requirement("MCP-02", "MCP-04")
@pytest.mark.parametrize("name", RESERVED)
def test_path_words_are_no_names(client: httpx.Client, create: Create, name: str) -> None:
    made = create()
    for response in (
        client.post("/v1/mcp/server", json=servers.body(name)),
        client.post("/v1/mcp/server", json=servers.body(alias=name)),
        client.post("/v1/mcp/server", json=servers.body(server_id=name)),
        client.put(path(made["server_id"]), json={"alias": name}),
    ):
        assert response.status_code == 400, response.text
        assert "is a path word of the gateway" in error(response)


@pytest.mark.requirement("MCP-02")
@pytest.mark.parametrize("server_id", ["all-team-mcpservers", "all-proxy-mcpservers", "no-mcp-servers"])
def test_ids_that_mean_something_in_grants_are_refused(client: httpx.Client, server_id: str) -> None:
    response = client.post("/v1/mcp/server", json=servers.body(server_id=server_id))
    assert (response.status_code, error(response)) == (
        400,
        f"MCP Server with id {server_id} is special and cannot be used.",
    )


BAD: Final[tuple[tuple[Mapping[str, Any], int, str], ...]] = (
    ({"server_name": "with-hyphen"}, 400, "Server name cannot contain '-'"),
    ({"alias": "with-hyphen"}, 400, "Server name cannot contain '-'"),
    ({"server_name": "sp@ce"}, 400, "Invalid MCP tool prefix"),
    ({"server_id": ""}, 400, "server_id"),
    ({"server_id": "a/b"}, 400, "server_id"),
    ({"server_id": ".."}, 400, "server_id"),
    ({"server_id": "x" * 300}, 400, "server_id"),
    ({"server_id": "a\nb"}, 400, "server_id"),
    ({"url": None}, 422, "url or spec_path is required"),
    ({"transport": "carrier pigeon"}, 422, "transport"),
    ({"auth_type": "magic"}, 422, "auth_type"),
    ({"mcp_access_groups": "g"}, 422, "mcp_access_groups"),
    ({"rpm": -1}, 422, "rpm"),
    ({"static_headers": {"X": 1}}, 422, "static_headers"),
    ({"static_headers": {"X Y": "1"}}, 422, "static_headers"),
    ({"static_headers": {"X": "a\r\nb: c"}}, 422, "static_headers"),
    ({"extra_headers": ["a b"]}, 422, "extra_headers"),
    ({"auth_type": "bearer_token", "credentials": {"auth_value": "a\nb"}}, 422, '"credentials","auth_value"'),
    ({"credentials": {"upstream_token_header": "a b"}}, 400, "upstream_token_header"),
    ({"dcr_bridge": True}, 422, "dcr_bridge"),
    ({"per_server_oauth_discovery": True}, 422, "per_server_oauth_discovery"),
    ({"mcp_info": {"protocol_version": "never"}}, 422, "mcp_info"),
    ({"url": "ftp://127.0.0.1/"}, 400, "url"),
    ({"url": "http://user:pw@127.0.0.1/"}, 400, "url"),
    ({"url": "http://10.0.0.1/"}, 400, "url"),
    ({"url": "http://169.254.169.254/"}, 400, "url"),
    ({"url": NOWHERE, "spec_path": "/etc/passwd"}, 400, "spec_path"),
    ({"url": NOWHERE, "spec_path": "http://10.0.0.1/openapi.json"}, 400, "spec_path"),
    ({"authorization_url": "http://10.0.0.1/"}, 400, "authorization_url"),
    ({"token_url": "http://10.0.0.1/"}, 400, "token_url"),
    ({"registration_url": "http://10.0.0.1/"}, 400, "registration_url"),
    ({"issuer": "http://10.0.0.1/"}, 400, "issuer"),
    ({"token_exchange_endpoint": "http://10.0.0.1/"}, 400, "token_exchange_endpoint"),
    ({"credentials": {"token_exchange_endpoint": "http://10.0.0.1/"}}, 400, "token_exchange_endpoint"),
    ({"credentials": {"id_jag_resource_token_endpoint": "http://10.0.0.1/"}}, 400, "id_jag_resource_token_endpoint"),
)


@pytest.mark.requirement("MCP-02", "MCP-04")
@pytest.mark.parametrize(("fields", "status", "named"), BAD, ids=[str(fields)[:60] for fields, _, _ in BAD])
def test_a_wrong_field_is_named_and_changes_nothing(
    client: httpx.Client, create: Create, fields: Mapping[str, Any], status: int, named: str
) -> None:
    made = create()
    before = set(servers.listed(client))
    response = client.post("/v1/mcp/server", json={**servers.body(), **fields})
    assert response.status_code == status, response.text
    assert named in response.text
    assert set(servers.listed(client)) == before
    if "server_id" not in fields and fields.get("url", ...) is not None:
        changed = client.put(path(made["server_id"]), json=dict(fields))
        assert changed.status_code in (400, 422), changed.text
        assert client.get(path(made["server_id"])).headers["etag"] == '"1"'


@pytest.mark.requirement("MCP-02", "MCP-04")
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"x"', b"[1]", b'{"url": NaN}', b"\xff", b"5"])
def test_a_body_that_is_no_object_is_the_callers_mistake(client: httpx.Client, create: Create, content: bytes) -> None:
    made = create()
    for method, at in (
        ("POST", "/v1/mcp/server"),
        ("PUT", "/v1/mcp/server"),
        ("PUT", path(made["server_id"])),
        ("POST", "/v1/mcp/server/import"),
        ("POST", "/v1/mcp/make_public"),
    ):
        response = client.request(method, at, content=content)
        assert response.status_code in (400, 422), f"{method} {at}: {response.text}"


@pytest.mark.requirement("MCP-02", "MCP-04")
def test_what_the_proxy_says_itself_cannot_be_said_for_it(client: httpx.Client, create: Create) -> None:
    claims: dict[str, Any] = {
        "created_by": "root",
        "created_at": "2001-01-01T00:00:00Z",
        "updated_by": "root",
        "approval_status": "pending_review",
        "submitted_by": "root",
        "status": "healthy",
        "health_check_error": "no",
        "is_config": True,
        "teams": [{"team_id": "t"}],
        "has_user_credential": True,
        "version": 7,
        "is_public": True,
        "mcp_info": {"is_public": True, "is_public_explicit": True},
        "no such field": 1,
    }
    made = create(**claims)
    changed = client.put(path(made["server_id"]), json=claims).json()
    for answer in (made, changed, client.get(path(made["server_id"])).json()):
        assert (answer["created_by"], answer["updated_by"]) == ("default_user_id", "default_user_id")
        assert answer["created_at"] == made["created_at"] > "2020"
        assert (answer["approval_status"], answer["submitted_by"], answer["teams"]) == ("active", None, [])
        assert (answer["is_config"], answer["has_user_credential"]) == (False, None)
        answer["mcp_info"].pop("routeiq", None)  # what is known of its tools so far
        assert answer["mcp_info"] == {"is_public": False, "is_public_explicit": False}
    assert made["status"] == "unknown"


@pytest.mark.requirement("MCP-04")
def test_another_kind_of_proof_or_another_address_drops_what_was_proved_before(
    client: httpx.Client, create: Create
) -> None:
    made = create(
        auth_type="oauth2",
        oauth2_flow="client_credentials",
        token_url="http://127.0.0.1:9/token",
        credentials={"client_id": "i", "client_secret": "s", "scopes": ["a"]},
    )
    at = path(made["server_id"])
    assert made["credentials"] == {"scopes": ["a"]}
    moved = client.put(at, json={"url": "http://127.0.0.1:9/other"}).json()
    assert (moved["token_url"], moved["oauth2_flow"]) == (None, None)
    switched = client.put(at, json={"auth_type": "api_key"}).json()
    assert (switched["auth_type"], switched["credentials"]) == ("api_key", None)


@pytest.mark.requirement("MCP-02", "MCP-04")
def test_writes_are_in_the_audit_trail_without_any_secret(client: httpx.Client) -> None:
    made = servers.created(client, auth_type="bearer_token", credentials={"auth_value": "canary-audit"})
    at = path(made["server_id"])
    client.put(at, json={"description": "x"}, headers={"x-request-id": "r-77"})
    client.delete(at)
    trail = client.get("/routeiq/audit", params={"object_id": made["server_id"]})
    assert trail.status_code == 200, trail.text
    assert "canary-audit" not in trail.text
    entries = trail.json()["entries"] if isinstance(trail.json(), dict) else trail.json()
    assert [each["action"] for each in entries] == ["mcp_server.delete", "mcp_server.update", "mcp_server.create"]
    assert entries[1]["request_id"] == "r-77"
    assert {each["actor"] for each in entries} == {"default_user_id"}


@pytest.mark.requirement("MCP-01")
def test_a_team_filter_is_refused_where_nobody_knows_teams(client: httpx.Client) -> None:
    for name in ("team_id", "user_id"):
        response = client.get("/v1/mcp/server", params={name: "x"})
        assert response.status_code == 400
        assert name in error(response)


@pytest.mark.requirement("MCP-02")
def test_stdio_is_off_unless_both_switches_are_on(proxy: Proxy, furnished: Proxy) -> None:
    wanted: dict[str, Any] = {"transport": "stdio", "command": "python3", "args": ["-c", "pass"], "url": None}
    with proxy.client() as client:
        response = client.post("/v1/mcp/server", json={**servers.body(), **wanted})
        assert response.status_code == 422
        assert "LITELLM_ENABLE_MCP_STDIO" in response.text
    with furnished.client() as client:
        for command in ("bash", "/bin/sh", "/tmp/evil/python4"):
            response = client.post("/v1/mcp/server", json={**servers.body(), **wanted, "command": command})
            assert response.status_code == 422
            assert "allowed commands" in response.text
        made = servers.created(client, **wanted)
        assert made["command"] == "python3"
        smuggled = client.put(path(made["server_id"]), json={"command": "bash"})
        assert smuggled.status_code == 422, "a change that names no transport passes the same check"
        assert client.get(path(made["server_id"])).json()["command"] == "python3"
        assert client.delete(path(made["server_id"])).status_code == 202


@pytest.mark.requirement("MCP-03")
def test_words_of_litellms_paths_are_left_to_it(client: httpx.Client) -> None:
    answer = client.get("/v1/mcp/server/submissions")
    assert "Database not connected" in error(answer), "stock's own handler"

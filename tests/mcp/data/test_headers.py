"""What an upstream sees of a caller: nothing that was not meant for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tests.mcp.data.calling import call, error, result
from tests.mcp.data.conftest import CONFIG, NETWORK, OwnBackend, Register, Shared, recorded
from tests.mcp.relayed import called
from tests.support.mcp_backends import Speaks, mcp_server
from tests.support.proxy import Proxy, merge, running_proxy

pytestmark = pytest.mark.requirement("MCP-08")

KEY_HEADERS = (
    "x-litellm-api-key",
    "api-key",
    "x-api-key",
    "x-goog-api-key",
    "Ocp-Apim-Subscription-Key",
)


def headers_of_calls(server: Any) -> Mapping[str, str]:
    """What came with the last tool call."""
    seen = [each for each in server.backend.seen() if each.rpc_method == "tools/call"]
    return dict(seen[-1].headers)


@pytest.mark.parametrize("speaks", NETWORK)
@pytest.mark.parametrize("header", ["Authorization", *KEY_HEADERS])
def test_the_callers_key_stays_here_whatever_header_it_came_in(
    calling_proxy: Proxy, registered: Register, backend_that: Shared, speaks: Speaks, header: str
) -> None:
    passed_on = ["authorization", "cookie", *KEY_HEADERS]
    server = registered(backend_that(speaks), "keyed", extra_headers=passed_on)
    key = calling_proxy.add_key(object_permission={"mcp_servers": [server.server_id]})
    value = f"Bearer {key}" if header in ("Authorization", "x-litellm-api-key") else key
    others = {"cookie": "token=of-a-session", "proxy-authorization": "Basic Zm9yZWlnbg=="}
    if header == "x-litellm-api-key":  # LiteLLM looks for keys in the others only where this one holds none
        others["authorization"] = "Bearer foreign-token"
    with calling_proxy.client(None, headers={**others, header: value}) as caller:
        answer = call(caller, "add", {"a": 1, "b": 2}, server.server_id)

    assert result(answer) == 3
    told = repr([(each.headers, each.body, each.path) for each in server.backend.seen()])
    for secret in (key, "of-a-session", "Zm9yZWlnbg==", "foreign-token"):
        assert secret not in told


def test_a_key_in_the_operators_own_header_stays_here(tmp_path_factory: pytest.TempPathFactory) -> None:
    workdir = recorded(tmp_path_factory.mktemp("keyheader"))
    config = merge(CONFIG, {"general_settings": {"litellm_key_header_name": "X-Our-Key"}})
    with mcp_server(Speaks.STATELESS) as backend, running_proxy(workdir, config=config) as proxy:
        headers = {"X-Our-Key": f"Bearer {proxy.master_key}"}
        with proxy.client(None, headers=headers) as admin:
            fields = {"server_name": "own", "url": backend.url, "transport": "http", "extra_headers": ["X-Our-Key"]}
            assert admin.post("/v1/mcp/server", json=fields).status_code == 201
            assert result(call(admin, "add", {"a": 1, "b": 2}, "own")) == 3
        assert proxy.master_key not in repr(backend.seen())
        assert "x-our-key" not in repr(backend.seen()).lower()


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"auth_type": "bearer_token", "credentials": {"auth_value": "s3cret"}}, {"authorization": "Bearer s3cret"}),
        ({"auth_type": "token", "credentials": {"auth_value": "s3cret"}}, {"authorization": "token s3cret"}),
        ({"auth_type": "authorization", "credentials": {"auth_value": "Own s3cret"}}, {"authorization": "Own s3cret"}),
        ({"auth_type": "basic", "credentials": {"auth_value": "user:pw"}}, {"authorization": "Basic dXNlcjpwdw=="}),
        ({"auth_type": "api_key", "credentials": {"auth_value": "s3cret"}}, {"x-api-key": "s3cret"}),
        ({"static_headers": {"X-Static": "always"}}, {"x-static": "always"}),
    ],
)
def test_each_kind_of_credential_has_the_header_of_stock(
    client: httpx.Client, registered: Register, backend_that: Shared, fields: dict[str, Any], sent: dict[str, str]
) -> None:
    server = registered(backend_that(Speaks.STATELESS), "with_auth", **fields)

    assert result(call(client, "add", {"a": 1, "b": 2}, server.server_id)) == 3
    ours = headers_of_calls(server)
    body = {"server_id": server.server_id, "name": "add", "arguments": {"a": 1, "b": 2}}
    assert client.post("/mcp-rest/tools/call", json=body).status_code == 200
    stock = headers_of_calls(server)

    assert '"structuredContent"' in called(client, f"/mcp/{server.name}", "add", {"a": 1, "b": 2}).text
    relayed = headers_of_calls(server)

    for name, value in sent.items():
        assert ours[name] == stock[name] == relayed[name] == value


def test_what_a_caller_addresses_to_a_server_is_for_that_server_and_that_caller(
    calling_proxy: Proxy, client: httpx.Client, registered: Register, own_backend: OwnBackend
) -> None:
    server = registered(
        own_backend(Speaks.SESSIONS), "addressed", auth_type="bearer_token", credentials={"auth_value": "of-the-row"}
    )
    bystander = registered(own_backend(Speaks.SESSIONS), "bystander")
    add = {"a": 1, "b": 2}

    for user in ("ada", "bob"):
        headers = {"x-mcp-addressed-authorization": f"Bearer of-{user}", "x-mcp-addressed-x-tenant": user}
        assert result(call(client, "add", add, server.server_id, headers=headers)) == 3
        assert headers_of_calls(server)["authorization"] == f"Bearer of-{user}"
        assert headers_of_calls(server)["x-tenant"] == user
        assert result(call(client, "add", add, bystander.server_id, headers=headers)) == 3
    assert result(call(client, "add", add, server.server_id)) == 3
    assert headers_of_calls(server)["authorization"] == "Bearer of-the-row"
    assert result(call(client, "add", add, server.server_id, headers={"x-mcp-auth": "of-whoever"})) == 3
    assert headers_of_calls(server)["authorization"] == "Bearer of-whoever"

    assert "of-ada" not in repr(bystander.backend.seen())
    sessions = [each.headers.get("mcp-session-id") for each in server.backend.seen() if each.rpc_method == "tools/call"]
    assert len(set(sessions)) == 4, "a session of one credential was used with another"


def test_allowed_headers_are_passed_on_and_no_others(
    client: httpx.Client, registered: Register, backend_that: Shared
) -> None:
    server = registered(backend_that(Speaks.STATELESS), "passing", extra_headers=["X-Tenant", "Host", "Mcp-Session-Id"])
    headers = {"x-tenant": "ada", "x-other": "private", "mcp-session-id": "forged"}

    assert result(call(client, "add", {"a": 1, "b": 2}, server.server_id, headers=headers)) == 3

    seen = headers_of_calls(server)
    assert seen["x-tenant"] == "ada"
    assert "private" not in repr(seen)
    assert "forged" not in repr(seen)


@pytest.mark.parametrize("header", ["Authorization", *KEY_HEADERS])
def test_the_relay_passes_on_what_calls_pass_on(
    calling_proxy: Proxy, registered: Register, backend_that: Shared, header: str
) -> None:
    allowed = ["authorization", "cookie", "x-tenant", "host", "mcp-session-id", *KEY_HEADERS]
    server = registered(backend_that(Speaks.STATELESS), "relayed_to", extra_headers=allowed)
    key = calling_proxy.add_key(object_permission={"mcp_servers": [server.server_id]})
    value = f"Bearer {key}" if header in ("Authorization", "x-litellm-api-key") else key
    others = {"cookie": "token=of-a-session", "x-tenant": "ada", "x-other": "private", "x-mcp-relayed_to-x-own": "mine"}
    with calling_proxy.client(None, headers={**others, header: value}) as caller:
        answer = called(caller, f"/mcp/{server.name}", "add", {"a": 1, "b": 2})

    assert '"structuredContent"' in answer.text, answer.text
    seen = headers_of_calls(server)
    assert (seen["x-tenant"], seen["x-own"]) == ("ada", "mine")
    for secret in (key, "of-a-session", "private"):
        assert secret not in repr(seen)


def test_a_server_that_wants_another_credential_is_a_502_that_says_so(
    client: httpx.Client, registered: Register, own_backend: OwnBackend
) -> None:
    server = registered(own_backend(Speaks.STATELESS, require={"x-token": "right"}), "wanting")

    refused = call(client, "add", {"a": 1, "b": 2}, server.server_id)
    allowed = call(client, "add", {"a": 1, "b": 2}, server.server_id, headers={"x-mcp-wanting-x-token": "right"})

    assert "401" in str(error(refused, 502))
    assert result(allowed) == 3

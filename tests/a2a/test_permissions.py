"""Keys, refusals and spellings: nothing opens what the table of `test_permission_matrix` closes."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import Final

import pytest

from tests.a2a import permissions
from tests.a2a import registry as agents
from tests.a2a.permissions import TABLE, World
from tests.conftest import BackendOf
from tests.support.proxy import MODEL, Proxy

pytestmark = pytest.mark.requirement("A2A-13")


@pytest.fixture(scope="module")
def world(proxy: Proxy, backend_of: BackendOf) -> Iterator[World]:
    with permissions.world(proxy, backend_of("both").url) as made:
        yield made


@pytest.mark.parametrize("caller", ["plain", "granted"])
@pytest.mark.parametrize(
    "operation", [name for name in TABLE if "{agent_id}" in name and name.startswith(("GET", "POST"))]
)
def test_a_forbidden_agent_and_an_unknown_one_read_the_same(world: World, operation: str, caller: str) -> None:
    other = world.another()
    answers = []
    for reference in (other["agent_id"], other["agent_name"], agents.unique()):
        response = world.request(caller, operation, reference)
        answers.append((response.status_code, response.text.replace(reference, "?"), sorted(response.headers)))
    assert answers[0][0] == 403
    assert answers[0] == answers[1] == answers[2]
    world.drop(other)


def test_litellms_common_checks_are_on(proxy: Proxy, world: World) -> None:
    """Without both flags of the harness a key with `models` reaches any model, and this file proves nothing."""
    with proxy.client(proxy.add_key(models=["another-model"])) as narrow:
        chat = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
        refused = narrow.post("/v1/chat/completions", json=chat)
        assert refused.status_code == 403, refused.text
        assert refused.json()["error"]["type"] == "key_model_access_denied"
        assert world.clients["plain"].post("/v1/chat/completions", json=chat).status_code == 200
        assert narrow.get("/v1/agents").status_code == 200


@pytest.mark.parametrize("header", ["x-litellm-api-key", "api-key", "x-api-key", "x-goog-api-key"])
def test_every_key_header_of_litellm_works_here_as_there(proxy: Proxy, header: str) -> None:
    key = proxy.add_key()
    with proxy.client(None, headers={header: key}) as client:
        there = client.get("/v1/models").status_code
        assert client.get("/router/info").status_code == there
        assert client.get("/v1/agents").status_code == there


def test_a_key_that_has_expired_is_refused_as_on_stock(proxy: Proxy, world: World) -> None:
    grant = {"agents": [world.agent["agent_id"]]}
    with proxy.client(proxy.add_key(object_permission=grant, expires="2020-01-01T00:00:00+00:00")) as client:
        there = client.get("/v1/models")
        assert there.status_code == 401, there.text
        expired = World(world.agent, world.url, {"expired": client})
        for operation, statuses in TABLE.items():
            if statuses[0] != 401:
                continue  # open to those without any key
            here = expired.request("expired", operation, world.agent["agent_id"])
            assert here.status_code == 401, operation
            assert here.json()["error"]["type"] == there.json()["error"]["type"], operation


def test_a_key_narrowed_to_other_routes_reaches_none_of_ours(proxy: Proxy) -> None:
    with proxy.client(proxy.add_key(allowed_routes=["/v1/chat/completions"])) as client:
        for path in ("/v1/agents", "/a2a/agents", "/router/info", "/v1/agents/x"):
            assert client.get(path).status_code == 403, path


def test_viewers_see_no_backend_and_no_secret(world: World) -> None:
    admin, viewer = world.clients["admin"], world.clients["viewer"]
    agent = admin.post("/v1/agents", json=agents.body(static_headers={"X-A": "b"}, extra_headers=["x-c"])).json()
    seen = viewer.get(agents.path(agent["agent_id"])).json()
    assert seen["agent_id"] == agent["agent_id"]
    assert [seen[key] for key in ("static_headers", "extra_headers", "keys", "kill_switch", "identity")] == [None] * 5
    assert agents.NOWHERE not in str(seen)
    assert admin.delete(agents.path(agent["agent_id"])).status_code == 200


# LiteLLM's own rule, for those who ask for it


def test_default_access_litellm_is_stocks_rule(configured: Proxy) -> None:
    with configured.client() as admin:
        first, second = (admin.post("/v1/agents", json=agents.body()).json() for _ in range(2))
        call = {"jsonrpc": "2.0", "id": 1, "method": "no/such"}
        with configured.client(configured.add_key()) as plain:
            assert plain.get("/v1/agents").json() == [], "nothing is listed without a grant"
            for agent in (first, second):
                assert plain.get(agents.path(agent["agent_id"])).status_code == 200
                assert plain.post(f"/a2a/{agent['agent_id']}", json=call).status_code == 200
            assert plain.get("/v1/agents/nobody").status_code == 404
            assert plain.post("/v1/agents", json={}).status_code == 403
        grant = {"agents": [first["agent_id"]]}
        with configured.client(configured.add_key(object_permission=grant)) as granted:
            assert [each["agent_id"] for each in granted.get("/v1/agents").json()] == [first["agent_id"]]
            assert granted.post(f"/a2a/{first['agent_id']}", json=call).status_code == 200
            assert granted.post(f"/a2a/{second['agent_id']}", json=call).status_code == 403
        for agent in (first, second):
            assert admin.delete(agents.path(agent["agent_id"])).status_code == 200


# Requests that try to be something else

HOSTS: Final = ("x/health/liveliness?", "x/health/liveliness#", "x/public/agent_hub?a=", "x@y", "", "127.0.0.1:1")
TARGETS: Final = ("/v1/agents", "/v1/agents/{id}", "/a2a/agents", "/a2a/agents/{id}/card", "/router/info")
SPELLED: Final[Mapping[str, tuple[int, ...]]] = {
    "/v1/%61gents": (401,),
    "/v1%2fagents": (401,),
    "/routeiq/%61udit": (401,),
    "/v1/agents/{id}%3f": (401,),
    "/v1/agents/.": (401,),
    "/v1/agents/..": (401,),
    "/v1/agents?path=/health/liveliness": (401,),
    "//v1/agents": (404,),
    "/v1//agents": (404,),
    "/V1/agents": (404,),
    "/v1/Agents": (404,),
    "/v1/agents;x": (404,),
    "/v1/agents%20": (404,),
    "/v1/agents%00": (404,),
    "/v1/agents/%2e%2e/agents": (404,),
    "/health/liveliness/../../v1/agents": (404,),
    "/health/liveliness/%2e%2e/%2e%2e/v1/agents": (404,),
    "http://x/v1/agents": (400, 404),
    "/a2a//{id}": (404,),
    "/v1/agents/": (307,),
    "/router/info/": (307,),
    "/routeiq/audit/": (307,),
    "/a2a/agents/{id}/card/": (307,),
}
"""401 where the server reads it as a route of ours, elsewhere stock's answer to an unknown path."""


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("target", TARGETS)
def test_the_host_header_opens_nothing(proxy: Proxy, world: World, host: str, target: str) -> None:
    status, body = raw(proxy, target.replace("{id}", world.agent["agent_id"]), host)
    assert status in (400, 401), body
    assert world.agent["agent_name"] not in body


@pytest.mark.parametrize("target", SPELLED)
def test_no_spelling_of_a_path_opens_anything(proxy: Proxy, world: World, target: str) -> None:
    status, body = raw(proxy, target.replace("{id}", world.agent["agent_id"]), "x")
    assert status in SPELLED[target], body
    assert world.agent["agent_name"] not in body


@pytest.mark.parametrize("target", SPELLED)
def test_no_spelling_of_a_path_opens_another_tenants_agent(proxy: Proxy, world: World, target: str) -> None:
    path = target.replace("{id}", world.agent["agent_id"])
    key = world.clients["plain"].headers["Authorization"]
    _, body = raw(proxy, path, "x", f"Authorization: {key}\r\n")
    assert world.agent["agent_name"] not in body


def raw(proxy: Proxy, target: str, host: str, headers: str = "") -> tuple[int, str]:
    """Send a request line as it is written, which no HTTP client would, and return status and body."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n".encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    head, _, body = answer.decode().partition("\r\n\r\n")
    return int(head.split()[1]), body

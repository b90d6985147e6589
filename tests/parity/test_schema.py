"""The proxy's own documents, methods that nobody serves, and a proxy below a path: nothing of stock's gets lost."""

from __future__ import annotations

from typing import Any, Final

import httpx
import pytest

from tests.parity import reads
from tests.parity.conftest import ROOT_PATH, USER_KEY, Arms, Installation
from tests.parity.observation import observe
from tests.support.proxy import ANSWER, MODEL, Proxy

OURS: Final = (
    "/router/info",
    "/routeiq/audit",
    "/v1/agents",
    "/v1/agents/no-such",
    "/a2a/agents",
    "/a2a/agents/no-such",
    "/a2a/agents/no-such/card",
    "/a2a/no-such",
    "/a2a/no-such/",
    "/a2a/no-such/message/send",
    "/a2a/no-such/message/stream",
    "/v1/a2a/no-such/message/send",
    "/v1/a2a/no-such/message/stream",
    "/a2a/no-such/.well-known/agent-card.json",
)
METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND")
CARD: Final = {"name": "rooted", "description": "An agent", "version": "1", "protocolVersion": "1.0", "skills": []}


def owned_by_plugin(path: str, method: str) -> bool:
    """Say whether the plugin answers an operation of stock's schema."""
    return f"{method.upper()} {path}" in reads.OWNED


@pytest.mark.requirement("CORE-06")
def test_the_schema_keeps_every_stock_operation(schemas: tuple[dict[str, Any], dict[str, Any]]) -> None:
    stock, plugin = schemas
    changed = [
        f"{method} {path}"
        for path, operations in stock["paths"].items()
        for method, operation in operations.items()
        if not owned_by_plugin(path, method) and plugin["paths"].get(path, {}).get(method) != operation
    ]
    assert changed == []
    missing = [name for name in reads.OWNED if name not in operations_of(plugin) and name in operations_of(stock)]
    assert missing == []


@pytest.mark.requirement("CORE-06")
def test_the_schema_keeps_every_stock_component(schemas: tuple[dict[str, Any], dict[str, Any]]) -> None:
    stock, plugin = schemas
    changed = [
        f"{kind}.{name}"
        for kind, components in stock["components"].items()
        for name, component in components.items()
        if plugin["components"].get(kind, {}).get(name) != component
    ]
    assert changed == []
    assert {name: value for name, value in stock.items() if name not in ("paths", "components")} == {
        name: value for name, value in plugin.items() if name not in ("paths", "components")
    }


@pytest.mark.requirement("CORE-06")
def test_the_schema_gains_our_operations_and_no_others(
    schemas: tuple[dict[str, Any], dict[str, Any]], plugged: Proxy
) -> None:
    stock, plugin = schemas
    with plugged.client() as client:
        owned = set(client.get("/router/info").json()["routes"]["owned"])
    gained = operations_of(plugin) - operations_of(stock)
    assert gained <= owned
    assert {"GET /router/info", "GET /a2a/agents", "POST /a2a/agents", "GET /routeiq/audit"} <= gained


@pytest.mark.requirement("CORE-06")
@pytest.mark.parametrize("path", ["/docs", "/redoc", "/"])
def test_the_documentation_pages_are_stock_s(arms: Arms, path: str) -> None:
    stock, plugin = (_page(proxy, path) for proxy in arms)
    assert stock.status_code == (404 if path == "/docs" else 200), "stock serves its documentation at /"
    assert (plugin.status_code, plugin.text) == (stock.status_code, stock.text)


@pytest.mark.requirement("CORE-06")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", OURS)
def test_no_method_on_our_paths_is_an_internal_error(plugged: Proxy, method: str, path: str) -> None:
    for key in (plugged.master_key, USER_KEY, None):
        with plugged.client(key) as client:
            response = client.request(method, path, json={} if method in ("POST", "PUT", "PATCH") else None)
        assert response.status_code < 500, (key, response.text)


@pytest.mark.requirement("CORE-06")
@pytest.mark.parametrize("path", ["/v1/agents", "/v1/agents/no-such", "/a2a/no-such", "/v1/chat/completions"])
def test_a_browser_s_preflight_is_answered_as_stock_does(arms: Arms, path: str) -> None:
    headers = {"Origin": "https://ui.example.com", "Access-Control-Request-Method": "POST"}
    stock, plugin = (_preflight(proxy, path, headers) for proxy in arms)
    assert stock.status_code == 200
    assert observe(plugin) == observe(stock)
    assert _cors(plugin) == _cors(stock)


@pytest.mark.requirement("CORE-06")
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/v1/agents", "/v1/agents/no-such", "/a2a/no-such"])
def test_a_method_that_is_not_ours_stays_stock_s(arms: Arms, method: str, path: str) -> None:
    stock, plugin = (_request(proxy, method, path) for proxy in arms)
    assert observe(plugin) == observe(stock)


@pytest.mark.requirement("CORE-01", "CORE-06", "HLTH-01")
def test_stock_works_below_a_root_path(installation: Installation) -> None:
    with installation.rooted.client() as client:
        assert client.get(f"{ROOT_PATH}/health/liveliness").status_code == 200
        assert client.get(f"{ROOT_PATH}/health/readiness").json()["status"] == "healthy"
        models = client.get(f"{ROOT_PATH}/v1/models").json()["data"]
        assert MODEL in [model["id"] for model in models]
        question = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
        answer = client.post(f"{ROOT_PATH}/v1/chat/completions", json=question).json()
        assert answer["choices"][0]["message"]["content"] == ANSWER
        assert client.get(f"{ROOT_PATH}/redoc").status_code == 200
        assert client.get("/elsewhere/v1/models").status_code == 404


@pytest.mark.requirement("A2A-01", "A2A-02", "A2A-03", "A2A-06", "A2A-11")
def test_our_routes_work_below_a_root_path(installation: Installation) -> None:
    rooted = installation.rooted
    with rooted.client() as client:
        assert client.get(f"{ROOT_PATH}/router/info").json()["routes"]["shadowed"] == {}
        config = {"agent_name": "rooted", "agent_card_params": {**CARD, "url": f"http://127.0.0.1:{rooted.port}/"}}
        created = client.post(f"{ROOT_PATH}/v1/agents", json=config)
        assert created.status_code == 200, created.text
        agent_id = created.json()["agent_id"]
        try:
            for path in (f"/v1/agents/{agent_id}", "/v1/agents/rooted", "/a2a/agents/rooted"):
                assert client.get(ROOT_PATH + path).json()["agent_id"] == agent_id
            listed = client.get(f"{ROOT_PATH}/v1/agents").json()
            assert {"rooted", "configured-agent"} == {agent["agent_name"] for agent in listed}
            card = client.get(f"{ROOT_PATH}/a2a/rooted/.well-known/agent-card.json").json()
            assert card["url"] == f"{rooted.base_url}{ROOT_PATH}/a2a/{agent_id}"
        finally:
            assert client.delete(f"{ROOT_PATH}/v1/agents/{agent_id}").status_code == 200


@pytest.mark.requirement("CORE-06")
def test_a_missing_or_unknown_key_is_refused_below_a_root_path(installation: Installation) -> None:
    for key in (None, "sk-nobody-knows-this-key"):
        with installation.rooted.client(key) as client:
            for path in ("/router/info", "/v1/agents", "/a2a/agents", "/routeiq/audit"):
                assert client.get(ROOT_PATH + path).status_code == 401, path


def operations_of(schema: dict[str, Any]) -> set[str]:
    """List `METHOD /path` of a schema."""
    return {f"{method.upper()} {path}" for path, operations in schema["paths"].items() for method in operations}


def _page(proxy: Proxy, path: str) -> httpx.Response:
    with proxy.client(None) as client:
        return client.get(path)


def _request(proxy: Proxy, method: str, path: str) -> httpx.Response:
    with proxy.client() as client:
        return client.request(method, path)


def _preflight(proxy: Proxy, path: str, headers: dict[str, str]) -> httpx.Response:
    with proxy.client(None) as client:
        return client.options(path, headers=headers)


def _cors(response: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name.startswith("access-control-")}

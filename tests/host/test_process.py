"""LiteLLM's life and config, as the plugin reads them."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

import pytest
from starlette.requests import Request

pytestmark = pytest.mark.requirement("PKG-01")


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, proxy_server: ModuleType) -> dict[str, Any]:
    """What `get_config_state` answers."""
    state: dict[str, Any] = {}
    monkeypatch.setattr(proxy_server.proxy_config, "get_config_state", lambda: state)
    return state


def test_config_state_is_what_litellm_loaded(proxy_server: ModuleType) -> None:
    loader = proxy_server.ProxyConfig()
    loader.update_config_state({"routeiq": {"a2a": {"enabled": False}}})
    assert loader.get_config_state()["routeiq"] == {"a2a": {"enabled": False}}


def test_our_section_is_read_from_it(config: dict[str, Any]) -> None:
    from routeiq_plugin.host.config import section

    assert section() is None
    config["routeiq"] = {"a2a": {}}
    assert section() == {"a2a": {}}


def test_the_config_is_loaded_once_litellm_has_its_master_key(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, proxy_server: ModuleType
) -> None:
    from routeiq_plugin.host.lifecycle import config_is_loaded

    monkeypatch.delenv("LITELLM_MASTER_KEY", raising=False)
    config["general_settings"] = {"master_key": "sk-config"}
    monkeypatch.setattr(proxy_server, "master_key", None)
    assert not config_is_loaded()
    monkeypatch.setattr(proxy_server, "master_key", "sk-config")
    assert config_is_loaded()


async def test_we_stop_before_litellm_and_a_failure_does_not_stop_litellm(
    monkeypatch: pytest.MonkeyPatch, proxy_server: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    from routeiq_plugin.host.lifecycle import before_shutdown

    order: list[str] = []

    async def shutdown(*arguments: Any, **options: Any) -> str:
        order.append(f"litellm {arguments} {options}")
        return "done"

    async def stop() -> None:
        order.append("ours")
        raise RuntimeError("a failure of ours")

    monkeypatch.setattr(proxy_server, "proxy_shutdown_event", shutdown)
    before_shutdown(stop)
    with caplog.at_level(logging.ERROR):
        assert await proxy_server.proxy_shutdown_event(1, two=2) == "done"
    assert order == ["ours", "litellm (1,) {'two': 2}"]
    assert "a failure of ours" in caplog.text


def test_litellm_looks_its_shutdown_up_when_it_calls_it(proxy_server: ModuleType) -> None:
    names = {name for function in _functions(proxy_server) for name in function.__code__.co_names}
    assert "proxy_shutdown_event" in names, "the lifespan must not have bound it already"


def _functions(module: ModuleType) -> list[Any]:
    wrapped = (getattr(value, "__wrapped__", value) for value in vars(module).values())
    return [value for value in wrapped if hasattr(value, "__code__") and value.__module__ == module.__name__]


@pytest.mark.parametrize(
    ("configured", "environment", "root_path", "expected"),
    [
        (None, None, "", "http://host:1"),
        (None, None, "/api", "http://host:1/api"),
        ("https://public", None, "", "https://public"),
        ("https://public", "https://env", "/api", "https://public/api"),
        ("https://public/api", None, "/api", "https://public/api"),
        (None, "https://env/", "", "https://env"),
    ],
)
def test_the_base_url_is_configured_or_the_requests_own(
    monkeypatch: pytest.MonkeyPatch, configured: str | None, environment: str | None, root_path: str, expected: str
) -> None:
    from routeiq_plugin.host.config import base_url

    monkeypatch.delenv("PROXY_BASE_URL", raising=False)
    if environment is not None:
        monkeypatch.setenv("PROXY_BASE_URL", environment)
    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": f"{root_path}/v1/agents",
        "root_path": root_path,
        "query_string": b"",
        "headers": [(b"host", b"host:1")],
        "server": ("host", 1),
    }
    assert base_url(Request(scope), configured) == expected

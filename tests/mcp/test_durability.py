"""What was answered 2xx is there after the worst end of the process; what settings forbid later is not served."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx
import pytest

from tests.conftest import PLUGIN_CONFIG, ProxyFactory
from tests.mcp import servers
from tests.mcp.servers import MARKER, Server, path
from tests.mcp.test_secrets import HEADER, TOKEN, at_rest, fields, readable, works
from tests.support import processes
from tests.support.proxy import Proxy, merge
from tests.support.workers import lag

OTHER_SALT: Final = "sk-another-salt-key-3f0d9a"

SPOILER: Final = """
from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy._experimental.mcp_server.mcp_server_manager import global_mcp_server_manager as manager

class Spoiler(CustomLogger):
    async def async_pre_call_hook(self, user_api_key_dict, cache, data, call_type):
        if data.get("user") == "spoil":
            manager.registry = {}

spoiler = Spoiler()
"""
"""Does in a proxy without a database what LiteLLM does when it reloads its own: replaces all of its servers."""


@pytest.fixture(scope="module")
def strict() -> Iterator[Server]:
    """A server that answers only requests that carry both secrets."""
    with servers.server(require={"authorization": f"Bearer {TOKEN}", "x-static": HEADER}) as running:
        yield running


def info(client: httpx.Client) -> Mapping[str, Any]:
    found: Mapping[str, Any] = client.get("/router/info").json()["features"]["mcp"]
    return found


def rotate(proxy: Proxy) -> None:
    """Seal with another key beside the stopped proxy."""
    keys = {"ROUTEIQ_OLD_KEY": proxy.launch.env["LITELLM_SALT_KEY"], "ROUTEIQ_NEW_KEY": OTHER_SALT}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "routeiq_plugin.cli", "secrets", "rotate", "--config", str(proxy.config_path)),
            *("--old-key-env", "ROUTEIQ_OLD_KEY", "--new-key-env", "ROUTEIQ_NEW_KEY"),
        ],
        cwd=proxy.workdir,
        env=processes.clean_environment({**proxy.launch.env, **keys}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.requirement("MCP-02", "MCP-04", "MCP-05", "PKG-03")
def test_a_proxy_that_is_killed_restricted_and_given_another_salt_key(own_proxy: ProxyFactory, strict: Server) -> None:
    with own_proxy() as proxy, proxy.client() as client:
        kept = servers.created(client, url=strict.url, **fields())
        gone = servers.created(client)
        assert client.delete(path(gone["server_id"])).status_code == 202
        assert client.put(path(kept["server_id"]), json={"description": "kept"}).status_code == 202
        before = client.get(path(kept["server_id"])).json()
        assert before["status"] == "healthy"
        proxy.kill()
    assert readable(at_rest(proxy)) == []

    proxy = proxy.restart()
    try:
        with proxy.client() as client:
            listed = servers.listed(client)
            now = listed[kept["server_id"]]
            assert now["last_health_check"] >= before["last_health_check"], "kept, or asked again since the start"
            assert now["mcp_info"]["routeiq"]["approved_tools"] == before["mcp_info"]["routeiq"]["approved_tools"] == 2
            since = {each: now[each] for each in ("last_health_check", "mcp_info")}  # compared with what is approved?
            assert listed == {kept["server_id"]: {**before, **since}}
            assert works(client, kept)
            assert client.get(path(gone["server_id"])).status_code == 404

        proxy = proxy.restart(config=merge(PLUGIN_CONFIG, {"routeiq": {"outbound": {"allowed_hosts": []}}}))
        with proxy.client() as client:
            assert client.get(path(kept["server_id"])).json()["status"] == "unhealthy"
            assert servers.rest_tools(client) == set(), "what may not be called any more is not given to LiteLLM"
            lag(lambda: info(client)["servers_not_served"] == 1)
            told = info(client)
            assert "allowed_hosts" in told["not_served"][kept["server_id"]]
            faults = client.get("/router/info").json()["faults"]
            assert [each["where"] for each in faults] == ["feeding MCP servers"]

        allowed = PLUGIN_CONFIG["routeiq"]["outbound"]["allowed_hosts"]
        proxy = proxy.restart(
            config={"routeiq": {"outbound": {"allowed_hosts": allowed}}}, env={"LITELLM_SALT_KEY": OTHER_SALT}
        )
        with proxy.client() as client:
            lag(lambda: info(client)["unreadable_servers"] == 1)  # the proxy answers before it has read its servers
            assert servers.rest_tools(client) == set()
            own = path(kept["server_id"])
            assert client.get(own).json()["status"] == "unknown"
            assert client.put(own, json={"description": "while sealed"}).status_code == 202
            guessed = client.put(own, json={"static_headers": {"X-Static": MARKER}})
            assert guessed.status_code == 409, "there is nothing that the marker could stand for"
            assert client.put(own, json=fields()).status_code == 202
            assert works(client, kept)
            assert info(client)["unreadable_servers"] == 0
    finally:
        proxy.kill()


@pytest.mark.requirement("MCP-01", "PKG-03")
def test_what_litellm_replaced_is_given_back_and_a_rotation_is_followed(
    own_proxy: ProxyFactory, strict: Server, tmp_path: Any
) -> None:
    (tmp_path / "spoiler.py").write_text(SPOILER)
    config = merge(PLUGIN_CONFIG, {"litellm_settings": {"callbacks": ["routeiq_plugin.plugin", "spoiler.spoiler"]}})
    with own_proxy(workdir=tmp_path, config=config) as proxy, proxy.client() as client:
        kept = servers.created(client, url=strict.url, **fields())
        assert works(client, kept)
        spoil = {"model": "fake-model", "user": "spoil", "messages": [{"role": "user", "content": "x"}]}
        assert client.post("/v1/chat/completions", json=spoil).status_code == 200
        assert kept["server_id"] in servers.listed(client), "a list looks after it"
        assert works(client, kept)
        assert client.post("/v1/chat/completions", json=spoil).status_code == 200
        processes.wait_until(lambda: bool(servers.rest_tools(client)), 120, "LiteLLM's having it back by itself")
        assert client.get("/router/info").json()["faults"] == []
        proxy.stop()
        rotate(proxy)
        restarted = proxy.restart(env={"LITELLM_SALT_KEY": OTHER_SALT})
        try:
            with restarted.client() as again:
                processes.wait_until(
                    lambda: bool(servers.rest_tools(again)), 120, "LiteLLM's having it after a restart"
                )
                assert works(again, kept)
                assert info(again)["unreadable_servers"] == 0
        finally:
            restarted.kill()


@pytest.mark.requirement("MCP-01")
def test_switched_off_every_path_is_stocks(own_proxy: ProxyFactory) -> None:
    config = merge(PLUGIN_CONFIG, {"routeiq": {"mcp": {"enabled": False}, "a2a": {"enabled": False}}})
    with own_proxy(config=config) as proxy, proxy.client() as client:
        told = client.get("/router/info").json()
        assert told["features"]["mcp"] == {"state": "off"}
        assert [route for route in told["routes"]["owned"] if "mcp" in route] == []
        assert "Database not connected" in client.post("/v1/mcp/server", json=servers.body()).text
        assert "Database not connected" in client.get(path("x")).text
        assert client.get("/v1/mcp/server").json() == []

"""Two workers of one proxy: a server that one registers the other serves, and its LiteLLM too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import httpx
import pytest

from tests.conftest import PLUGIN_CONFIG
from tests.mcp import servers
from tests.mcp.servers import Server, path
from tests.support.postgres import create_database
from tests.support.proxy import Proxy, merge, running_proxy
from tests.support.workers import PATIENT, lag, one_client_each, worker_pid

ROUNDS: Final = 25
STOPPED: Final = (0, -15)
"""uvicorn raises the signal again once it has shut down in order, so that its parent learns of it."""

Record = Callable[[str, object], None]
Workers = tuple[httpx.Client, httpx.Client]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy with two workers, which both end in order."""
    config = PLUGIN_CONFIG
    if request.param == "postgresql":
        request.getfixturevalue("postgres_url")
        config = merge(config, {"routeiq": {"database_url": create_database()}})
    with running_proxy(tmp_path_factory.mktemp("pair"), workers=2, config=config, env=PATIENT) as running:
        yield running
        with running.client() as client:
            assert client.get("/router/info").json()["faults"] == []
        assert running.stop() in STOPPED
        assert running.log().count("routeiq: stopped") == 2, "one line per worker"


@pytest.fixture(scope="module")
def workers(pair: Proxy) -> Iterator[Workers]:
    """One kept-alive connection to each worker."""
    with one_client_each(pair) as both:
        yield both


@pytest.mark.requirement("MCP-02", "MCP-03")
def test_a_server_registered_on_one_worker_is_known_to_both_at_once(pair: Proxy, workers: Workers) -> None:
    misses: list[str] = []
    seen: set[int] = set()
    for round_ in range(ROUNDS):
        made = servers.created(workers[round_ % 2])
        reference = made[("server_id", "server_name")[round_ // 2 % 2]]
        for client in workers:
            read = client.get(path(reference))
            if read.status_code != 200 or read.json()["updated_at"] != made["updated_at"]:
                misses.append(read.text)
        with pair.client() as fresh:
            seen.add(worker_pid(fresh))
        assert workers[(round_ + 1) % 2].delete(path(made["server_id"])).status_code == 202
    assert misses == []
    assert seen <= set(pair.worker_pids())


@pytest.mark.requirement("MCP-01", "MCP-04", "MCP-05", "PKG-02")
def test_lists_changes_and_deletions_reach_the_other_worker_and_its_litellm(
    workers: Workers, upstream: Server, record_property: Record
) -> None:
    for here, there in (workers, workers[::-1]) * 2:
        made = servers.created(here, url=upstream.url)
        own, server_id = path(made["server_id"]), made["server_id"]
        lags = {"list": lag(lambda: server_id in there.get("/v1/mcp/server").text)}  # noqa: B023
        tools = {f"{made['alias']}-echo", f"{made['alias']}-add"}
        lags["litellm"] = lag(lambda: servers.rest_tools(there, server_id) == tools)  # noqa: B023
        updated = here.put(own, json={"allowed_tools": ["add"]}).json()
        lags["update"] = lag(lambda: there.get(own).headers["etag"] == '"2"')  # noqa: B023
        assert servers.listed(there)[server_id]["allowed_tools"] == updated["allowed_tools"] == ["add"]
        assert servers.rest_tools(there, server_id) == {f"{made['alias']}-add"}
        assert here.delete(own).status_code == 202
        lags["delete"] = lag(lambda: there.get(own).status_code == 404)  # noqa: B023
        assert f"{made['alias']}-add" not in servers.rest_tools(there)
        record_property("lag_ms", {what: round(seconds * 1000) for what, seconds in lags.items()})
        print({what: round(seconds * 1000) for what, seconds in lags.items()})


@pytest.mark.requirement("MCP-04")
def test_writers_on_both_workers_lose_no_update(workers: Workers) -> None:
    made = servers.created(workers[0])
    own = path(made["server_id"])
    for number in range(10):
        for client, field in zip(workers, ("description", "instructions"), strict=True):
            assert client.put(own, json={field: str(number)}).status_code == 202
    for client in workers:
        lag(lambda client=client: client.get(own).headers["etag"] == '"21"')  # type: ignore[misc]
        now = client.get(own).json()
        assert (now["description"], now["instructions"]) == ("9", "9")
    assert workers[0].delete(own).status_code == 202


@pytest.mark.requirement("MCP-06")
def test_what_one_worker_found_out_the_other_tells_and_asks_nobody(workers: Workers, upstream: Server) -> None:
    made = servers.created(workers[0], url=upstream.url)
    checked = workers[0].get("/v1/mcp/server/health", params={"server_ids": made["server_id"]}).json()
    assert [each["status"] for each in checked] == ["healthy"]
    asked = len(upstream.seen())
    lag(lambda: servers.listed(workers[1]).get(made["server_id"], {}).get("status") == "healthy")
    told = servers.listed(workers[1])[made["server_id"]]
    assert told["health_check_error"] is None
    assert told["last_health_check"] is not None
    assert len(upstream.seen()) == asked
    assert workers[0].delete(path(made["server_id"])).status_code == 202

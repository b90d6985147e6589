"""Two workers of one proxy: what one writes the other serves, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import httpx
import pytest

from tests.a2a import registry as agents
from tests.conftest import PLUGIN_CONFIG, BackendOf
from tests.support.postgres import create_database
from tests.support.proxy import Proxy, merge, running_proxy
from tests.support.workers import PATIENT, lag, one_client_each, worker_pid

CALLS: Final = 100
STOPPED: Final = (0, -15)
"""uvicorn raises the signal again once it has shut down in order, so that its parent learns of it."""

Record = Callable[[str, object], None]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy with two workers, which both end in order."""
    config = PLUGIN_CONFIG
    if request.param == "postgresql":
        request.getfixturevalue("postgres_url")
        config = merge(config, {"routeiq": {"database_url": create_database()}})
    with running_proxy(tmp_path_factory.mktemp("pair"), workers=2, config=config, env=PATIENT) as running:
        yield running
        assert running.stop() in STOPPED
        assert running.log().count("routeiq: stopped") == 2, "one line per worker"
        assert running.log().count("Application shutdown complete.") == 2
        assert "Traceback" not in running.log()


@pytest.fixture(scope="module")
def workers(pair: Proxy) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """One kept-alive connection to each worker."""
    with one_client_each(pair) as both:
        yield both


@pytest.mark.requirement("A2A-02", "A2A-08", "PKG-02")
def test_an_agent_created_on_one_worker_is_served_by_both_at_once(
    pair: Proxy, workers: tuple[httpx.Client, httpx.Client], backend_of: BackendOf
) -> None:
    url = backend_of("1.0").url
    seen: set[int] = set()
    misses: list[str] = []
    for round_ in range(CALLS):
        agent = workers[round_ % 2].post("/v1/agents", json=agents.body(url=url)).json()
        reference = agent[("agent_id", "agent_name")[round_ // 2 % 2]]
        for client in workers:
            read = client.get(agents.path(reference))
            if read.status_code != 200 or read.json() != agent:
                misses.append(read.text)
        with pair.client() as fresh:
            seen.add(worker_pid(fresh))
            called = agents.call(fresh, reference)
            if called.status_code != 200 or "error" in called.json():
                misses.append(called.text)
        assert workers[(round_ + 1) % 2].delete(agents.path(agent["agent_id"])).status_code == 200
    assert misses == []
    assert seen == set(pair.worker_pids())


@pytest.mark.requirement("A2A-01", "A2A-05", "A2A-06", "PKG-02")
def test_lists_updates_and_deletions_reach_the_other_worker(
    workers: tuple[httpx.Client, httpx.Client], record_property: Record
) -> None:
    for here, there in (workers, workers[::-1]) * 3:
        lags = {what: round(seconds * 1000) for what, seconds in _lags_of_one_agent(here, there).items()}
        record_property("lag_ms", lags)
        print(lags)


def _lags_of_one_agent(here: httpx.Client, there: httpx.Client) -> dict[str, float]:
    """Create, change and delete an agent on one worker; return how long each took to reach the other, in seconds."""
    agent = here.post("/v1/agents", json=agents.body()).json()
    own = agents.path(agent["agent_id"])
    lags = {"list": lag(lambda: agent["agent_id"] in there.get("/v1/agents").text)}
    updated = here.patch(own, json={"tpm_limit": 3}).json()
    lags["update"] = lag(lambda: there.get(own).json() == updated)
    assert here.delete(own).status_code == 200
    lags["delete"] = lag(lambda: there.get(own).status_code == 404)
    assert agent["agent_id"] not in there.get("/v1/agents").text
    return lags


@pytest.mark.requirement("A2A-05", "PKG-02")
def test_writers_on_both_workers_lose_no_update(workers: tuple[httpx.Client, httpx.Client]) -> None:
    agent = workers[0].post("/v1/agents", json=agents.body()).json()
    own = agents.path(agent["agent_id"])
    for number in range(10):
        for client, field in zip(workers, ("tpm_limit", "rpm_limit"), strict=True):
            assert client.patch(own, json={field: number}).status_code == 200
    for client in workers:
        lag(lambda client=client: client.get(own).headers["ETag"] == '"21"')  # type: ignore[misc]
        now = client.get(own).json()
        assert (now["tpm_limit"], now["rpm_limit"]) == (9, 9)
    stale = workers[1].patch(own, json={"tpm_limit": 1}, headers={"If-Match": '"20"'})
    assert stale.status_code == 412
    assert workers[0].delete(own).status_code == 200


@pytest.mark.requirement("RLD-04")
def test_both_workers_follow_the_same_revision(workers: tuple[httpx.Client, httpx.Client]) -> None:
    told = [client.get("/router/info").json() for client in workers]
    assert len({each["worker"]["pid"] for each in told}) == 2
    assert len({each["database"]["revision"] for each in told}) == 1
    for client in workers:
        lag(lambda client=client: _followed(client))  # type: ignore[misc]
    assert [each["faults"] for each in told] == [[], []]


def _followed(client: httpx.Client) -> bool:
    database = client.get("/router/info").json()["database"]
    return bool(database["followed"] and database["followed_revision"] == database["revision"])

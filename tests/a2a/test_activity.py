"""Daily activity over public HTTP: LiteLLM's shape, who may see what, and that no call is lost on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.a2a.calls import Registered, granted, registered, request, sending
from tests.a2a.oversight import Node, activity, days, ours, recorded, say, series, until
from tests.a2a.registry import card, info, unique
from tests.conftest import LOOPBACK, PLUGIN_CONFIG, BackendOf, ProxyFactory
from tests.support.backends import Backend
from tests.support.postgres import outage
from tests.support.proxy import PLUGIN, Proxy, merge

pytestmark = pytest.mark.requirement("A2A-12")

STOPPED = (0, -15)
PATIENT = {"TIMEOUT_WORKER_HEALTHCHECK": "120"}
"""uvicorn kills a worker that does not answer within 5 s, and begins again; on a busy machine that never ends."""


@dataclass(frozen=True)
class Scene:
    """Two tenants who share one agent, and one who was granted nothing."""

    shared: Registered
    other: Registered
    one: str
    two: str
    stranger: str
    secrets_of_two: tuple[str, ...]


@pytest.fixture(scope="module")
def scene(watched: Proxy, backend_of: BackendOf) -> Iterator[Scene]:
    """Tenant one called the shared agent 4 times (one failed), tenant two twice, and an admin the other agent once."""
    url = backend_of("1.0").url
    priced = {"cost_per_query": 0.25}
    with registered(watched, card(url), litellm_params=priced) as shared, registered(watched, card(url)) as other:
        two_names = {"user_id": unique("user"), "team_id": unique("team"), "key_alias": unique("alias")}
        one = granted(watched, shared, user_id=unique("user"), team_id=unique("team"), key_alias="alias of one")
        two = granted(watched, shared, **two_names)
        stranger = watched.add_key()
        with watched.client(one) as client:
            for _ in range(3):
                assert "result" in say(client, shared).json()
            answer = client.post(shared.url, json=request("GetTask", {"id": "nobody's"}))
            assert answer.json()["error"]["code"] == -32001
        with watched.client(two) as client:
            for stream in (False, True):
                assert say(client, shared, stream=stream).status_code == 200
        with watched.client() as client:
            assert "result" in say(client, other).json()
        recorded(watched, shared.agent_id, 6)
        recorded(watched, other.agent_id, 1)
        hidden = (*two_names.values(), sha256(two.encode()).hexdigest(), two)
        yield Scene(shared, other, one, two, stranger, hidden)


def day(told: Node) -> Node:
    """The one day of an answer; all calls of a test are of one, unless it runs over midnight."""
    assert len(told["results"]) == 1, told
    only: Node = told["results"][0]
    return only


def test_the_answer_is_litellms_own(watched: Proxy, scene: Scene) -> None:
    from litellm.types.proxy.management_endpoints.common_daily_activity import SpendAnalyticsPaginatedResponse

    told = activity(watched, agent_ids=scene.shared.agent_id)
    assert SpendAnalyticsPaginatedResponse.model_validate(told).model_dump(mode="json") == told
    found = day(told)
    assert set(found["breakdown"]) == {
        "mcp_servers", "models", "model_groups", "providers", "endpoints", "api_keys", "entities",
    }  # fmt: skip
    metrics_of = found["metrics"]
    assert metrics_of["api_requests"] == 6
    assert metrics_of["successful_requests"] == 5
    assert metrics_of["failed_requests"] == 1
    assert metrics_of["timed_requests"] == 5
    assert metrics_of["total_response_time_ms"] > 0
    assert metrics_of["spend"] == pytest.approx(5 * 0.25)
    model = f"a2a_agent/{scene.shared.name}"
    assert set(found["breakdown"]["models"]) == set(found["breakdown"]["model_groups"]) == {model}
    assert set(found["breakdown"]["providers"]) == {"a2a_agent"}
    assert set(found["breakdown"]["endpoints"]) == {"SendMessage", "SendStreamingMessage", "GetTask"}
    entity = found["breakdown"]["entities"][scene.shared.agent_id]
    assert entity["metadata"] == {"agent_name": scene.shared.name}
    assert entity["metrics"] == metrics_of
    mine = entity["api_key_breakdown"][sha256(scene.one.encode()).hexdigest()]
    assert mine["metrics"]["api_requests"] == 4
    assert mine["metadata"]["key_alias"] == "alias of one"
    assert set(found["breakdown"]["api_keys"]) == {sha256(key.encode()).hexdigest() for key in (scene.one, scene.two)}
    totals = told["metadata"]
    for name in ("spend", "api_requests", "successful_requests", "failed_requests", "timed_requests"):
        assert totals[f"total_{name}"] == metrics_of[name]
    assert totals["total_response_time_ms"] == metrics_of["total_response_time_ms"]
    assert (totals["page"], totals["total_pages"], totals["has_more"]) == (1, 1, False)


def test_who_sees_what(watched: Proxy, scene: Scene) -> None:
    viewer = watched.add_key(user_role="proxy_admin_viewer")
    both = {scene.shared.agent_id, scene.other.agent_id}
    for key in (watched.master_key, viewer):
        assert both <= set(day(activity(watched, key))["breakdown"]["entities"])
    for key, own in ((scene.one, 4), (scene.two, 2)):
        found = day(activity(watched, key))
        assert set(found["breakdown"]["entities"]) == {scene.shared.agent_id}
        assert found["metrics"]["api_requests"] == 6
        assert found["breakdown"]["api_keys"].keys() == {sha256(key.encode()).hexdigest()}
        assert found["breakdown"]["api_keys"][sha256(key.encode()).hexdigest()]["metrics"]["api_requests"] == own
    assert activity(watched, scene.stranger)["results"] == []
    assert activity(watched, scene.stranger, agent_ids=scene.shared.agent_id)["metadata"]["total_pages"] == 0


def test_nothing_of_one_tenant_is_told_to_another(watched: Proxy, scene: Scene) -> None:
    key_of_two = sha256(scene.two.encode()).hexdigest()
    for query in ({}, {"agent_ids": scene.shared.agent_id}, {"page_size": 1, "page": 2}, {"api_key": key_of_two}):
        text = json.dumps(activity(watched, scene.one, **query))
        assert not [secret for secret in (*scene.secrets_of_two, scene.other.agent_id) if secret in text]
    assert activity(watched, scene.one, api_key=key_of_two)["results"] == []
    assert activity(watched, scene.one, agent_ids=scene.other.agent_id)["results"] == []


def test_a_revoked_caller_keeps_their_own(watched: Proxy, scene: Scene) -> None:
    watched.add_key(key=scene.two, user_id=scene.secrets_of_two[0], team_id=scene.secrets_of_two[1])
    found = day(activity(watched, scene.two))
    assert found["metrics"]["api_requests"] == 2
    watched.add_key(
        key=scene.two,
        user_id=scene.secrets_of_two[0],
        team_id=scene.secrets_of_two[1],
        object_permission={"agents": [scene.shared.agent_id]},
    )


def test_filters(watched: Proxy, scene: Scene) -> None:
    def calls(**query: Any) -> int:
        return int(activity(watched, **query)["metadata"]["total_api_requests"])

    both = f"{scene.shared.agent_id},{scene.other.agent_id}"
    assert calls(agent_ids=both) == 7
    assert calls(agent_ids=both, exclude_agent_ids=scene.other.agent_id) == 6
    assert calls(agent_ids=both, model=f"a2a_agent/{scene.other.name}") == 1
    assert calls(agent_ids=both, model="gpt-4") == 0
    assert calls(agent_ids=both, api_key=sha256(scene.two.encode()).hexdigest()) == 2
    assert calls(agent_ids=both, api_key="") == 7
    assert calls(agent_ids=both, start_date="2020-01-01", end_date="2020-01-31") == 0
    assert calls(agent_ids="nothing") == 0


def test_pages(watched: Proxy, scene: Scene) -> None:
    whole = activity(watched, agent_ids=scene.shared.agent_id)["metadata"]
    pages = [activity(watched, agent_ids=scene.shared.agent_id, page=page, page_size=1) for page in range(1, 5)]
    assert [page["metadata"]["has_more"] for page in pages] == [True, True, True, False]
    assert {page["metadata"]["total_pages"] for page in pages} == {4}
    assert sum(page["metadata"]["total_api_requests"] for page in pages) == whole["total_api_requests"]
    assert activity(watched, agent_ids=scene.shared.agent_id, page=9, page_size=1)["results"] == []
    with watched.client() as client:
        default = client.get("/agent/daily/activity", params=days()).json()["metadata"]
        assert default["page"] == 1


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ({}, {"error": "Please provide start_date and end_date"}),
        ({"start_date": "2026-01-01"}, {"error": "Please provide start_date and end_date"}),
        (
            {"start_date": "2026-1-1", "end_date": "2026-01-02"},
            {"error": "start_date and end_date must be valid YYYY-MM-DD dates"},
        ),
        (
            {"start_date": "20260101", "end_date": "2026-01-02"},
            {"error": "start_date and end_date must be valid YYYY-MM-DD dates"},
        ),
        (
            {"start_date": "2026-01-01", "end_date": "2026-02-30"},
            {"error": "start_date and end_date must be valid YYYY-MM-DD dates"},
        ),
        (
            {"start_date": "2026-01-01", "end_date": "2026-01-02", "page": "0"},
            "page and page_size must be >= 1, got page=0, page_size=10",
        ),
    ],
)
def test_a_wrong_query_is_litellms_400(watched: Proxy, query: dict[str, str], detail: object) -> None:
    with watched.client() as client:
        response = client.get("/agent/daily/activity", params=query)
    assert response.status_code == 400
    assert response.json() == {"detail": detail}


def test_it_needs_a_key(watched: Proxy) -> None:
    for key in (None, "sk-nobodys"):
        with watched.client(key) as client:
            assert client.get("/agent/daily/activity", params=days()).status_code == 401


def test_what_a_deleted_agent_did_stays(watched: Proxy, backend_of: BackendOf) -> None:
    with registered(watched, card(backend_of("1.0").url)) as agent, watched.client() as client:
        say(client, agent)
    told = recorded(watched, agent.agent_id, 1)
    assert day(told)["breakdown"]["entities"][agent.agent_id]["metadata"] == {"agent_name": agent.name}


def test_aborted_streams_and_failures_are_recorded(watched: Proxy, backend_of: BackendOf) -> None:
    backend = backend_of("1.0")
    with registered(watched, card(backend.url)) as agent, watched.client() as client:
        text = unique("gate:aborted")
        body = sending(text, stream=True)
        backend.release(text.removeprefix("gate:"), 1)
        with client.stream("POST", agent.url, json=body) as response:
            assert next(response.iter_lines()).startswith("data:")
        found = day(recorded(watched, agent.agent_id, 1))["metrics"]
        assert (found["successful_requests"], found["timed_requests"]) == (1, 0)
    with registered(watched, card()) as nowhere, watched.client() as client:
        say(client, nowhere)
        assert day(recorded(watched, nowhere.agent_id, 1))["metrics"]["failed_requests"] == 1


# Nothing is lost


@contextmanager
def called(proxy: Proxy, backend: Backend, calls: int) -> Iterator[Registered]:
    """Register an agent and call it, each time on a connection of its own so that every worker has its share."""
    with proxy.client() as client:
        body = {"agent_name": unique(), "agent_card_params": card(backend.url)}
        agent = client.post("/v1/agents", json=body).json()
    found = Registered(agent["agent_id"], agent["agent_name"], proxy.base_url)
    call(proxy, found, calls)
    yield found


def call(proxy: Proxy, agent: Registered, calls: int) -> None:
    for _ in range(calls):
        with proxy.client() as client:
            assert say(client, agent).status_code == 200


@contextmanager
def restarted(proxy: Proxy) -> Iterator[Proxy]:
    again = proxy.restart()
    try:
        yield again
    finally:
        again.kill()


def total(proxy: Proxy, agent: Registered) -> int:
    return int(activity(proxy, agent_ids=agent.agent_id)["metadata"]["total_api_requests"])


def pending(proxy: Proxy) -> int:
    return int(info(proxy)["features"]["a2a"]["usage"]["pending"])


def test_one_worker_stopped_and_killed(own_proxy: ProxyFactory, backend_of: BackendOf) -> None:
    with own_proxy() as proxy, called(proxy, backend_of("1.0"), 7) as agent:
        assert proxy.stop() in STOPPED
        with restarted(proxy) as second:
            assert total(second, agent) == 7
            call(second, agent, 5)
            until(lambda: pending(second) == 0, "the recorder")
            second.kill()
        with restarted(proxy) as third:
            assert total(third, agent) == 12


def test_two_workers_stopped(own_proxy: ProxyFactory, backend_of: BackendOf, tmp_path: Path) -> None:
    """And both workers' series are one on `/metrics`."""
    env = {**PATIENT, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics")}
    config = merge(PLUGIN_CONFIG, {"litellm_settings": {"callbacks": ["prometheus", PLUGIN]}})
    with own_proxy(config=config, workers=2, env=env) as proxy, called(proxy, backend_of("1.0"), 30) as agent:
        found = series(proxy, "routeiq_a2a_requests_total", agent=agent.name)
        assert sum(found.values()) == 30, ours(proxy)
        assert sum(series(proxy, "routeiq_a2a_request_seconds_count", agent=agent.name).values()) == 30
        assert proxy.stop() in STOPPED
        with restarted(proxy) as again:
            assert total(again, agent) == 30


def test_two_workers_on_postgresql_through_an_outage(
    own_proxy: ProxyFactory, backend_of: BackendOf, fresh_database: str
) -> None:
    config = {"routeiq": {"database_url": fresh_database, "outbound": {"allowed_hosts": [LOOPBACK]}}}
    with (
        own_proxy(config=config, workers=2, env=PATIENT) as proxy,
        called(proxy, backend_of("1.0"), 10) as agent,
    ):
        with outage(fresh_database):
            statuses = []
            for _ in range(10):
                with proxy.client() as client:
                    statuses.append(client.post(agent.url, json=request("GetTask", {"id": "unknown"})).status_code)
            assert set(statuses) <= {200, 503}
        until(lambda: total(proxy, agent) == 20, "what was recorded meanwhile")
        call(proxy, agent, 10)
        assert proxy.stop() in STOPPED
        with restarted(proxy) as again:
            assert total(again, agent) == 30


def test_the_client_is_not_kept_waiting_by_the_store(watched: Proxy, backend_of: BackendOf) -> None:
    """A writer that holds the database for long stops the recorder, and no call."""
    import sqlite3
    from contextlib import closing

    with registered(watched, card(backend_of("1.0").url)) as agent, watched.client() as client:
        assert say(client, agent).status_code == 200
        recorded(watched, agent.agent_id, 1)
        with closing(sqlite3.connect(watched.workdir / "routeiq.db", isolation_level=None)) as blocker:
            blocker.execute("BEGIN IMMEDIATE")
            answer = client.post(agent.url, json=request("GetTask", {"id": "unknown"}), timeout=httpx.Timeout(4))
            assert answer.status_code == 200
            until(lambda: pending(watched) >= 1, "the recorder waiting")
            blocker.execute("ROLLBACK")
        recorded(watched, agent.agent_id, 2)

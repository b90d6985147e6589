"""Our series on LiteLLM's `/metrics`: for agents that exist and no others, whatever callers send."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from routeiq_plugin.host.metrics import MAX_AGENTS, OTHERS, AgentMetrics
from tests.a2a.calls import registered, request, sending
from tests.a2a.oversight import ours, say, series, until
from tests.a2a.registry import card, info, path
from tests.conftest import BackendOf
from tests.support.proxy import Proxy

pytestmark = pytest.mark.requirement("A2A-12")


def count(proxy: Proxy) -> int:
    """How many samples of ours there are."""
    return len(ours(proxy).splitlines())


def test_calls_are_counted_and_timed(watched: Proxy, backend_of: BackendOf) -> None:
    with registered(watched, card(backend_of("1.0").url)) as agent, watched.client() as client:
        for stream in (False, True, True):
            assert say(client, agent, stream=stream).status_code == 200
        client.post(agent.url, json=request("GetTask", {"id": "nobody's"}))

        def requests() -> dict[tuple[str, str], float]:
            found = series(watched, "routeiq_a2a_requests_total", agent=agent.name)
            return {(dict(labels)["method"], dict(labels)["outcome"]): value for labels, value in found.items()}

        wanted = {
            ("SendMessage", "success"): 1,
            ("SendStreamingMessage", "success"): 2,
            ("GetTask", "failure"): 1,
        }
        until(lambda: requests() == wanted, "the series")
        assert sum(series(watched, "routeiq_a2a_request_seconds_count", agent=agent.name).values()) == 4
        assert sum(series(watched, "routeiq_a2a_request_seconds_sum", agent=agent.name).values()) > 0
        assert list(series(watched, "routeiq_records_dropped_total").values()) == [0]
        assert info(watched)["features"]["a2a"]["usage"]["dropped"] == 0


def test_series_of_deleted_and_renamed_agents_go(watched: Proxy, backend_of: BackendOf) -> None:
    with registered(watched, card(backend_of("1.0").url)) as agent, watched.client() as client:
        say(client, agent)
        until(lambda: agent.name in ours(watched), "the series")
        renamed = f"{agent.name}-renamed"
        assert client.patch(path(agent.agent_id), json={"agent_name": renamed}).status_code == 200
        say(client, agent)
        until(lambda: f'"{renamed}"' in ours(watched), "the series of the new name")
        assert f'"{agent.name}"' not in ours(watched)
    until(lambda: agent.name not in ours(watched), "the end of the series")


async def test_unknown_agents_and_methods_make_no_series(watched: Proxy, backend_of: BackendOf) -> None:
    with registered(watched, card(backend_of("1.0").url)) as agent:
        before = await asyncio.to_thread(count, watched)
        async with watched.async_client(limits=httpx.Limits(max_connections=20)) as client:

            async def call(number: int) -> int:
                body = sending("hello") if number % 2 else request(f"Method{number}", {})
                url = agent.url if number % 4 == 0 else f"/a2a/unknown-{number}"
                return (await client.post(url, json=body)).status_code

            statuses = await asyncio.gather(*(call(number) for number in range(1000)))
        assert set(statuses) <= {200, 404}
        assert await asyncio.to_thread(count, watched) == before


def rendered(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()


def test_ten_thousand_ids_that_do_not_exist() -> None:
    registry = CollectorRegistry()
    shown = AgentMetrics(lambda agent_id: agent_id == "real", registry)
    shown.finished("real", "real agent", "SendMessage", "success", 0.1)
    before = rendered(registry)
    for number in range(10_000):
        shown.finished(f"id-{number}", f"name-{number}", "SendMessage", "success", 0.1)
        shown.breaker(f"id-{number}", f"name-{number}", "open")
    assert rendered(registry) == before


def test_more_agents_than_there_is_room_share_one_label() -> None:
    registry = CollectorRegistry()
    existing = {f"id-{number}" for number in range(MAX_AGENTS + 50)}
    shown = AgentMetrics(existing.__contains__, registry)
    for agent_id in sorted(existing):
        shown.finished(agent_id, f"name of {agent_id}", "SendMessage", "success", 0.1)
    text = rendered(registry)
    samples = [line for line in text.splitlines() if line.startswith("routeiq_a2a_requests_total{")]
    assert len(samples) == MAX_AGENTS + 1
    assert f'routeiq_a2a_requests_total{{agent="{OTHERS}",method="SendMessage",outcome="success"}} 50.0' in text
    existing.clear()
    shown.refresh_all()
    assert "name of" not in rendered(registry)


def test_without_removal_series_stay_and_show_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "/nowhere")
    existing = {"a", "b"}
    registry = CollectorRegistry()
    shown = AgentMetrics(existing.__contains__, registry)
    shown.finished("a", "calm", "SendMessage", "success", 0.1)
    shown.breaker("b", "ill", "open")
    existing.clear()
    shown.refresh(["a", "b", "never seen"])
    text = rendered(registry)
    assert 'routeiq_a2a_requests_total{agent="calm",method="SendMessage",outcome="success"} 1.0' in text
    assert 'routeiq_a2a_breaker_state{agent="ill"} 0.0' in text
    assert 'routeiq_a2a_breaker_state{agent="calm"}' not in text

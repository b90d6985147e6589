"""Agents that fail are left alone and found again: real agents stopped and started, and the rules by a fake clock."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx
import pytest

from routeiq_plugin.a2a.breaker import MAX_BACKOFF_FACTOR, BackendUnavailable, Breaker, State
from tests.a2a.calls import Registered, error_of, granted, registered, sending
from tests.a2a.oversight import FAILURES, say, series, until
from tests.a2a.registry import card, info, path
from tests.a2a.scripted import Scripted
from tests.support.backends import agent as running_agent
from tests.support.proxy import Proxy

pytestmark = pytest.mark.requirement("A2A-22")

HEALTH = "x-routeiq-agent-health"
MANY = 20


@pytest.fixture(scope="module")
def admin_client(watched: Proxy) -> Iterator[httpx.Client]:
    with watched.client() as client:
        yield client


def health(client: httpx.Client, agent: Registered) -> str:
    return client.get(path(agent.agent_id)).headers[HEALTH]


def listed(client: httpx.Client, agent: Registered) -> bool:
    answer = client.get("/v1/agents", params={"health_check": "true"})
    return agent.agent_id in {each["agent_id"] for each in answer.json()}


def open_up(client: httpx.Client, agent: Registered, *, stream: bool = False) -> int:
    """Call a failing agent until a call is refused; returns how many were not.

    Its card is served, so on a slow machine the background may have closed the breaker again before the next call.
    """
    for calls in range(MANY):
        response = client.post(agent.url, json=sending("hello", stream=stream))
        if response.status_code == 503:
            return calls
        assert response.status_code == 200
    raise AssertionError("the breaker never opened")


def test_an_agent_that_stops_and_starts_again(watched: Proxy, admin_client: httpx.Client) -> None:
    with running_agent("1.0") as backend, registered(watched, card(backend.url)) as agent:
        key = granted(watched, agent)
        with watched.client(key) as user:
            assert "result" in say(user, agent).json()
            assert health(user, agent) == "closed"
            assert listed(admin_client, agent)

            backend.stop()
            for _ in range(FAILURES):
                response = say(user, agent)
                assert response.status_code == 200
                assert "could not be reached" in error_of(response)["message"]
            for stream in (False, True):
                refused = user.post(agent.url, json=sending("hello", stream=stream, call_id="mine"))
                assert refused.status_code == 503
                assert int(refused.headers["retry-after"]) >= 1
                assert error_of(refused, "mine")["code"] == -32603
                assert str(backend.port) not in refused.text
            assert health(user, agent) != "closed"
            assert not listed(admin_client, agent)
            told = info(watched)["features"]["a2a"]["breakers"][agent.agent_id]
            assert told["agent_name"] == agent.name
            assert told["state"] in ("open", "half_open")
            assert told["failures"] >= FAILURES
            assert "breakers" not in info(watched, key)["features"]["a2a"]
            assert max(series(watched, "routeiq_a2a_breaker_state", agent=agent.name).values()) >= 1

            again = backend.restart()
            try:
                # Nobody calls: the background finds out by itself, and asks for nothing but the card.
                until(lambda: health(user, agent) == "closed", "the breaker closing")
                assert {(seen.method, seen.path) for seen in again.seen()} == {("GET", "/.well-known/agent-card.json")}
                assert "result" in say(user, agent).json()
                assert listed(admin_client, agent)
                assert agent.agent_id not in info(watched)["features"]["a2a"]["breakers"]
                assert list(series(watched, "routeiq_a2a_breaker_state", agent=agent.name).values()) == [0]
            finally:
                again.stop()


@pytest.mark.parametrize("way", ["own-error", "http-404", "http-401", "html", "json-array", "no-result", "empty"])
def test_an_answer_is_no_failure_whatever_it_says(
    watched: Proxy, script: Scripted, admin_client: httpx.Client, way: str
) -> None:
    with registered(watched, script.card(way)) as agent:
        for _ in range(FAILURES + 1):
            assert say(admin_client, agent).status_code == 200
        assert health(admin_client, agent) == "closed"


def test_mistakes_of_clients_do_not_reach_the_agent_nor_count(
    watched: Proxy, script: Scripted, admin_client: httpx.Client
) -> None:
    with registered(watched, script.card("good")) as agent:
        for _ in range(FAILURES + 1):
            admin_client.post(agent.url, json={"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {}})
            admin_client.post(agent.url, content=b"{")
            admin_client.post(agent.url, json={"jsonrpc": "2.0", "id": 1, "method": "NoSuchMethod"})
        assert health(admin_client, agent) == "closed"


@pytest.mark.parametrize("way", ["http-500", "drop", "not-http", "hang"])
@pytest.mark.parametrize("stream", [False, True], ids=["send", "stream"])
def test_what_fails_opens(watched: Proxy, script: Scripted, admin_client: httpx.Client, way: str, stream: bool) -> None:
    before = len(script.seen(way))
    with registered(watched, script.card(way)) as agent:
        calls = open_up(admin_client, agent, stream=stream)
        assert calls >= FAILURES
        assert len(script.seen(way)) == before + calls


def test_a_success_forgives(watched: Proxy, admin_client: httpx.Client) -> None:
    with running_agent("1.0") as backend, registered(watched, card(backend.url)) as agent:
        for _ in range(2):
            backend.stop()
            for _ in range(FAILURES - 1):
                say(admin_client, agent)
            again = backend.restart()
            try:
                assert "result" in say(admin_client, agent).json()
            finally:
                again.stop()
        assert health(admin_client, agent) == "closed"


def test_a_caller_who_leaves_says_nothing_about_the_agent(watched: Proxy, admin_client: httpx.Client) -> None:
    with running_agent("1.0") as backend, registered(watched, card(backend.url)) as agent:
        for number in range(FAILURES + 1):
            with pytest.raises(httpx.ReadTimeout):
                admin_client.post(agent.url, json=sending(f"gate:left-{number}"), timeout=0.5)
        backend.cancelled(at_least=FAILURES + 1)
        assert health(admin_client, agent) == "closed"


def test_a_card_alone_closes_on_probation(watched: Proxy, script: Scripted, admin_client: httpx.Client) -> None:
    """This agent shows its card and fails every call: each return costs it one call, not `failures` of them."""
    with registered(watched, script.card("http-500")) as agent:
        open_up(admin_client, agent)
        until(lambda: health(admin_client, agent) == "closed", "probation")
        assert say(admin_client, agent).status_code == 200
        told = info(watched)["features"]["a2a"]["breakers"][agent.agent_id]
        assert (told["state"], told["failures"]) == ("open", FAILURES)


def test_a_changed_agent_starts_anew(watched: Proxy, script: Scripted, admin_client: httpx.Client) -> None:
    with registered(watched, script.card("drop")) as agent:
        open_up(admin_client, agent)
        change = {"agent_card_params": script.card("good")}
        assert admin_client.patch(path(agent.agent_id), json=change).status_code == 200
        assert "result" in say(admin_client, agent).json()


def test_healthy_agents_are_not_probed(watched: Proxy, script: Scripted, admin_client: httpx.Client) -> None:
    with registered(watched, script.card("good")) as well, registered(watched, script.card("drop")) as ill:
        assert "result" in say(admin_client, well).json()
        asked = len(script.seen("good", "GET"))
        open_up(admin_client, ill)
        until(lambda: health(admin_client, ill) == "closed", "the probe of the other")
        assert len(script.seen("good", "GET")) == asked


def test_one_call_at_a_time_tries_a_half_open_agent(
    watched: Proxy, script: Scripted, admin_client: httpx.Client
) -> None:
    """The first call after the cooldown hangs; while it does, another is refused at once."""
    with registered(watched, script.card("hang")) as agent:
        open_up(admin_client, agent)
        holding = script.holding
        until(lambda: health(admin_client, agent) == "closed", "the probe, which the card answers")
        answers: list[int] = []

        def call() -> None:
            with watched.client() as client:
                answers.append(say(client, agent).status_code)

        first = threading.Thread(target=call)
        first.start()
        script.await_count("holding", holding + 1)
        first.join()
        assert answers == [200]
        assert say(admin_client, agent).status_code == 503


# The rules, by a clock of our own


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(3, 5.0, clock)


def trip(breaker: Breaker, times: int = 3) -> None:
    for _ in range(times):
        breaker.admit("a").failed()


def test_opens_after_failures_in_a_row_and_says_when_to_come_back(breaker: Breaker, clock: Clock) -> None:
    trip(breaker, 2)
    breaker.admit("a").succeeded()
    trip(breaker, 2)
    assert breaker.state("a") is State.CLOSED
    trip(breaker, 1)
    assert breaker.state("a") is State.OPEN
    clock.now += 1.5
    with pytest.raises(BackendUnavailable) as refused:
        breaker.check("a")
    assert refused.value.headers == {"Retry-After": "4"}
    assert breaker.state("b") is State.CLOSED
    assert breaker.seconds_until_due() == 3.5
    assert breaker.due() == []


def test_half_open_lets_one_through(breaker: Breaker, clock: Clock) -> None:
    trip(breaker)
    clock.now += 5
    assert breaker.due() == ["a"]
    breaker.check("a")
    trial = breaker.admit("a")
    assert breaker.state("a") is State.HALF_OPEN
    for attempt in (breaker.check, breaker.admit):
        with pytest.raises(BackendUnavailable):
            attempt("a")
    trial.succeeded()
    assert breaker.state("a") is State.CLOSED
    assert breaker.troubled() == {}


def test_backoff_doubles_to_its_ceiling_and_a_success_resets_it(breaker: Breaker, clock: Clock) -> None:
    trip(breaker)
    waits = []
    for _ in range(7):
        waits.append(breaker.retry_in("a"))
        clock.now += waits[-1]
        breaker.admit("a").failed()
    assert waits == [5, 10, 20, 40, 80, 80, 80]
    assert waits[-1] == 5 * MAX_BACKOFF_FACTOR
    clock.now += 80
    breaker.admit("a").succeeded()
    trip(breaker)
    assert breaker.retry_in("a") == 5


def test_a_trial_without_a_verdict_gives_its_place_back(breaker: Breaker, clock: Clock) -> None:
    trip(breaker)
    clock.now += 5
    breaker.admit("a").abandoned()
    breaker.admit("a").succeeded()
    assert breaker.state("a") is State.CLOSED


def test_an_answer_that_has_begun_closes_on_probation(breaker: Breaker, clock: Clock) -> None:
    trip(breaker)
    clock.now += 5
    trial = breaker.admit("a")
    trial.answered()
    assert breaker.state("a") is State.CLOSED
    trial.failed()
    assert breaker.state("a") is State.OPEN
    assert breaker.retry_in("a") == 10


def test_what_began_before_says_nothing_about_now(breaker: Breaker, clock: Clock) -> None:
    old = breaker.admit("a")
    older = breaker.admit("a")
    trip(breaker)
    old.succeeded()
    assert breaker.state("a") is State.OPEN
    clock.now += 5
    trial = breaker.admit("a")
    older.failed()
    assert breaker.state("a") is State.HALF_OPEN
    trial.succeeded()


def test_changes_are_told_once(clock: Clock) -> None:
    told: list[tuple[str, State]] = []
    breaker = Breaker(1, 5.0, clock, lambda agent_id, state: told.append((agent_id, state)))
    breaker.admit("a").succeeded()
    breaker.admit("a").failed()
    breaker.forget("a")
    breaker.forget("a")
    assert told == [("a", State.OPEN), ("a", State.CLOSED)]

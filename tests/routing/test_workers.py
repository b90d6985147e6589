"""Two workers of one proxy: an artifact that one loads again serves in both, and both put a user into one arm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx
import pytest

from tests.routing import world
from tests.routing.provider import Provider
from tests.routing.world import Versions, alias, routed
from tests.support.processes import wait_until
from tests.support.workers import one_client_each

pytestmark = [pytest.mark.requirement("RTE-03", "RTE-20"), pytest.mark.timeout(900)]

NOTICED: Final = 180.0
"""Seconds; a worker learns from the other at once, as a rule, and looks by itself every 30."""
USERS: Final = 12

Pair = tuple[httpx.Client, httpx.Client]


@pytest.fixture(scope="module")
def source(versions: Versions, tmp_path_factory: pytest.TempPathFactory) -> Versions:
    """A link of this module's own."""
    home = tmp_path_factory.mktemp("shared")
    made = Versions(home / "current", versions.homes, versions.ids)
    made.turn(0)
    return made


@pytest.fixture(scope="module")
def pair(source: Versions, upstream: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A client of each of two workers."""
    aliases = {
        "shared": alias("quality", artifact=str(source.link)),
        "trial": alias(
            "cost",
            arms=[{"name": "a", "weight": 1}, {"name": "b", "weight": 1, "strategy": "by-name"}],
        ),
    }
    with (
        routed(tmp_path_factory.mktemp("pair"), upstream, aliases, workers=2) as running,
        one_client_each(running.proxy) as each,
    ):
        yield each


def ask(client: httpx.Client, model: str, **body: Any) -> httpx.Response:
    messages = [{"role": "user", "content": world.MATHS.format(at="both workers")}]
    response = client.post("/v1/chat/completions", json={"model": model, "messages": messages, **body})
    assert response.status_code == 200, response.text
    return response


def test_an_artifact_loaded_again_by_one_serves_in_both(pair: Pair, source: Versions) -> None:
    def serve(version: int) -> Callable[[], bool]:
        def do() -> bool:
            seen = {ask(client, "shared").headers.get("x-routeiq-artifact", "none") for client in pair}
            return seen == {source.ids[version]}

        return do

    wait_until(serve(0), NOTICED, "the first version in both workers")
    for at in (1, 0):  # asked of each in turn: the other learns of it
        source.turn(at)
        told = pair[at].post("/router/reload", json={"strategy": "shared"}).json()
        assert told["errors"] == [], told
        wait_until(serve(at), NOTICED, "the other version in both workers")


def test_both_put_a_user_into_the_same_arm(pair: Pair) -> None:
    arms: dict[str, str] = {}
    for at in range(USERS):
        first, second = (ask(client, "trial", user=f"user-{at}") for client in pair)
        assert first.headers["x-routeiq-arm"] == second.headers["x-routeiq-arm"]
        assert first.headers["x-routeiq-model"] == second.headers["x-routeiq-model"]
        arms[f"user-{at}"] = first.headers["x-routeiq-arm"]
    assert set(arms.values()) == {"a", "b"}
    for client in pair:  # each worker counts what it decided itself, and says which worker it is
        told = client.get("/router/info").json()["features"]["routing"]["aliases"]["trial"]["arms"]
        counted = {name: arm["counts"].get("requests", 0) for name, arm in told.items()}
        assert counted == {name: list(arms.values()).count(name) for name in ("a", "b")}

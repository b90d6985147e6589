"""Should routing itself break, LiteLLM answers with its own alias, or refuses where that would be unchecked."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from litellm.proxy._types import UserAPIKeyAuth

from routeiq_plugin.errors import ArtifactRefused, Unavailable
from routeiq_plugin.host.models import ModelGroups
from routeiq_plugin.routing import sources
from routeiq_plugin.routing.service import Routing
from routeiq_plugin.settings import parse
from tests.routing.world import alias

pytestmark = pytest.mark.requirement("RTE-20")


class BrokenError(Exception):
    """No error of ours."""


async def broken(*_: Any) -> Any:
    raise BrokenError


def routing(faults: list[BaseException], **fields: Any) -> Routing:
    settings = parse({"routing": {"aliases": {"auto": alias("cost", **fields)}}})
    return Routing(settings.routing, lambda where, error: faults.append(error))


def request() -> dict[str, Any]:
    return {"model": "auto", "messages": [{"role": "user", "content": "hello"}], "metadata": {"tags": ["x"]}}


async def test_the_request_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelGroups, "facts", broken)
    faults: list[BaseException] = []
    data = request()
    await routing(faults).route(data, UserAPIKeyAuth(api_key="sk-1"), None)
    assert data == request()
    assert [type(each) for each in faults] == [BrokenError]


async def test_it_is_refused_where_each_candidate_must_be_the_keys_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelGroups, "facts", broken)
    faults: list[BaseException] = []
    data = request()
    with pytest.raises(Unavailable, match="cannot tell now which models this key may use"):
        await routing(faults, candidate_access="model").route(data, UserAPIKeyAuth(api_key="sk-1"), None)
    assert data == request()
    assert [type(each) for each in faults] == [BrokenError]


@pytest.mark.parametrize("access", ["alias", "model"])
async def test_an_alias_may_leave_while_its_decision_fails(access: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = routing([], candidate_access=access)

    async def leave(*_: Any) -> Any:
        made.take({}, {})
        raise BrokenError

    monkeypatch.setattr(ModelGroups, "facts", leave)
    with suppress(Unavailable):
        await made.route(request(), UserAPIKeyAuth(api_key="sk-1"), None)


async def test_a_stalled_source_holds_no_thread_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    stalled, fetched = threading.Event(), Counter[str]()

    def fetch(uri: str, _: object) -> None:
        fetched[uri] += 1
        stalled.wait()
        raise ArtifactRefused("gone")

    monkeypatch.setattr(sources, "fetch", fetch)
    names = [f"alias-{number}" for number in range(40)]
    aliases = {name: alias("quality", artifact=f"s3://bucket/{name}") for name in names}
    made = Routing(parse({"routing": {"aliases": aliases}}).routing, lambda where, error: None)
    try:
        asked = [asyncio.create_task(made.reload(names[0])) for _ in range(40)]
        asked += [asyncio.create_task(made.reload())]
        assert await asyncio.wait_for(asyncio.to_thread(lambda: True), 60)
    finally:
        stalled.set()
    told = [await each for each in asked]
    assert {word for each in told for word in each.values()} == {"gone"}
    assert fetched[f"s3://bucket/{names[0]}"] <= 2  # the one under way, and one more for all who came meanwhile
    made.close()

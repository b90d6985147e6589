"""Should routing itself break, LiteLLM answers with its own alias, or refuses where that would be unchecked."""

from __future__ import annotations

from typing import Any

import pytest
from litellm.proxy._types import UserAPIKeyAuth

from routeiq_plugin.errors import Unavailable
from routeiq_plugin.host.models import ModelGroups
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

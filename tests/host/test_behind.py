"""What is done behind an answer: after its last byte, also where nobody listens, and at once on other routes."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from routeiq_plugin.host.behind import answer_first, do_behind


def _request() -> Request:
    return Request({"type": "http", "method": "POST", "path": "/", "headers": []})


async def _answering(request: Request, told: list[str]) -> Response:
    for each in ("first", "second"):
        do_behind(request, lambda each=each: told.append(each))  # type: ignore[misc]  # mypy knows no such lambda
    told.append("ready")
    return JSONResponse({})


async def _unheard() -> Any:
    raise AssertionError("nothing is read of the request")


async def test_it_is_done_in_order_once_the_answer_is_sent() -> None:
    told: list[str] = []
    request = _request()

    async def send(message: Any) -> None:
        told.append(message["type"])

    await (await answer_first(request, _answering(request, told)))(request.scope, _unheard, send)
    assert told == ["ready", "http.response.start", "http.response.body", "first", "second"]


async def test_it_is_done_where_the_answer_cannot_be_sent() -> None:
    told: list[str] = []
    request = _request()

    async def send(message: Any) -> None:
        raise OSError("the client left")

    response = await answer_first(request, _answering(request, told))
    with pytest.raises(OSError, match="the client left"):
        await response(request.scope, _unheard, send)
    assert told == ["ready", "first", "second"]


async def test_it_is_done_where_no_answer_comes_of_it() -> None:
    told: list[str] = []
    request = _request()

    async def failing() -> Response:
        await _answering(request, told)
        raise ValueError("it cannot be rendered")

    with pytest.raises(ValueError, match="rendered"):
        await answer_first(request, failing())
    assert told == ["ready", "first", "second"]


async def test_other_routes_do_it_at_once() -> None:
    told: list[str] = []
    await _answering(_request(), told)
    assert told == ["first", "second", "ready"]

"""What is done behind an answer: LiteLLM's logging must not delay what the caller waits for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

BEHIND: Final = "routeiq.behind"
"""Key of the ASGI scope under which a request that is answered first keeps what comes after."""


def do_behind(request: Request, work: Callable[[], None]) -> None:
    """Do `work` when the request's answer is sent; at once where its route answers in another way."""
    waiting = request.scope.get(BEHIND)
    if waiting is None:
        work()
    else:
        waiting.append(work)


async def answer_first(request: Request, answering: Awaitable[Response]) -> Response:
    """Return the answer so that what `do_behind` got meanwhile is done after it, whether or not anybody listened."""
    waiting: list[Callable[[], None]] = []
    request.scope[BEHIND] = waiting
    try:
        return Followed(await answering, partial(_do, waiting))
    except BaseException:
        _do(waiting)
        raise


class Followed(Response):
    """A response behind which `work` is done: after its last byte, or when nobody is there to hear it."""

    def __init__(self, response: Response, work: Callable[[], None]) -> None:
        self._response = response
        self._work = work
        self.background = response.background
        self.status_code = response.status_code
        self.raw_headers = response.raw_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, then do it."""
        try:
            await self._response(scope, receive, send)
        finally:
            self._work()


def _do(waiting: list[Callable[[], None]]) -> None:
    while waiting:
        waiting.pop(0)()

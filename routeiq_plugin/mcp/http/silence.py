"""How long a server may be silent: as its row says, and without end while somebody thinks about what it asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

from routeiq_plugin.errors import BackendTimeout

UNBOUNDED: Final = frozenset({"subscriptions/listen", "tasks/result"})
"""Methods whose answers wait for something to happen, as the streams of GET do."""


class Silence:
    """The silence within one answer, `seconds` at the longest; None for an answer that may wait for ever."""

    def __init__(self, seconds: float | None, session: str, questions: Questions) -> None:
        self._seconds = seconds
        self._session = session
        self._questions = questions
        self._open: set[str] = set()
        self._clock: asyncio.Timeout | None = None

    async def over(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the pieces as they come; raises `BackendTimeout` when none has come for too long."""
        while (piece := await self._next(pieces)) is not None:
            yield piece

    async def _next(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        try:
            async with asyncio.timeout(None if self._open else self._seconds) as self._clock:
                return await anext(pieces, None)
        except TimeoutError:
            raise silent(self._seconds) from None
        finally:
            self._clock = None

    def heard(self, message: Any) -> None:
        """Hear what the server said; while a question of its own is open its silence has no limit."""
        if not isinstance(message, dict) or "method" not in message:
            return
        if "id" in message:
            question = _name(message["id"])
            self._open.add(question)
            self._questions.open[self._session, question] = self
        elif message["method"] == "notifications/cancelled" and isinstance(message.get("params"), dict):
            self.answered(_name(message["params"].get("requestId")))

    def answered(self, question: str) -> None:
        """Hear that the server waits no more for an answer; after the last one its time begins anew."""
        self._open.discard(question)
        self._questions.open.pop((self._session, question), None)
        if not self._open and self._clock is not None and self._seconds is not None:
            self._clock.reschedule(asyncio.get_running_loop().time() + self._seconds)

    def ended(self) -> None:
        """Forget what is open: nobody listens any more."""
        for question in self._open:
            self._questions.open.pop((self._session, question), None)


class Questions:
    """What servers asked on this worker's streams, and nobody has answered yet.

    An answer that another worker carries is not heard of here: the server may then be silent until its stream ends.
    """

    def __init__(self) -> None:
        self.open: dict[tuple[str, str], Silence] = {}

    def answered(self, session: str, message: Any) -> None:
        """Hear what a client said, once the server has it, be it an answer or not."""
        if not isinstance(message, dict) or "method" in message or "id" not in message:
            return
        question = _name(message["id"])
        silence = self.open.get((session, question))
        if silence is not None:
            silence.answered(question)


def silent(seconds: float | None) -> BackendTimeout:
    """Word what a client is told of a server that does not speak."""
    return BackendTimeout({"error": "timeout", "message": f"the MCP server was silent for {seconds}s"})


def _name(request_id: Any) -> str:
    return json.dumps(request_id)

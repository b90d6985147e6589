"""When the silence of a server is too long, and while it has no limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import pytest

from routeiq_plugin.errors import BackendTimeout
from routeiq_plugin.mcp.http.silence import Questions, Silence

pytestmark = pytest.mark.requirement("MCP-21")

SECONDS: Final = 0.01
ASKED: Final = {"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {}}
WITHDRAWN: Final = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
ANSWER: Final = {"jsonrpc": "2.0", "id": 1, "result": {}}
SESSION: Final = "a session"


async def held(gate: asyncio.Event) -> AsyncIterator[bytes]:
    """Say something when the gate opens, and then nothing more."""
    await gate.wait()
    yield b"something"
    await asyncio.Event().wait()


async def too_long(silence: Silence) -> None:
    """Listen to who never speaks."""
    with pytest.raises(BackendTimeout):
        await anext(aiter(silence.over(held(asyncio.Event()))))


async def outlasts(silence: Silence) -> None:
    """Listen to who speaks after another, listened to later and as long, was silent for too long."""
    gate = asyncio.Event()
    pieces = aiter(silence.over(held(gate)))
    listening = asyncio.ensure_future(anext(pieces))
    await asyncio.sleep(0)
    await too_long(Silence(SECONDS, SESSION, Questions()))
    gate.set()
    assert await listening == b"something"


async def test_silence_ends_and_may_be_without_limit() -> None:
    await too_long(Silence(SECONDS, SESSION, Questions()))
    await outlasts(Silence(None, SESSION, Questions()))


async def test_each_piece_has_time_of_its_own() -> None:
    gate = asyncio.Event()
    gate.set()
    pieces = aiter(Silence(SECONDS, SESSION, Questions()).over(held(gate)))
    assert await anext(pieces) == b"something"
    with pytest.raises(BackendTimeout):
        await anext(pieces)


@pytest.mark.parametrize(
    ("session", "answer"),
    [
        ("another", ANSWER),
        (SESSION, {**ANSWER, "id": 2}),
        (SESSION, {**ANSWER, "id": "1"}),
        (SESSION, {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}),
        (SESSION, {"jsonrpc": "2.0", "method": "notifications/progress"}),
        (SESSION, None),
    ],
)
async def test_a_question_is_open_until_its_own_answer(session: str, answer: Any) -> None:
    questions = Questions()
    silence = Silence(SECONDS, SESSION, questions)
    silence.heard(ASKED)
    questions.answered(session, answer)
    await outlasts(silence)


async def test_all_questions_count() -> None:
    questions = Questions()
    silence = Silence(SECONDS, SESSION, questions)
    silence.heard(ASKED)
    silence.heard({**ASKED, "id": "1"})
    questions.answered(SESSION, ANSWER)
    await outlasts(silence)
    questions.answered(SESSION, {**ANSWER, "id": "1"})
    await too_long(silence)


@pytest.mark.parametrize("refused", [{"error": {"code": -1, "message": "no"}}, {"result": {}}])
async def test_an_answer_begins_the_time_anew_in_the_midst_of_the_silence(refused: Mapping[str, Any]) -> None:
    questions = Questions()
    silence = Silence(SECONDS, SESSION, questions)
    silence.heard(ASKED)
    listening = asyncio.ensure_future(too_long(silence))
    await asyncio.sleep(0)
    questions.answered(SESSION, {"jsonrpc": "2.0", "id": 1, **refused})
    await listening


async def test_a_question_that_is_withdrawn_is_not_waited_for() -> None:
    silence = Silence(SECONDS, SESSION, Questions())
    silence.heard(ASKED)
    silence.heard(WITHDRAWN)
    await too_long(silence)


@pytest.mark.parametrize(
    "message", [{**WITHDRAWN, "params": None}, {**WITHDRAWN, "params": {}}, None, [], "text", ANSWER]
)
async def test_whatever_a_server_says_is_heard(message: Any) -> None:
    silence = Silence(SECONDS, SESSION, Questions())
    silence.heard(message)
    await too_long(silence)


def test_nothing_is_kept_of_a_stream_that_is_over() -> None:
    questions = Questions()
    silence, other = Silence(SECONDS, SESSION, questions), Silence(SECONDS, "another", questions)
    silence.heard(ASKED)
    other.heard(ASKED)
    silence.ended()
    assert questions.open == {("another", "1"): other}
    questions.answered(SESSION, ANSWER)
    other.ended()
    assert questions.open == {}

"""The bounds alone, with a clock that is told the time and chunks cut anywhere."""

from __future__ import annotations

import random
import re

import pytest

from routeiq_plugin.errors import BackendResponseTooLarge, BackendTimeout
from routeiq_plugin.outbound.bodies import EventBound, Limits, TotalBound

LIMITS = Limits(max_bytes=40, timeout=6)


def test_a_body_that_drips_ends_at_ten_times_the_timeout() -> None:
    times = iter((100.0, 130.0, 160.0, 160.1))
    bound = TotalBound(LIMITS, lambda: next(times))
    bound.feed(b"x")
    bound.feed(b"x")
    with pytest.raises(BackendTimeout):
        bound.feed(b"x")


def _longest_event(stream: bytes) -> int:
    """Measure as a parser of the whole text would: an event ends with its blank line."""
    longest = start = 0
    ends = [match.span() for match in re.finditer(rb"\r\n|\n|\r", stream)]
    index = 1
    while index < len(ends):
        if ends[index][0] == ends[index - 1][1]:
            longest = max(longest, ends[index][1] - start)
            start = ends[index][1]
            index += 1
        index += 1
    return max(longest, len(stream) - start)


def _accepted(stream: bytes, cuts: list[int]) -> bool:
    bound = EventBound(LIMITS)
    try:
        for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            bound.feed(stream[begin:end])
    except BackendResponseTooLarge:
        return False
    return True


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_events_are_bounded_alike_however_the_stream_is_cut(ending: bytes) -> None:
    draw = random.Random(3)
    seen = set()
    for _ in range(2000):
        events = [b"data: " + b"x" * draw.randrange(36) + ending + ending for _ in range(draw.randint(1, 6))]
        stream = b"".join(events) + b"y" * draw.randrange(45)
        cuts = sorted(draw.sample(range(len(stream) + 1), draw.randint(0, min(6, len(stream)))))
        longest = _longest_event(stream)
        if longest == LIMITS.max_bytes + 1:
            continue  # a cut inside the last CRLF leaves its LF to the next event: one byte, either way
        expected = longest <= LIMITS.max_bytes
        assert _accepted(stream, cuts) == expected, (stream, cuts)
        seen.add(expected)
    assert seen == {True, False}


def test_lines_without_a_blank_one_are_one_event() -> None:
    for ending in (b"\n", b"\r\n", b"\r"):
        assert not _accepted((b"data: x" + ending) * 10, [3, 9, 17, 25])

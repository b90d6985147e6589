"""The characters at which the SDK's client would cut an event in two."""

from __future__ import annotations

import json

import pytest

from routeiq_plugin.outbound.events import Separators

TEXT = "a\u2028b\u2029c\x85d\u20acq\u00e9\U0001f600\u2027\u202a"


@pytest.mark.requirement("A2A-10")
@pytest.mark.parametrize("size", [1, 2, 3, 5, 10_000])
def test_separators_are_escaped_wherever_a_chunk_ends(size: int) -> None:
    whole = json.dumps({"text": TEXT}, ensure_ascii=False).encode()
    separators = Separators()
    pieces = [separators.feed(whole[start : start + size]) for start in range(0, len(whole), size)]
    read = b"".join([*pieces, separators.finish()])
    assert json.loads(read) == {"text": TEXT}
    assert len(read.decode().splitlines()) == 1


@pytest.mark.requirement("A2A-10")
@pytest.mark.parametrize("cut", [b"x\xe2", b"x\xe2\x80", b"x\xc2", b"x", b""])
def test_what_is_cut_short_is_passed_on_as_it_is(cut: bytes) -> None:
    separators = Separators()
    assert separators.feed(cut) + separators.finish() == cut

"""The list of requirements and the tests that prove them say the same."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.requirements import BY_ID, ROWS, Kind, State
from tests.support.traceability import Traceability


def test_every_row_is_listed_once() -> None:
    counts = Counter(row.id for row in ROWS)
    assert [row_id for row_id, count in counts.items() if count > 1] == []
    assert len(BY_ID) == len(ROWS)


def test_every_row_says_what_it_is() -> None:
    assert [row.id for row in ROWS if not row.text] == []
    assert {row.kind for row in ROWS} == set(Kind)
    assert [row.id for row in ROWS if row.note and row.state is State.PLANNED] == []


def test_no_test_names_an_unknown_or_a_planned_row(traceability: Traceability) -> None:
    assert traceability.misnamed() == []


def test_every_built_row_has_a_test(traceability: Traceability) -> None:
    if not traceability.whole:
        pytest.skip("only a part of the tests was collected")
    assert [f"{row.id} {row.text}" for row in traceability.untested()] == []

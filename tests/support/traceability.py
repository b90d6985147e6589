"""Which test proves which row of `tests/requirements.py`, noted while pytest collects and runs, told at the end.

Tests that run in another process (pytest-xdist) tell their rows in their reports.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.requirements import BY_ID, ROWS, Requirement, State

MARKER: Final = "requirement"
TESTS: Final = Path(__file__).resolve().parents[1]

_NARROWING: Final = ("ignore", "ignore_glob", "deselect", "lf", "last_failed")
"""Options that make pytest collect less than it was pointed at."""


class Traceability:
    """A pytest plugin: rows to tests, and whether one of them passed in this run."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._tests: dict[str, set[str]] = defaultdict(set)
        self._proved: set[object] = set()
        self._reported = True

    @property
    def whole(self) -> bool:
        """Say whether pytest was asked to collect every test there is; which of them then run is another matter."""
        arguments = {(self._config.invocation_params.dir / name).resolve() for name in self._config.args}
        everything = arguments in ({TESTS}, {TESTS.parent})
        return everything and not any(self._config.getoption(name, None) for name in _NARROWING)

    def untested(self) -> list[Requirement]:
        """Built rows that no collected test names."""
        return [row for row in ROWS if row.state is State.BUILT and not self._tests[row.id]]

    def misnamed(self) -> list[str]:
        """Tests that name a row which does not exist or is still planned, each with its complaint."""
        return [
            f"{test}: {_complaint(row_id)}"
            for row_id, tests in sorted(self._tests.items())
            for test in sorted(tests)
            if _complaint(row_id)
        ]

    def unproved(self) -> list[Requirement]:
        """Built rows whose tests were all skipped: a skipped proof is none."""
        return [row for row in ROWS if row.state is State.BUILT and row.id not in self._proved]

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: Sequence[pytest.Item]) -> None:
        """Note the marks before -k and -m thin the items out."""
        for item in items:
            for mark in item.iter_markers(MARKER):
                for row_id in mark.args:
                    self._tests[row_id].add(item.nodeid)
                    item.user_properties.append((MARKER, row_id))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what passed."""
        if report.when == "call" and report.passed:
            self._proved.update(value for name, value in report.user_properties if name == MARKER)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Fail a whole, otherwise green run that left a built row without a passing test."""
        if hasattr(self._config, "workerinput"):  # the process that has all reports judges
            return
        self._reported = exitstatus == pytest.ExitCode.OK and self._everything_ran()
        if self._reported and self.unproved():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print how much is built and, row by row, what is not."""
        planned = [row for row in ROWS if row.state is State.PLANNED]
        terminalreporter.section("requirements")
        terminalreporter.line(f"{len(ROWS) - len(planned)} built, {len(planned)} planned, {len(ROWS)} in all")
        for row in planned:
            terminalreporter.line(f"planned   {row.id:8} {row.text}")
        for row in ROWS:
            if row.note:
                terminalreporter.line(f"in part   {row.id:8} {row.note}")
        if not self.whole:
            terminalreporter.line("only a part of the tests was collected: rows without a test were not looked for")
        elif self._reported:
            for row in self.unproved():
                terminalreporter.line(f"UNPROVED  {row.id:8} no test of this built row passed in this run", red=True)

    def _everything_ran(self) -> bool:
        options = self._config.option
        return self.whole and not (options.keyword or options.markexpr or options.collectonly)


def _complaint(row_id: str) -> str:
    row = BY_ID.get(row_id)
    if row is None:
        return f"there is no row {row_id}"
    return f"{row_id} is still planned in tests/requirements.py" if row.state is State.PLANNED else ""

"""The official MCP conformance suite against the reference server, directly and through the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.mcp.conformance.shim import shim
from tests.mcp.conformance.suite import REVISIONS, SCORED, Report, Revision, Suite
from tests.mcp.relayed import Relayed

pytestmark = pytest.mark.requirement("MCP-21")

EXPECTED: Final = Path(__file__).parent
ATTEMPTS: Final = 3
"""The suite gives some streams half a second, which a busy machine may not have; what is wrong stays wrong."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("revision", REVISIONS)
def test_a_server_behind_the_gateway_passes_what_it_passes_alone(
    suite: Suite, reference: str, through_gateway: str, revision: Revision, tmp_path: Path
) -> None:
    """`expected-failures-*.yml` excuse nothing but what they name, and name nothing that passes: the suite checks."""
    expected = EXPECTED / f"expected-failures-{revision}.yml"
    for attempt in range(ATTEMPTS):
        alone = suite.run(reference, revision, tmp_path / f"alone-{attempt}", expected)
        behind = suite.run(through_gateway, revision, tmp_path / f"behind-{attempt}", expected)
        if alone.returncode == behind.returncode == 0 and _outcome(alone) == _outcome(behind):
            break
    for report in (alone, behind):
        assert report.returncode == 0, report.text
        assert len(report.checks) >= SCORED[revision], report.text
    assert _outcome(behind) == _outcome(alone)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "revision"), [("stateless", "2025-11-25"), ("with_sessions", "2026-07-28")])
def test_a_server_of_one_generation_passes_in_the_other(
    suite: Suite, reference_servers: Mapping[str, Relayed], name: str, revision: Revision, tmp_path: Path
) -> None:
    """Nothing but the gateway speaks what the suite does."""
    behind = reference_servers[name]
    _require_passing(suite, Case(behind, behind.path, revision, "translated"), tmp_path)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("revision", REVISIONS)
def test_a_server_passes_as_the_only_one_of_all_that_a_key_may_use(
    suite: Suite, relayed: Relayed, revision: Revision, tmp_path: Path
) -> None:
    """At `/mcp`, where names are listed behind the server's prefix, and its own are understood."""
    _require_passing(suite, Case(relayed, "/mcp", revision, "aggregate"), tmp_path)


@dataclass(frozen=True)
class Case:
    """What is asked of a server behind the gateway."""

    behind: Relayed
    path: str
    revision: Revision
    expected: str


def _require_passing(suite: Suite, case: Case, results: Path) -> None:
    with shim(case.behind.proxy.port, case.behind.key()) as port:
        for attempt in range(ATTEMPTS):
            url = f"http://127.0.0.1:{port}{case.path}"
            expected = EXPECTED / f"expected-failures-{case.revision}-{case.expected}.yml"
            report = suite.run(url, case.revision, results / str(attempt), expected)
            if report.returncode == 0:
                break
    assert report.returncode == 0, report.text
    assert len(report.checks) >= SCORED[case.revision], report.text


def _outcome(report: Report) -> tuple[dict[str, list[str]], dict[str, int]]:
    return report.failing(), _passed(report)


def _passed(report: Report) -> dict[str, int]:
    """Count by scenario: a check that was left out has not passed."""
    return {scenario: [status for _, status in checks].count("SUCCESS") for scenario, checks in report.checks.items()}

"""The official conformance suite, installed from its lock file, and what one run of it says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

PINNED: Final = Path(__file__).with_name("npm")
RUN_SECONDS: Final = 180.0
INSTALL_SECONDS: Final = 240.0

Revision = Literal["2025-11-25", "2026-07-28"]
REVISIONS: Final[tuple[Revision, ...]] = ("2025-11-25", "2026-07-28")
SCORED: Final[Mapping[Revision, int]] = {"2025-11-25": 30, "2026-07-28": 37}
"""Scenarios that decide, by requirement set."""

_ENTRY: Final = "node_modules/@modelcontextprotocol/conformance/dist/index.js"
_FAILURES: Final = ("FAILURE", "WARNING")


class CannotInstallError(Exception):
    """This machine has no npm, or npm no packages; the message says which."""


@dataclass(frozen=True)
class Report:
    """One run: exit code, what was printed, and by scenario each check's id and status in the order of the run."""

    returncode: int
    text: str
    checks: Mapping[str, list[tuple[str, str]]]

    def failing(self) -> dict[str, list[str]]:
        """Name the checks that did not pass, by scenario."""
        found = {
            scenario: [name for name, status in checks if status in _FAILURES]
            for scenario, checks in self.checks.items()
        }
        return {scenario: names for scenario, names in found.items() if names}


@dataclass(frozen=True)
class Suite:
    """The installed runner."""

    directory: Path
    node: Path

    def run(self, url: str, revision: Revision, results: Path, expected: Path | None = None) -> Report:
        """Run a requirement set against an MCP endpoint; `results` must be a directory that is not there yet."""
        command = [str(self.node), str(self.directory / _ENTRY), "server", "--url", url, "--requirements", revision]
        command += ["--output-dir", str(results)]
        if expected is not None:
            command += ["--expected-failures", str(expected)]
        done = subprocess.run(
            command, cwd=self.directory, capture_output=True, text=True, timeout=RUN_SECONDS, stdin=subprocess.DEVNULL
        )
        return Report(done.returncode, done.stdout + done.stderr, _checks(results))


def install(directory: Path) -> Suite:
    """Install what package-lock.json pins, without running anybody's scripts; raises `CannotInstallError`."""
    npm = shutil.which("npm")
    if npm is None:
        raise CannotInstallError("npm is not installed")
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(PINNED / name, directory / name)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise CannotInstallError(f"npm did not finish within {INSTALL_SECONDS:.0f} s") from None
    if done.returncode != 0:
        raise CannotInstallError(f"npm could not install the suite: {done.stderr.strip()[-500:]}")
    found = sorted(directory.glob("node_modules/node-*/bin/node"))
    if not found:
        raise CannotInstallError(f"no Node.js is pinned for {sys.platform} on {os.uname().machine}")
    return Suite(directory, found[0])


def _checks(results: Path) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for path in sorted(results.glob("server-*/checks.json")):
        scenario = path.parent.name.removeprefix("server-").rsplit("-", 6)[0]
        checks: list[dict[str, Any]] = json.loads(path.read_text())
        found[scenario] = [(each["id"], each["status"]) for each in checks]
    return found

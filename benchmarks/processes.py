"""CPU and memory of a proxy, read from Linux's /proc, its children included."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")
MIB: Final = 1024 * 1024

_SETTLED_SECONDS: Final = 1.0
_SETTLED_SHARE: Final = 0.04
"""A process that used less of a core than this for a second has done what it does at start."""

_SETTLE_TIMEOUT: Final = 30.0


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, of its descendants, and of those that it has already reaped, in seconds."""
    return sum(_ticks(each) for each in _family(pid)) / TICKS


def resident_mib(pid: int) -> float:
    """Resident memory of a process and its descendants, in MiB."""
    pages = sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in _family(pid))
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def settle(pid: int) -> None:
    """Return when a process has become idle, or after half a minute."""
    deadline = time.monotonic() + _SETTLE_TIMEOUT
    used = cpu_seconds(pid)
    while time.monotonic() < deadline:
        time.sleep(_SETTLED_SECONDS)
        before, used = used, cpu_seconds(pid)
        if used - before < _SETTLED_SHARE * _SETTLED_SECONDS:
            return


def load_average() -> float:
    """How many processes of this machine wanted a core during the last minute."""
    return os.getloadavg()[0]


def _ticks(pid: int) -> int:
    fields = _stat(pid)
    return sum(int(fields[index]) for index in (11, 12, 13, 14))  # utime, stime, cutime, cstime


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in _family(int(child)))]

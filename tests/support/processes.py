"""Child processes that never outlive their test, and what they need from the machine: ports and an environment."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]

_PORTS: Final = range(15_000, 32_000)
"""Below Linux's ephemeral range, so that a port stays ours between a stop and a restart."""

_INHERITED: Final = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
"""An allow-list: whatever else the developer's shell holds (keys, DATABASE_URL, LITELLM_*) must not decide a test."""

_POLL_SECONDS: Final = 0.05


class StillRunningError(Exception):
    """A process ignored its signal for longer than it was given."""


def free_port(host: str = "127.0.0.1") -> int:
    """Find a TCP port on which nobody listens."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Build a child's environment from the allow-list and `extra`; it imports the same source tree as this process."""
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment["PYTHONPATH"] = str(import_root())
    environment["PYTHONUNBUFFERED"] = "1"
    return environment | dict(extra or {})


def import_root() -> Path:
    """Name the directory from which this process imports `routeiq_plugin`, without importing it."""
    spec = importlib.util.find_spec("routeiq_plugin")
    return Path(spec.origin).parents[1] if spec and spec.origin else REPOSITORY


def wait_until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    """Poll for a state of another process that it cannot announce; raises `TimeoutError` naming `what`."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout:.0f} s")
        time.sleep(_POLL_SECONDS)


def terminate(process: subprocess.Popen[bytes], timeout: float) -> int:
    """SIGTERM the process alone, as an orchestrator does; returns its exit code or raises `StillRunningError`."""
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        kill_group(process)
        raise StillRunningError(f"pid {process.pid} was still running {timeout:.0f} s after SIGTERM") from None


def kill_group(process: subprocess.Popen[Any]) -> None:
    """SIGKILL the whole process group, workers included; the process must have been started as its leader."""
    with suppress(ProcessLookupError):  # everyone is gone already, which is what was asked
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def group_is_gone(leader: int) -> bool:
    """Say whether no process of the group is left."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return True
    return False

"""The a2a-sdk 0.3.x virtualenv, built once per machine, and the official 0.3 client that runs in it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.support import processes

REQUIREMENTS: Final = ("a2a-sdk[http-server]>=0.3.26,<1", "uvicorn", "httpx")
"""Both SDK generations claim the package name `a2a`: they cannot share a virtualenv."""

_CLIENT_TIMEOUT: Final = 120.0


class LegacyClientError(Exception):
    """The official 0.3 client raised; `kind` is its exception's class name, `events` what arrived before."""

    def __init__(self, kind: str, message: str, events: list[dict[str, Any]]) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.events = events


@cache
def python() -> Path:
    """Return the interpreter of the 0.3 virtualenv, building it when this machine has none, from the package index."""
    home = _cache_directory() / f"a2a-0.3-{_fingerprint()}"
    interpreter = home / "bin" / "python"
    complete = home / ".complete"
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (complete.exists() and interpreter.exists()):
            with suppress(FileNotFoundError):
                shutil.rmtree(home)
            _build(home)
            complete.touch()
    return interpreter


def call(method: str, url: str, argument: str = "", *, key: str | None = None) -> list[dict[str, Any]]:
    """Run the official 0.3 client against the agent at `url` (its card is read below it) and return the events as JSON.

    `method` is card, send or stream (`argument`: the text), get, cancel or resubscribe (`argument`: the task id); `key`
    is sent as bearer. Raises `LegacyClientError` with what the SDK raised.
    """
    command = [str(python()), "-m", "tests.support.agents.client_v03", method, url, argument]
    done = subprocess.run(
        [*command, *(["--key", key] if key else [])],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_CLIENT_TIMEOUT,
        check=False,
    )
    events: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode == 0:
        return events
    if events and "error" in events[-1]:
        error = events.pop()["error"]
        raise LegacyClientError(error["type"], error["message"], events)
    raise RuntimeError(f"the 0.3 client ended with {done.returncode}:\n{done.stderr}")


def environment() -> Mapping[str, str]:
    """Environment of a program in that virtualenv: it reads our `tests.support.agents`, and nothing else of ours."""
    return processes.clean_environment({"PYTHONPATH": str(processes.REPOSITORY)})


def _build(home: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, stdin=subprocess.DEVNULL)
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *REQUIREMENTS], check=True, stdin=subprocess.DEVNULL)


def _cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "routeiq-tests"


def _fingerprint() -> str:
    text = "\n".join((*REQUIREMENTS, sys.version, sys.base_prefix))
    return hashlib.sha256(text.encode()).hexdigest()[:12]

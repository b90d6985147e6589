"""The a2a-sdk 0.3.x virtualenv, and the official 0.3 client that runs in it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final

from tests.support.virtualenvs import environment, python_with

REQUIREMENTS: Final = ("a2a-sdk[http-server]>=0.3.26,<1", "uvicorn", "httpx")
"""Both SDK generations claim the package name `a2a`: they cannot share a virtualenv."""

_CLIENT_TIMEOUT: Final = 120.0


class LegacyClientError(Exception):
    """The official 0.3 client raised; `kind` is its exception's class name, `events` what arrived before."""

    def __init__(self, kind: str, message: str, events: list[dict[str, Any]]) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.events = events


def python() -> Path:
    """Return the interpreter of the 0.3 virtualenv."""
    return python_with("a2a-0.3", REQUIREMENTS)


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

"""Peers of the proxy as processes of their own, which say where they listen and answer control requests."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx

from tests.support import processes

_STOP_TIMEOUT: Final = 10.0


@dataclass(frozen=True)
class Seen:
    """One request as a peer received it; header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    """Parsed JSON, or the text when it is none."""

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Seen:
        """Build it of what the peer tells."""
        return cls(told["method"], told["path"], told["headers"], _parsed(told["body"]))

    @property
    def rpc_method(self) -> str | None:
        """The JSON-RPC method, if this is a call."""
        return self.body.get("method") if isinstance(self.body, dict) else None


def start(
    command: Sequence[str], what: str, environment: Mapping[str, str] | None = None
) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """Start a program and return when it listens: the process, and the line of JSON that it greets with.

    It ends when its standard input does, and so with whoever started it; `stop` it nevertheless. Raises `RuntimeError`,
    naming `what`, when it ends without a greeting.
    """
    process = subprocess.Popen(
        command,
        cwd=processes.REPOSITORY,
        env=processes.clean_environment() if environment is None else environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout as output:
        greeting = output.readline()
    if not greeting:
        raise RuntimeError(f"the {what} ended with {process.wait()} before it listened")
    told: dict[str, Any] = json.loads(greeting)
    return process, told


def stop(process: subprocess.Popen[bytes]) -> None:
    """End it; its port refuses connections afterwards."""
    if process.stdin is not None and not process.stdin.closed:
        process.stdin.close()
    try:
        processes.terminate(process, _STOP_TIMEOUT)
    finally:
        processes.kill_group(process)


def ask(method: str, url: str, **options: Any) -> Any:
    """Send a control request; returns the JSON that answers it."""
    with httpx.Client(trust_env=False, timeout=options.pop("timeout", 30.0)) as client:
        return client.request(method, url, **options).raise_for_status().json()


def _parsed(body: str) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body

"""Run README's start command and hold it to its word: the proxy lives, and its demo model answers a chat completion.

    python scripts/prove_start.py [seconds]

Runs in the directory of README.md and litellm_config.yaml, with whatever `pip` and `python` are first on PATH; needs
httpx and PyYAML itself.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml
from readme_command import command

T = TypeVar("T")
POLL_SECONDS = 0.5
RUNNING = re.compile(rb"Uvicorn running on https?://[^:]+:(\d+)")


class NotProvedError(Exception):
    """The start command does not do what README says."""


def main(seconds: float) -> None:
    """Start, ask, stop."""
    block = command(Path("README.md").read_text(encoding="utf-8"), "start")
    deadline = time.monotonic() + seconds
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", block],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            ask(f"http://127.0.0.1:{port(process, output, deadline)}", deadline)
        except (NotProvedError, httpx.HTTPError) as problem:
            output.seek(0)
            print(output.read().decode(errors="replace")[-8000:], file=sys.stderr)
            raise SystemExit(f"README's start command: {problem}") from problem
        finally:
            stop(process)


def port(process: subprocess.Popen[bytes], output: Any, deadline: float) -> int:
    """Wait for the server's own word on where it listens: LiteLLM leaves a port that is taken."""

    def announced() -> int | None:
        if process.poll() is not None:
            raise NotProvedError(f"ended with {process.returncode}")
        found = RUNNING.search(os.pread(output.fileno(), 1 << 24, 0))
        return int(found[1]) if found else None

    return until(announced, deadline, "no server")


def ask(base_url: str, deadline: float) -> None:
    """Ask for liveliness and for one chat completion of the config's first model."""
    config = yaml.safe_load(Path("litellm_config.yaml").read_text(encoding="utf-8"))
    with httpx.Client(base_url=base_url, trust_env=False, timeout=60) as client:

        def alive() -> bool:
            return client.get("/health/liveliness").status_code == 200

        until(alive, deadline, "/health/liveliness")
        answer = client.post(
            "/v1/chat/completions",
            headers={"Authorization": f"Bearer {resolved(config['general_settings']['master_key'])}"},
            json={
                "model": config["model_list"][0]["model_name"],
                "messages": [{"role": "user", "content": "Are you there?"}],
            },
        )
    if answer.status_code != 200 or not answer.json()["choices"][0]["message"]["content"]:
        raise NotProvedError(f"chat completion: {answer.status_code} {answer.text}")
    print(f"started, and answered: {answer.json()['choices'][0]['message']['content']}")


def resolved(value: str) -> str:
    """Follow LiteLLM's `os.environ/NAME`."""
    prefix, _, name = value.partition("os.environ/")
    return os.environ[name] if not prefix and name else value


def until(probe: Callable[[], T | None], deadline: float, what: str) -> T:
    """Poll until there is an answer."""
    while True:
        try:
            answer = probe()
        except httpx.TransportError:
            answer = None
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise NotProvedError(f"{what}: not in time")
        time.sleep(POLL_SECONDS)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the whole process group, politely first."""
    for ending in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, ending)
            process.wait(timeout=30)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 600.0)

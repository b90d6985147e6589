"""The virtualenv of the SDK 1.x, and what runs in it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.mcp import servers
from tests.support.virtualenvs import environment, python_with

REQUIREMENTS: Final = ("mcp>=1.30,<2",)
_PACKAGE: Final = "tests.mcp.conformance.old"
_CLIENT_SECONDS: Final = 120.0


@contextmanager
def old_server() -> Iterator[str]:
    """Run the FastMCP server until the end of the block; gives its URL."""
    with servers.module_server(f"{_PACKAGE}.server", python=python_with("mcp-1", REQUIREMENTS)) as url:
        yield url


def conversation(url: str, key: str) -> dict[str, Any]:
    """Let the old client say everything that it can say, and return what it heard."""
    command = [str(python_with("mcp-1", REQUIREMENTS)), "-m", f"{_PACKAGE}.client", url, key]
    done = subprocess.run(
        command,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_CLIENT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    heard: dict[str, Any] = json.loads(done.stdout)
    return heard

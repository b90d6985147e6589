"""Running MCP servers: `with mcp_server(Speaks.SESSIONS) as server: ...`; `mcp_servers.server` says what they do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import httpx

from tests.support import peers, processes
from tests.support.mcp_servers.options import Options, Speaks
from tests.support.peers import Seen

__all__ = ["McpBackend", "Options", "Speaks", "mcp_server", "start"]

MODULE: Final = "tests.support.mcp_servers.server"


@dataclass(frozen=True)
class McpBackend:
    """A running MCP server."""

    options: Options
    base: str
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"{self.base}{'sse' if self.options.speaks is Speaks.SSE else 'mcp'}"

    @property
    def transport(self) -> str:
        """LiteLLM's word for how it is reached."""
        return "sse" if self.options.speaks is Speaks.SSE else "http"

    @property
    def port(self) -> int:
        """Its TCP port on 127.0.0.1."""
        return httpx.URL(self.base).port or 80

    def seen(self) -> list[Seen]:
        """Every request since it started, oldest first, control requests excepted."""
        return [Seen.read(each) for each in self._request("GET", "_seen")]

    def posts(self) -> list[str]:
        """The methods of the JSON-RPC messages that clients posted, oldest first."""
        return [str(each.rpc_method) for each in self.seen() if each.method == "POST"]

    def calls(self) -> Mapping[str, int]:
        """Executions, per tool."""
        return dict(self._request("GET", "_calls", params={"cancelled": 0, "timeout": 0})["calls"])

    def cancelled(self, *, at_least: int, timeout: float = 20.0) -> int:
        """Executions that were cancelled, once there are so many; raises `TimeoutError` when there are not."""
        query = {"cancelled": at_least, "timeout": timeout}
        count = int(self._request("GET", "_calls", params=query, timeout=timeout + 10)["cancelled"])
        if count < at_least:
            raise TimeoutError(f"{count} of {at_least} executions were cancelled within {timeout:.0f} s")
        return count

    def release(self, gate: str) -> None:
        """Let what waits at a gate go, now or when it comes."""
        self._request("POST", "_release", json={"gate": gate})

    def misbehave(self, kind: str | None) -> None:
        """Answer tool calls with this kind of nonsense from now on, or properly again."""
        self._request("POST", "_misbehave", json={"with": kind})

    def redefine(self, description: str) -> None:
        """Change what the tool `echo` says of itself, and tell clients."""
        self._request("POST", "_redefine", json={"description": description})

    def kill(self) -> None:
        """End it at once; its port refuses connections afterwards."""
        processes.kill_group(self.process)

    def stop(self) -> None:
        """End it."""
        peers.stop(self.process)

    def restart(self) -> McpBackend:
        """Start it again on the same port, without memory; stops it first if needed."""
        if self.process.poll() is None:
            self.stop()
        return start(replace(self.options, port=self.port))

    def _request(self, method: str, path: str, **options: Any) -> Any:
        return peers.ask(method, self.base + path, **options)


@contextmanager
def mcp_server(speaks: Speaks, **options: Any) -> Iterator[McpBackend]:
    """Run a server; the options are those of `Options`."""
    running = start(Options(speaks, port=processes.free_port(), **options))
    try:
        yield running
    finally:
        running.stop()


def start(options: Options) -> McpBackend:
    """Start a server and return when it listens; the caller stops it."""
    process, greeting = peers.start([sys.executable, "-m", MODULE, options.to_json()], "MCP server")
    return McpBackend(options, greeting["url"], process)

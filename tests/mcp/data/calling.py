"""What the tests of the data paths share: servers that are registered for a test, and calls of what they offer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from tests.support import processes
from tests.support.mcp_backends import McpBackend
from tests.support.proxy import Proxy

PATIENCE: Final = 30.0
"""Seconds until a test gives up on what happens in the background."""
TIMEOUT: Final = 4
"""Seconds that the proxy waits for a server."""

Node = dict[str, Any]


@dataclass(frozen=True)
class Registered:
    """A server of the proxy's."""

    server_id: str
    name: str
    backend: McpBackend


def register(client: httpx.Client, name: str, **fields: Any) -> str:
    """Register a server; returns its id."""
    answer = client.post("/v1/mcp/server", json={"server_name": name, "alias": name, **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["server_id"])


def delete(client: httpx.Client, server_id: str) -> None:
    """Delete a server."""
    assert client.delete(f"/v1/mcp/server/{server_id}").status_code in (202, 404)


def call(
    client: httpx.Client,
    name: str,
    arguments: Mapping[str, Any] | None = None,
    server: str | None = None,
    **options: Any,
) -> httpx.Response:
    """Call a tool, on a server that is named or by a name that says which."""
    body = {"name": name, "arguments": dict(arguments or {}), **({"server_id": server} if server else {})}
    return client.post("/mcp/tools/call", json=body, **options)


def result(response: httpx.Response) -> Any:
    """The structured result of a call that went well."""
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["isError"] is False, answer
    return answer["structuredContent"]["result"]


def error(response: httpx.Response, status: int) -> Node:
    """The detail of a refusal."""
    assert response.status_code == status, response.text
    detail: Node = response.json()["detail"]
    return detail


def names(response: httpx.Response, kind: str = "tools") -> list[str]:
    """The names in a list."""
    assert response.status_code == 200, response.text
    return [str(each.get("name")) for each in response.json()[kind]]


Event = Mapping[str, Any]


@dataclass(frozen=True)
class Events:
    """What the callbacks of a proxy were told of tool calls."""

    path: Path

    @classmethod
    def of(cls, proxy: Proxy) -> Events:
        """Read those of a proxy whose callbacks include the recorder."""
        return cls(proxy.workdir / "mcp_events.jsonl")

    def all(self) -> Sequence[Event]:
        """Every line so far; a last one that is still being written is left out."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def since(self, count: int, *, ends: int = 1) -> Sequence[Event]:
        """Return what came after the first `count` lines, once so many calls have ended."""
        processes.wait_until(
            lambda: sum(each["event"] in ("success", "failure") for each in self.all()[count:]) >= ends,
            PATIENCE,
            f"{ends} ends of MCP calls",
        )
        return self.all()[count:]

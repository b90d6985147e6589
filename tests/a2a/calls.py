"""Agents registered for one test, and calls of them as clients of either protocol version write them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import httpx

from tests.a2a.registry import path, unique
from tests.support.proxy import Proxy

Wire = Literal["0.3", "1.0"]

SEND: Final[Mapping[Wire, str]] = {"0.3": "message/send", "1.0": "SendMessage"}
STREAM: Final[Mapping[Wire, str]] = {"0.3": "message/stream", "1.0": "SendStreamingMessage"}
VERSION: Final = "A2A-Version"


@dataclass(frozen=True)
class Registered:
    """An agent of the gateway."""

    agent_id: str
    name: str
    base_url: str

    @property
    def url(self) -> str:
        """Where clients find it, by id."""
        return f"{self.base_url}{path(self.agent_id, '/a2a')}"

    @property
    def named_url(self) -> str:
        """Where clients find it, by name."""
        return f"{self.base_url}{path(self.name, '/a2a')}"


@contextmanager
def registered(
    proxy: Proxy, card: Mapping[str, Any], name: str | None = None, *, admin: httpx.Client | None = None, **fields: Any
) -> Iterator[Registered]:
    """Register an agent and delete it afterwards, through `admin` where the master key goes into another header."""
    with admin or proxy.client() as client:
        body = {"agent_name": name or unique(), "agent_card_params": dict(card), **fields}
        answer = client.post("/v1/agents", json=body)
        assert answer.status_code == 200, answer.text
        agent = answer.json()
        try:
            yield Registered(agent["agent_id"], agent["agent_name"], proxy.base_url)
        finally:
            assert client.delete(path(agent["agent_id"])).status_code in (200, 404)


def granted(proxy: Proxy, *agents: Registered, **fields: Any) -> str:
    """Create an internal user's key that may call these agents."""
    return proxy.add_key(object_permission={"agents": [agent.agent_id for agent in agents]}, **fields)


def message(text: str, wire: Wire = "1.0") -> dict[str, Any]:
    """Build the params that say `text`."""
    said: dict[str, Any] = {"messageId": secrets.token_hex(8)}
    if wire == "0.3":
        said |= {"kind": "message", "role": "user", "parts": [{"kind": "text", "text": text}]}
    else:
        said |= {"role": "ROLE_USER", "parts": [{"text": text}]}
    return {"message": said}


def request(method: str, params: Any, call_id: Any = 1) -> dict[str, Any]:
    """Build a JSON-RPC request."""
    return {"jsonrpc": "2.0", "id": call_id, "method": method, "params": params}


def sending(text: str, wire: Wire = "1.0", *, stream: bool = False, call_id: Any = 1) -> dict[str, Any]:
    """Build the request that says `text`."""
    return request((STREAM if stream else SEND)[wire], message(text, wire), call_id)


def answers(response: httpx.Response) -> list[dict[str, Any]]:
    """Read a JSON-RPC answer, or each of an event stream."""
    if response.headers["content-type"].startswith("text/event-stream"):
        return [
            json.loads(line.removeprefix("data:")) for line in response.text.splitlines() if line.startswith("data:")
        ]
    return [response.json()]


def error_of(response: httpx.Response, call_id: Any = 1) -> dict[str, Any]:
    """Return the JSON-RPC error with which the answer ends; fails the test for anything else."""
    last = answers(response)[-1]
    assert last["jsonrpc"] == "2.0", last
    assert last["id"] == call_id, last
    assert "result" not in last, last
    error: dict[str, Any] = last["error"]
    assert isinstance(error["code"], int), last
    assert isinstance(error["message"], str), last
    return error


def text_of(answer: Mapping[str, Any]) -> str:
    """Return what an agent said in a JSON-RPC answer of either version, wherever it is put."""
    result = answer["result"]
    task = result.get("task") or result
    held = result.get("message") or result.get("msg") or (task.get("status") or {}).get("message") or result
    return "".join(part.get("text", "") for part in held.get("parts", ()))

"""A client that costs little: raw HTTP/1.1 over kept connections, so that the proxy's CPU is what is measured."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Final, Protocol

from tests.support.proxy import MODEL

_OK: Final = b" 200 "
_END: Final = b"\r\n\r\n"


class Target(Protocol):
    """A server on loopback; a proxy is one."""

    @property
    def port(self) -> int:
        """Where it listens."""
        ...

    @property
    def master_key(self) -> str:
        """The bearer that it takes."""
        ...


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of request, made by so many clients at once."""

    name: str
    method: str
    path: str
    concurrency: int = 1
    body: Any = None
    key: bool = True
    bodies: Sequence[Any] = ()
    """Taken in turn in place of `body`."""

    def requests(self, proxy: Target) -> Iterator[bytes]:
        """Build the bytes of request after request, without end."""
        return cycle([self._request(proxy, body) for body in self.bodies or (self.body,)])

    def _request(self, proxy: Target, given: Any) -> bytes:
        body = json.dumps(given).encode() if given is not None else b""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: 127.0.0.1:{proxy.port}"]
        if self.key:
            lines.append(f"Authorization: Bearer {proxy.master_key}")
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join(lines).encode() + _END + body


_CHAT: Final = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}

SCENARIOS: Final = (
    Scenario("liveliness", "GET", "/health/liveliness", key=False),
    Scenario("chat c=1", "POST", "/v1/chat/completions", body=_CHAT),
    Scenario("chat c=16", "POST", "/v1/chat/completions", concurrency=16, body=_CHAT),
    Scenario("stream c=1", "POST", "/v1/chat/completions", body={**_CHAT, "stream": True}),
    Scenario("authenticated GET /v1/models", "GET", "/v1/models"),
)


@dataclass(frozen=True, slots=True)
class Load:
    """What a client did."""

    requests: int
    client_cpu: float
    """Seconds of the client's own CPU."""


def run(proxy: Target, scenario: Scenario, seconds: float) -> Load:
    """Make requests until the time is over and the last answer is there; raises on any answer but 200."""
    before = time.process_time()
    requests = asyncio.run(_clients(proxy, scenario, seconds))
    return Load(requests, time.process_time() - before)


async def _clients(proxy: Target, scenario: Scenario, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    requests = scenario.requests(proxy)
    clients = (_client(proxy.port, requests, deadline) for _ in range(scenario.concurrency))
    return sum(await asyncio.gather(*clients))


async def _client(port: int, requests: Iterator[bytes], deadline: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    done = 0
    try:
        while time.monotonic() < deadline:
            writer.write(next(requests))
            await _answer(reader)
            done += 1
    finally:
        writer.close()
        await writer.wait_closed()
    return done


async def _answer(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(_END)).lower()
    if _OK not in head.split(b"\r\n", 1)[0]:
        raise RuntimeError(f"unexpected answer: {head.decode()}")
    if b"transfer-encoding: chunked" in head:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
        return
    length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.partition(b":")[2]))

"""Both workers of one proxy, each on a connection of its own, and how long one takes to learn from the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import httpx

from tests.support.proxy import Proxy

CONNECTIONS: Final = 200
"""Opened before we believe that the kernel will never pick the other worker."""
POLLS: Final = 400
"""Reads before we believe that a worker will never learn of a write; the lag itself is recorded, not asserted."""

PATIENT: Final = {"TIMEOUT_WORKER_HEALTHCHECK": "120"}
"""Seconds; importing LiteLLM on a busy machine keeps a worker from answering for longer than uvicorn's 5, which then
replaces it by another that fares no better."""


@contextmanager
def one_client_each(pair: Proxy) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Keep one connection alive to each of two workers."""
    found: dict[int, httpx.Client] = {}
    try:
        for _ in range(CONNECTIONS):
            client = pair.client(limits=httpx.Limits(max_connections=1, keepalive_expiry=None))
            pid = worker_pid(client)
            if pid in found:
                client.close()
            else:
                found[pid] = client
            if len(found) == 2:
                break
        assert sorted(found) == pair.worker_pids(), "one of the workers was never reached"
        first, second = found.values()
        yield first, second
        assert [worker_pid(each) for each in (first, second)] == list(found), "they were the same connections all along"
    finally:
        for client in found.values():
            client.close()


def lag(holds: Callable[[], bool]) -> float:
    """Poll until it holds, and return how long that took, in seconds."""
    began = time.monotonic()
    for _ in range(POLLS):
        if holds():
            return time.monotonic() - began
    raise AssertionError(f"not after {POLLS} reads in {time.monotonic() - began:.1f} s")


def worker_pid(client: httpx.Client) -> int:
    """Ask who answers."""
    return int(client.get("/router/info").json()["worker"]["pid"])

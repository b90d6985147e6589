"""Clients' webhooks, and proxies that agents can reach."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tests.conftest import PLUGIN_CONFIG
from tests.support import processes
from tests.support.proxy import merge
from tests.support.threaded import serving

TOKEN: Final = "X-A2A-Notification-Token"
_SECONDS: Final = 60.0


def options(**more: Any) -> dict[str, Any]:
    """Options of `start_proxy` for a proxy whose public address is its real one."""
    port = processes.free_port()
    config = merge(PLUGIN_CONFIG, {"routeiq": {"public_url": f"http://127.0.0.1:{port}"}})
    return {"port": port, **more, "config": merge(config, more.get("config") or {})}


@dataclass(frozen=True)
class Call:
    """One call of the webhook; header names are lower case."""

    headers: Mapping[str, str]
    body: Any

    @property
    def state(self) -> str | None:
        """State of the task, in the words of the version, None where the event has none."""
        said = self.body.get("task") or self.body.get("statusUpdate") or self.body
        state: str | None = (said.get("status") or {}).get("state")
        return state


class Webhook(ThreadingHTTPServer):
    """A server that answers with `status` and remembers who called."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url: str = f"http://127.0.0.1:{self.server_address[1]}/hook?client=secret"
        self.status = 204
        self.promised = 0
        self.calls: list[Call] = []
        self.changed = threading.Condition()

    def until(self, count: int) -> list[Call]:
        """Return the calls when there have been so many; raises `TimeoutError`."""
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.calls) >= count, _SECONDS):
                raise TimeoutError(f"{len(self.calls)} of {count} notifications came: {self.calls}")
            return list(self.calls)

    def until_state(self, *states: str) -> list[Call]:
        """Return the calls when one of these states was told; raises `TimeoutError`."""
        with self.changed:
            if not self.changed.wait_for(lambda: any(call.state in states for call in self.calls), _SECONDS):
                raise TimeoutError(f"none of {states} came: {self.calls}")
            return list(self.calls)

    def until_told(self, token: str, body: Any) -> None:
        """Return when this has come with this token; raises `TimeoutError`."""

        def told() -> bool:
            return any(call.headers.get(TOKEN.lower()) == token and call.body == body for call in self.calls)

        with self.changed:
            if not self.changed.wait_for(told, _SECONDS):
                raise TimeoutError(f"nothing came with {token}: {self.calls}")

    def answer(self, status: int, *, promised: int = 0) -> None:
        """Answer so from now on, with so many bytes that are announced and never come."""
        with self.changed:
            self.status, self.promised = status, promised


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        call = Call({name.lower(): value for name, value in self.headers.items()}, json.loads(body))
        with self.server.changed:
            status, promised = self.server.status, self.server.promised
            self.server.calls.append(call)
            self.server.changed.notify_all()
        self.send_response(status)
        self.send_header("Content-Length", str(promised))
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def webhook() -> Iterator[Webhook]:
    """Serve until the end of the block."""
    with serving(Webhook()) as server:
        yield server

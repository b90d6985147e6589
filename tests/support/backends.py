"""Real A2A agents as processes of their own: `with agent("1.0") as backend: ...`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import httpx

from tests.support import legacy, peers, processes
from tests.support.agents.scenario import Options
from tests.support.peers import Seen, ask
from tests.support.virtualenvs import environment

Version = Literal["1.0", "both", "0.3"]
"""What the agent speaks: 1.0 only, 1.0 and 0.3 on one URL (both by a2a-sdk 1.x), or 0.3 only (by a2a-sdk 0.3.x)."""

VERSIONS: Final[tuple[Version, ...]] = ("1.0", "both", "0.3")

_WAIT_SECONDS: Final = 20.0


@dataclass(frozen=True)
class Cancelled:
    """Clients that hung up before their answer was complete, and tasks cancelled by protocol."""

    disconnects: int
    tasks: int


@dataclass(frozen=True)
class Backend:
    """A running agent; `url` is its JSON-RPC endpoint."""

    version: Version
    url: str
    options: Options
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def card_url(self) -> str:
        """Where its agent card is."""
        return f"{self.url}.well-known/agent-card.json"

    @property
    def port(self) -> int:
        """Its TCP port on 127.0.0.1."""
        return httpx.URL(self.url).port or 80

    def card(self) -> dict[str, Any]:
        """Fetch the agent card, as anyone would; this too is seen."""
        return dict(ask("GET", self.card_url))

    def seen(self) -> list[Seen]:
        """Every request since it started, oldest first, control requests excepted."""
        return [Seen.read(request) for request in ask("GET", f"{self.url}_seen")]

    def calls(self) -> list[Seen]:
        """The JSON-RPC calls among `seen()`."""
        return [request for request in self.seen() if request.rpc_method is not None]

    def release(self, gate: str, count: int = 1) -> None:
        """Let so many events go, now or when they come; `gate` is the text after `gate:` (all of it if `gate=True`)."""
        ask("POST", f"{self.url}_release", json={"gate": gate, "count": count})

    def cancelled(self, *, at_least: int = 0, timeout: float = _WAIT_SECONDS) -> Cancelled:
        """Return the counts, once `at_least` clients have hung up; raises `TimeoutError` when they do not."""
        query = {"disconnects": at_least, "timeout": timeout}
        counts = Cancelled(**ask("GET", f"{self.url}_cancelled", params=query, timeout=timeout + 10))
        if counts.disconnects < at_least:
            raise TimeoutError(f"{counts.disconnects} of {at_least} clients hung up within {timeout:.0f} s")
        return counts

    def stop(self) -> None:
        """End the agent; its port refuses connections afterwards."""
        peers.stop(self.process)

    def restart(self) -> Backend:
        """Start it again, on the same port, without memory of tasks or requests; stops it first if needed."""
        self.stop()
        return start_agent(self.version, replace(self.options, port=self.port))


@contextmanager
def agent(
    version: Version = "1.0",
    *,
    name: str = "echo",
    gate: bool = False,
    require: Mapping[str, str] | None = None,
    redirect_to: str | None = None,
    advertised_url: str | None = None,
    rest: bool = False,
    binding: str = "JSONRPC",
    plain: bool = False,
    extension: str | None = None,
) -> Iterator[Backend]:
    """Run an echo agent; `tests.support.agents.scenario` says what it does for which text and what the options mean."""
    options = Options(
        name=name,
        port=processes.free_port(),
        compat=version == "both",
        gate=gate,
        require=dict(require) if require else None,
        redirect_to=redirect_to,
        advertised_url=advertised_url,
        rest=rest,
        binding=binding,
        plain=plain,
        extension=extension,
    )
    backend = start_agent(version, options)
    try:
        yield backend
    finally:
        backend.stop()


def start_agent(version: Version, options: Options) -> Backend:
    """Start an agent and return when it listens; the caller stops it."""
    process, greeting = peers.start([*_program(version), options.to_json()], f"{version} agent", environment())
    return Backend(version, greeting["url"], options, process)


def _program(version: Version) -> list[str]:
    if version == "0.3":
        return [str(legacy.python()), "-m", "tests.support.agents.v03"]
    return [sys.executable, "-m", "tests.support.agents.v1"]

"""Measure what an A2A call through the gateway costs, beside stock LiteLLM and the bare agent.

`python benchmarks/a2a.py --help`. One agent process answers all arms; rounds are interleaved, so that a busy
machine is busy for all of them. A figure that counts is a difference to `direct` in the same round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, it still measures this tree with this tree's harness

from benchmarks import processes  # noqa: E402
from tests.support.backends import Backend, agent  # noqa: E402
from tests.support.proxy import Proxy, running_proxy  # noqa: E402

DIRECT: Final = "direct"
STOCK: Final = "stock"
AGAIN: Final = "again"
"""Stock a second time: what differs there is noise."""
OURS: Final = "ours"
ARMS: Final = (DIRECT, STOCK, AGAIN, OURS)

AGENT: Final = "bench"
BUDGET: Final = 0.5
"""Ours may add at most this share of what stock adds to a send (DESIGN 10)."""
FIRST_EVENT_BUDGET_MS: Final = 5.0

PACKAGES: Final = ("litellm", "a2a-sdk", "fastapi", "starlette", "uvicorn", "httpx", "sqlalchemy")
_END: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of call, made by so many clients at once, each on a connection of its own."""

    name: str
    text: str
    concurrency: int = 1
    stream: bool = False

    @property
    def body(self) -> bytes:
        """Build the JSON-RPC call, in the 1.0 spelling."""
        method = "SendStreamingMessage" if self.stream else "SendMessage"
        message = {"messageId": "benchmark", "role": "ROLE_USER", "parts": [{"text": self.text}]}
        return json.dumps({"jsonrpc": "2.0", "id": "1", "method": method, "params": {"message": message}}).encode()


SCENARIOS: Final = (
    Scenario("send, a message back", "reply:hello"),
    Scenario("send, a task back", "hello"),
    Scenario("send, a task back, c=8", "hello", concurrency=8),
    Scenario("stream, 6 events", "hello", stream=True),
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where an arm is called; `pid` is the process whose CPU is counted."""

    port: int
    path: str
    pid: int
    key: str | None

    def request(self, scenario: Scenario) -> bytes:
        """Build the bytes of one call."""
        lines = [
            f"POST {self.path} HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            "A2A-Version: 1.0",
            "Content-Type: application/json",
            f"Content-Length: {len(scenario.body)}",
        ]
        if self.key is not None:
            lines.append(f"Authorization: Bearer {self.key}")
        return "\r\n".join(lines).encode() + _END + scenario.body


@dataclass(frozen=True, slots=True)
class Call:
    """One answered call, in milliseconds since it was sent."""

    first_ms: float
    """Until the first byte of the body."""
    total_ms: float


@dataclass
class Samples:
    """What one scenario gave for one arm; one sample per round."""

    first_ms: list[float] = field(default_factory=list)
    total_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    """CPU of the arm's own process per call: for `direct` the agent's."""
    calls: int = 0


Results = dict[str, dict[str, Samples]]
"""By scenario and arm."""


async def _client(target: Target, scenario: Scenario, calls: int, pause: float) -> list[Call]:
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    request = target.request(scenario)
    made = []
    try:
        for _ in range(calls):
            await asyncio.sleep(pause)
            begun = time.perf_counter()
            writer.write(request)
            first, body = await answer(reader)
            ended = time.perf_counter()
            if b'"error"' in body or b'"result"' not in body:
                raise RuntimeError(f"{scenario.name}: not an answer: {body[:400]!r}")
            made.append(Call((first - begun) * 1e3, (ended - begun) * 1e3))
    finally:
        writer.close()
        await writer.wait_closed()
    return made


async def answer(reader: asyncio.StreamReader) -> tuple[float, bytes]:
    """Read one answer; returns when its body began, and the body."""
    head = (await reader.readuntil(_END)).lower()
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise RuntimeError(f"unexpected answer: {head.decode()} {(await reader.read(400)).decode()}")
    if b"transfer-encoding: chunked" not in head:
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        body = await reader.readexactly(int(length.partition(b":")[2]))
        return time.perf_counter(), body
    first, chunks = 0.0, bytearray()
    while size := int(await reader.readuntil(b"\r\n"), 16):
        chunks += (await reader.readexactly(size + 2))[:-2]
        first = first or time.perf_counter()
    await reader.readexactly(2)
    return first, bytes(chunks)


async def _all(target: Target, scenario: Scenario, calls: int, pause: float = 0.0) -> list[Call]:
    each = max(1, calls // scenario.concurrency)
    clients = (_client(target, scenario, each, pause) for _ in range(scenario.concurrency))
    return [call for made in await asyncio.gather(*clients) for call in made]


def measure_one(target: Target, scenario: Scenario, calls: int, into: Samples, pause: float = 0.0) -> None:
    """Make calls, each `pause` seconds after the answer before it, and keep their medians."""
    before = processes.cpu_seconds(target.pid)
    made = asyncio.run(_all(target, scenario, calls, pause))
    spent = processes.cpu_seconds(target.pid) - before
    into.first_ms.append(median(call.first_ms for call in made))
    into.total_ms.append(median(call.total_ms for call in made))
    into.cpu_ms.append(spent / len(made) * 1e3)
    into.calls += len(made)


def measure(rounds: int, calls: int, pause: float = 0.0) -> tuple[Results, list[float]]:
    """Run everything, one thing at a time; returns the samples and the machine's load average over the run."""
    results: Results = {scenario.name: {arm: Samples() for arm in ARMS} for scenario in SCENARIOS}
    load = []
    with tempfile.TemporaryDirectory(prefix="a2a-") as directory, ExitStack() as stack:
        backend = stack.enter_context(agent("both"))
        targets = _targets(Path(directory), backend, stack)
        for scenario in SCENARIOS:
            for target in targets.values():
                asyncio.run(_all(target, scenario, 2 * scenario.concurrency))
        for index in range(rounds):
            _say(f"round {index + 1} of {rounds}")
            for scenario in SCENARIOS:
                for arm in ARMS if index % 2 == 0 else ARMS[::-1]:
                    measure_one(targets[arm], scenario, calls, results[scenario.name][arm], pause)
            load.append(processes.load_average())
    return results, load


def _targets(directory: Path, backend: Backend, stack: ExitStack) -> Mapping[str, Target]:
    card = {**backend.card(), "url": backend.url, "protocolVersion": "1.0"}
    declared = {"agents": [{"agent_name": AGENT, "agent_card_params": card}]}
    quiet = {"general_settings": {"disable_spend_logs": True}}
    loopback = {"routeiq": {"outbound": {"allowed_hosts": ["127.0.0.1"]}}}
    stocks = []
    for arm in (STOCK, AGAIN):
        _say(f"starting {arm}")
        proxy = running_proxy(directory / arm, plugin=False, custom_auth=False, config={**quiet, **declared})
        stocks.append(stack.enter_context(proxy))
    _say("starting ours")
    ours = stack.enter_context(running_proxy(directory / OURS, custom_auth=False, config={**quiet, **loopback}))
    with ours.client() as admin:
        body = {"agent_name": AGENT, "agent_card_params": card}
        admin.post("/v1/agents", json=body).raise_for_status()
    for each in (*stocks, ours):
        processes.settle(each.pid)
    return {
        DIRECT: Target(backend.port, "/", backend.process.pid, None),
        STOCK: _of(stocks[0]),
        AGAIN: _of(stocks[1]),
        OURS: _of(ours),
    }


def _of(proxy: Proxy) -> Target:
    return Target(proxy.port, f"/a2a/{AGENT}", proxy.pid, proxy.master_key)


# What is told


def added(samples: Mapping[str, Samples], arm: str, figure: str = "total_ms") -> list[float]:
    """Subtract `direct` from an arm, round by round, in milliseconds."""
    pairs = zip(getattr(samples[arm], figure), getattr(samples[DIRECT], figure), strict=True)
    return [mine - bare for mine, bare in pairs]


def shares(samples: Mapping[str, Samples], arm: str = OURS) -> list[float]:
    """Divide what an arm adds by what stock adds, round by round."""
    return [mine / stock for mine, stock in zip(added(samples, arm), added(samples, STOCK), strict=True)]


def cpu_shares(samples: Mapping[str, Samples], arm: str = OURS) -> list[float]:
    """Divide the CPU of an arm's proxy by that of stock's, round by round."""
    return [mine / stock for mine, stock in zip(samples[arm].cpu_ms, samples[STOCK].cpu_ms, strict=True)]


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Write a median with the least and the greatest of its samples."""
    return f"{median(values):.{digits}f} [{min(values):.{digits}f}..{max(values):.{digits}f}]"


def lines(results: Results, load: Sequence[float]) -> Iterator[str]:
    """Write the report for people."""
    named = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    yield f"Python {platform.python_version()}, {named}"
    yield f"load average {spread(load)}; our own agent, client and proxy account for about 2 of it"
    for name, samples in results.items():
        yield ""
        yield f"{name} ({samples[DIRECT].calls} calls per arm; median [least..greatest] of the rounds' medians)"
        for arm in ARMS:
            row = samples[arm]
            cpu = "" if arm == DIRECT else f"   CPU {spread(row.cpu_ms)} ms per call"
            extra = "" if arm == DIRECT else f"   added {spread(added(samples, arm))} ms"
            first = f"   first event {spread(row.first_ms)} ms" if name.startswith("stream") else ""
            yield f"  {arm:<7} {spread(row.total_ms)} ms{first}{extra}{cpu}"
        for arm in (AGAIN, OURS):
            yield f"  {arm} adds x{spread(shares(samples, arm), 2)} of what stock adds, with"
            yield f"  {'':{len(arm)}} x{spread(cpu_shares(samples, arm), 2)} of its CPU"
    yield ""
    yield from verdicts(results)


def verdicts(results: Results) -> Iterator[str]:
    """Judge the budgets of DESIGN section 10 that this benchmark can see; a miss is printed as one."""
    for scenario in SCENARIOS:
        samples = results[scenario.name]
        if scenario.stream:
            first = median(added(samples, OURS, "first_ms"))
            yield _verdict(
                f"{scenario.name}: first event added",
                f"{first:.1f} ms",
                f"{FIRST_EVENT_BUDGET_MS} ms",
                met=first <= FIRST_EVENT_BUDGET_MS,
            )
        else:
            share = median(shares(samples))
            yield _verdict(
                f"{scenario.name}: added latency", f"x{share:.2f} of stock's", f"x{BUDGET}", met=share <= BUDGET
            )


def _verdict(what: str, measured: str, budget: str, *, met: bool) -> str:
    return f"{'met   ' if met else 'MISSED'}  {what}: {measured} (budget {budget})"


def _say(what: str) -> None:
    print(f"[load {processes.load_average():.1f}] {what}", file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=10, help="interleaved rounds of every scenario (default 10)")
    options.add_argument("--calls", type=int, default=40, help="calls of a scenario in a round (default 40)")
    options.add_argument(
        "--pause-ms", type=float, default=0.0, help="wait before each call: what follows an answer delays no other call"
    )
    options.add_argument("--quick", action="store_true", help="see that it works; the figures mean little")
    options.add_argument("--json", type=Path, metavar="FILE", help="also write every sample to FILE")
    given = options.parse_args()
    if given.json is not None:
        given.json.touch()  # a wrong path is known before minutes of work are done
    rounds, calls = (2, 8) if given.quick else (given.rounds, given.calls)
    results, load = measure(rounds, calls, given.pause_ms / 1e3)
    print("\n".join(lines(results, load)))
    if given.json is not None:
        found: dict[str, Any] = {
            name: {arm: asdict(each) for arm, each in row.items()} for name, row in results.items()
        }
        given.json.write_text(json.dumps({"load": load, "results": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()

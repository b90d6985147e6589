"""Measure what an MCP tool call through the gateway costs, beside stock LiteLLM's REST route and the bare server.

`python benchmarks/mcp.py --help`. One proxy serves both routes, `/mcp-rest/tools/call` (stock's code) and
`/mcp/tools/call` (ours), in front of the same server; rounds are interleaved. `floor` is an authenticated request of
the same proxy that does nothing else: what a route costs is what it adds to that.
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
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, it still measures this tree with this tree's harness

from benchmarks import processes  # noqa: E402
from benchmarks.a2a import Samples, answer, spread  # noqa: E402
from tests.support.mcp_backends import McpBackend, Speaks, mcp_server  # noqa: E402
from tests.support.proxy import Proxy, running_proxy  # noqa: E402

DIRECT: Final = "direct"
FLOOR: Final = "floor"
STOCK: Final = "stock"
OURS: Final = "ours"
ARMS: Final = (DIRECT, FLOOR, STOCK, OURS)

ADDED_BUDGET_MS: Final = 10.0
"""Ours over the floor, for one call at a time (DESIGN 10)."""
RATIO_BUDGET: Final = 3.0
"""Stock adds at least this many times what ours adds over the floor, latency and CPU."""
CONCURRENCY: Final = (1, 8)
GENERATIONS: Final = (Speaks.SESSIONS, Speaks.STATELESS)
PACKAGES: Final = ("litellm", "mcp", "fastapi", "starlette", "uvicorn", "httpx2", "pydantic")
TOOL: Final = {"name": "add", "arguments": {"a": 1, "b": 2}}
NEW: Final = "2026-07-28"
ID: Final = b"424242"
"""Stands for the id in the body of a direct call."""
_ids: Final = count(1)


@dataclass(frozen=True, slots=True)
class Target:
    """What an arm sends; `pid` is the process whose CPU is counted."""

    port: int
    pid: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def request(self) -> bytes:
        """Build the bytes of one request; JSON-RPC ids of one session differ."""
        body = self.body.replace(ID, b"%d" % next(_ids))
        named = {"Host": f"127.0.0.1:{self.port}", "Content-Length": str(len(body)), **self.headers}
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


Results = dict[str, dict[str, Samples]]
"""By scenario and arm."""


async def _client(target: Target, calls: int) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    made = []
    try:
        for _ in range(calls):
            begun = time.perf_counter()
            writer.write(target.request())
            _, body = await answer(reader)
            made.append((time.perf_counter() - begun) * 1e3)
            if target.method == "POST" and b'"result":3' not in body.replace(b" ", b""):
                raise RuntimeError(f"{target.path}: not the sum: {body[:400]!r}")
    finally:
        writer.close()
        await writer.wait_closed()
    return made


def measure_one(target: Target, concurrency: int, calls: int, into: Samples) -> None:
    """Make calls and keep their median."""

    async def everybody() -> list[float]:
        each = max(1, calls // concurrency)
        made = await asyncio.gather(*(_client(target, each) for _ in range(concurrency)))
        return [sample for client in made for sample in client]

    before = processes.cpu_seconds(target.pid)
    made = asyncio.run(everybody())
    spent = processes.cpu_seconds(target.pid) - before
    into.total_ms.append(median(made))
    into.cpu_ms.append(spent / len(made) * 1e3)
    into.calls += len(made)


def measure(rounds: int, calls: int) -> tuple[Results, list[float]]:
    """Run everything, one thing at a time; returns the samples and the machine's load average over the run."""
    results: Results = {}
    load = []
    with tempfile.TemporaryDirectory(prefix="mcp-") as directory, ExitStack() as stack:
        config = {
            "general_settings": {"disable_spend_logs": True},
            "routeiq": {"outbound": {"allowed_hosts": ["127.0.0.1"]}},
        }
        proxy = stack.enter_context(running_proxy(Path(directory), custom_auth=False, config=config))
        scenarios: dict[str, tuple[Mapping[str, Target], int]] = {}
        for speaks in GENERATIONS:
            backend = stack.enter_context(mcp_server(speaks, name=speaks.value))
            arms: Mapping[str, Target] = _direct(backend) | _through(proxy, backend)
            scenarios |= {f"{speaks.value}, c={number}": (arms, number) for number in CONCURRENCY}
        processes.settle(proxy.pid)
        for name, (targets, _) in scenarios.items():
            results[name] = {arm: Samples() for arm in ARMS}
            for target in targets.values():
                measure_one(target, 1, 3, Samples())
        for index in range(rounds):
            _say(f"round {index + 1} of {rounds}")
            for name, (targets, concurrency) in scenarios.items():
                for arm in ARMS if index % 2 == 0 else ARMS[::-1]:
                    measure_one(targets[arm], concurrency, calls, results[name][arm])
            load.append(processes.load_average())
    return results, load


def _direct(backend: McpBackend) -> dict[str, Target]:
    """Call the server itself, as a client that is already connected does."""
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    params: dict[str, Any] = dict(TOOL)
    if backend.options.speaks is Speaks.SESSIONS:
        headers |= {"Mcp-Session-Id": _session(backend), "Mcp-Protocol-Version": "2025-11-25"}
    else:
        headers |= {"Mcp-Protocol-Version": NEW, "Mcp-Method": "tools/call", "Mcp-Name": "add"}
        params["_meta"] = {
            "io.modelcontextprotocol/protocolVersion": NEW,
            "io.modelcontextprotocol/clientInfo": {"name": "benchmark", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    body = json.dumps({"jsonrpc": "2.0", "id": 424242, "method": "tools/call", "params": params}).encode()
    return {DIRECT: Target(backend.port, backend.process.pid, "POST", "/mcp", headers, body)}


def _session(backend: McpBackend) -> str:
    import httpx

    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "benchmark", "version": "1"}}
    headers = {"Accept": "application/json, text/event-stream"}
    with httpx.Client(trust_env=False, headers=headers) as client:
        body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
        opened = client.post(backend.url, json=body).raise_for_status()
        session = str(opened.headers["mcp-session-id"])
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        client.post(backend.url, json=ready, headers={"mcp-session-id": session}).raise_for_status()
    return session


def _through(proxy: Proxy, backend: McpBackend) -> dict[str, Target]:
    name = backend.options.name
    with proxy.client() as admin:
        fields = {"server_name": name, "alias": name, "url": backend.url, "transport": "http"}
        server_id = admin.post("/v1/mcp/server", json=fields).raise_for_status().json()["server_id"]
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {proxy.master_key}"}
    body = json.dumps({**TOOL, "server_id": server_id}).encode()
    return {
        FLOOR: Target(proxy.port, proxy.pid, "GET", "/v1/models", headers, b""),
        STOCK: Target(proxy.port, proxy.pid, "POST", "/mcp-rest/tools/call", headers, body),
        OURS: Target(proxy.port, proxy.pid, "POST", "/mcp/tools/call", headers, body),
    }


# What is told


def added(samples: Mapping[str, Samples], arm: str, figure: str) -> list[float]:
    """Subtract the floor from an arm, round by round, in milliseconds."""
    pairs = zip(getattr(samples[arm], figure), getattr(samples[FLOOR], figure), strict=True)
    return [mine - floor for mine, floor in pairs]


def ratios(samples: Mapping[str, Samples], figure: str) -> list[float]:
    """Divide what stock adds by what ours adds, round by round."""
    pairs = zip(added(samples, STOCK, figure), added(samples, OURS, figure), strict=True)
    return [stock / max(ours, 1e-3) for stock, ours in pairs]


def lines(results: Results, load: Sequence[float]) -> Iterator[str]:
    """Write the report for people."""
    yield f"Python {platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in PACKAGES)}"
    yield f"load average {spread(load)}; our own server, client and proxy account for about 2 of it"
    for name, samples in results.items():
        yield ""
        yield f"{name} ({samples[DIRECT].calls} calls per arm; median [least..greatest] of the rounds' medians)"
        for arm in ARMS:
            row = samples[arm]
            extra = ""
            if arm in (STOCK, OURS):
                latency, cpu = added(samples, arm, "total_ms"), added(samples, arm, "cpu_ms")
                extra = f"   over the floor: {spread(latency)} ms, CPU {spread(cpu)} ms"
            yield f"  {arm:<7} {spread(row.total_ms)} ms   CPU {spread(row.cpu_ms)} ms{extra}"
        yield f"  stock adds x{spread(ratios(samples, 'total_ms'))} the latency of ours"
        yield f"  stock adds x{spread(ratios(samples, 'cpu_ms'))} the CPU of ours"
    yield ""
    yield from verdicts(results)


def verdicts(results: Results) -> Iterator[str]:
    """Judge the budgets of DESIGN section 10 that this benchmark can see; a miss is printed as one."""
    for name, samples in results.items():
        if name.endswith("c=1"):
            over = median(added(samples, OURS, "total_ms"))
            yield _verdict(
                f"{name}: over the floor", f"{over:.1f} ms", f"{ADDED_BUDGET_MS} ms", met=over <= ADDED_BUDGET_MS
            )
        for figure, what in (("total_ms", "latency"), ("cpu_ms", "CPU")):
            ratio = median(ratios(samples, figure))
            yield _verdict(
                f"{name}: {what} that stock adds", f"x{ratio:.1f}", f"x{RATIO_BUDGET}", met=ratio >= RATIO_BUDGET
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
    options.add_argument("--quick", action="store_true", help="see that it works; the figures mean little")
    options.add_argument("--json", type=Path, metavar="FILE", help="also write every sample to FILE")
    given = options.parse_args()
    if given.json is not None:
        given.json.touch()  # a wrong path is known before minutes of work are done
    results, load = measure(*((2, 8) if given.quick else (given.rounds, given.calls)))
    print("\n".join(lines(results, load)))
    if given.json is not None:
        found = {name: {arm: asdict(each) for arm, each in row.items()} for name, row in results.items()}
        given.json.write_text(json.dumps({"load": load, "results": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()

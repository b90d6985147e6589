"""Measure what the plugin costs a stock LiteLLM proxy, side by side with it: `python benchmarks/overhead.py --help`."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, it still measures this tree with this tree's harness

from benchmarks import figures, inprocess, load, processes  # noqa: E402
from benchmarks.figures import ARMS, PLUGIN  # noqa: E402
from tests.support.processes import clean_environment  # noqa: E402
from tests.support.proxy import Proxy, start_proxy  # noqa: E402

PACKAGES: Final = ("routeiq-plugin", "litellm", "fastapi", "starlette", "uvicorn", "pydantic", "sqlalchemy", "a2a-sdk")
READY: Final = "cpu until ready, s"
IDLE: Final = "cpu until idle, s"
MEMORY: Final = "idle RSS, MiB"
_CHILD_TIMEOUT: Final = 900.0
_IDLE_SECONDS: Final = 10.0
_WARM_UP_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    seconds: float
    starts: int
    children: int
    pairs: int


QUICK: Final = Plan(rounds=2, seconds=1.0, starts=1, children=1, pairs=6)


@dataclass
class Report:
    """Everything that was measured; every list holds one sample per round."""

    conditions: dict[str, Any]
    first_start: dict[str, dict[str, float]] = field(default_factory=dict)
    """Per figure and arm: bytecode is written, and the plugin's database made; not part of the ratios."""
    starts: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    requests: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """CPU per request in milliseconds, by scenario and arm."""
    client_ms: dict[str, float] = field(default_factory=dict)
    """The client's own CPU per request, by scenario."""
    idle_share: dict[str, float] = field(default_factory=dict)
    """Share of a core that an idle proxy uses, by arm."""
    children: list[dict[str, Any]] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    """Load average of the machine over the run; our own client and proxy account for about 1 of it."""


def measure(plan: Plan) -> Report:
    """Run everything, one thing at a time."""
    report = Report(conditions())
    with tempfile.TemporaryDirectory(prefix="overhead-") as directory, ExitStack() as stack:
        proxies = _first_starts(Path(directory), report, stack)
        _starts(proxies, plan, report)
        _requests(proxies, plan, report)
        for proxy in proxies.values():
            proxy.stop()
        report.children = [_child(Path(directory), plan, index) for index in range(plan.children)]
    report.load.append(processes.load_average())
    return report


def conditions() -> dict[str, Any]:
    """Name what the figures depend on."""
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "unknown")
    return {
        "cpu": model.partition(":")[2].strip(),
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str:
    if package == "routeiq-plugin":
        from routeiq_plugin import __version__

        return __version__
    return version(package)


def _first_starts(directory: Path, report: Report, stack: ExitStack) -> dict[str, Proxy]:
    proxies = {}
    for arm in ARMS:
        _say(f"first start: {arm}")
        config = {"general_settings": {"disable_spend_logs": True}}
        proxy = start_proxy(directory / arm.replace(" ", "-"), plugin=arm == PLUGIN, custom_auth=False, config=config)
        proxies[arm] = proxy
        stack.callback(lambda name: proxies[name].kill(), arm)
        for name, value in _started(proxy).items():
            report.first_start.setdefault(name, {})[arm] = value
    return proxies


def _started(proxy: Proxy) -> dict[str, float]:
    ready = processes.cpu_seconds(proxy.pid)
    processes.settle(proxy.pid)
    return {
        READY: ready,
        IDLE: processes.cpu_seconds(proxy.pid),
        MEMORY: processes.resident_mib(proxy.pid),
    }


def _starts(proxies: dict[str, Proxy], plan: Plan, report: Report) -> None:
    for proxy in proxies.values():
        proxy.stop()
    for index in range(plan.starts):
        for arm in _order(index):
            _say(f"start {index + 1} of {plan.starts}: {arm}")
            proxies[arm] = proxies[arm].restart()
            for name, value in _started(proxies[arm]).items():
                report.starts.setdefault(name, {}).setdefault(arm, []).append(value)
            if index + 1 < plan.starts:
                proxies[arm].stop()
        report.load.append(processes.load_average())


def _requests(proxies: Mapping[str, Proxy], plan: Plan, report: Report) -> None:
    for arm, proxy in proxies.items():
        report.idle_share[arm] = _idle(proxy)
        for scenario in load.SCENARIOS:
            load.run(proxy, scenario, _WARM_UP_SECONDS)
    for index in range(plan.rounds):
        _say(f"round {index + 1} of {plan.rounds}")
        for scenario in load.SCENARIOS:
            for arm in _order(index):
                _one(proxies[arm], scenario, arm, plan.seconds, report)
        report.load.append(processes.load_average())


def _one(proxy: Proxy, scenario: load.Scenario, arm: str, seconds: float, report: Report) -> None:
    before = processes.cpu_seconds(proxy.pid)
    done = load.run(proxy, scenario, seconds)
    spent = processes.cpu_seconds(proxy.pid) - before
    report.requests.setdefault(scenario.name, {}).setdefault(arm, []).append(spent / done.requests * 1e3)
    report.client_ms[scenario.name] = done.client_cpu / done.requests * 1e3


def _idle(proxy: Proxy) -> float:
    before = processes.cpu_seconds(proxy.pid)
    time.sleep(_IDLE_SECONDS)
    return (processes.cpu_seconds(proxy.pid) - before) / _IDLE_SECONDS


def _order(index: int) -> tuple[str, ...]:
    return ARMS if index % 2 == 0 else ARMS[::-1]


def _child(directory: Path, plan: Plan, index: int) -> dict[str, Any]:
    _say(f"in process, {index + 1} of {plan.children}")
    workdir = directory / f"child-{index}"
    workdir.mkdir()
    config = directory / PLUGIN / "litellm_config.yaml"
    environment = {"HOME": str(workdir), "LITELLM_LOCAL_MODEL_COST_MAP": "True", "OTEL_SDK_DISABLED": "true"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.inprocess", str(config), str(plan.pairs)],
        cwd=workdir,
        env=clean_environment({**environment, "PYTHONPATH": str(ROOT)}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_CHILD_TIMEOUT,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(inprocess.MARK)]
    if not lines:
        raise RuntimeError(f"the child ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return dict(json.loads(lines[0].removeprefix(inprocess.MARK)))


def lines(report: Report) -> Iterator[str]:
    """Write the report for people."""
    yield ", ".join(f"{name} {value}" for name, value in report.conditions.items())
    yield f"load average {figures.Spread.of(report.load).format(1)}; our own client and proxy account for about 1 of it"
    yield ""
    yield figures.heading("CPU per request, ms")
    for name, samples in report.requests.items():
        yield figures.comparison(name, samples)
    yield "the client's own, ms: " + ", ".join(f"{name} {value:.2f}" for name, value in report.client_ms.items())
    yield "idle, share of a core: " + ", ".join(f"{arm} {share:.2%}" for arm, share in report.idle_share.items())
    yield ""
    yield figures.heading("start-up")
    for name, samples in report.starts.items():
        yield figures.comparison(name, samples)
        yield f"{'  plugin less stock':<30}{figures.differences(samples, PLUGIN).format(2, sign=True)}"
    first = "; ".join(
        f"{name} " + ", ".join(f"{arm} {value:.2f}" for arm, value in values.items())
        for name, values in report.first_start.items()
    )
    yield f"first start of each (bytecode is written, the database made): {first}"
    yield ""
    yield from _in_process(report)
    yield ""
    for verdict in figures.verdicts(report.starts, report.children):
        yield verdict.line()


def _in_process(report: Report) -> Iterator[str]:
    children = report.children
    cpu = median(child["imports"]["cpu_ms"] for child in children)
    memory = median(child["imports"]["resident_mib"] for child in children)
    yield f"import of the plugin after LiteLLM's proxy: {cpu:.0f} ms CPU, {memory:.1f} MiB"
    modules = children[0]["imports"]["modules"]
    yield "  modules: " + ", ".join(f"{name} {count}" for name, count in list(modules.items())[:8])
    for path in children[0]["match_us"]:
        yield f"route test for {path}: {median(child['match_us'][path] for child in children):.2f} us"
    for kind, hooks in children[0]["hooks"].items():
        total = median(figures.hooks_us(child, kind) for child in children)
        yield f"hooks and route test per {kind} request: {total:.1f} us"
        for name, hook in hooks.items():
            yield f"  {hook['calls']} x {name} {hook['microseconds']:.2f} us"
    added = [sample * 1e3 for child in children for sample in child["added_ms"]]
    low, high = figures.confidence(added)
    request = median(sample for child in children for sample in child["request_ms"])
    yield (
        f"whole chat request in one process, plugin taken out and put back: {request:.2f} ms, plugin "
        f"{median(added):+.0f} us (95 % of the median between {low:+.0f} and {high:+.0f} us, {len(added)} pairs)"
    )


def _say(what: str) -> None:
    print(f"[load {processes.load_average():.1f}] {what}", file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=8, help="interleaved rounds of every scenario (default 8)")
    options.add_argument("--seconds", type=float, default=4.0, help="length of a scenario in a round (default 4)")
    options.add_argument("--starts", type=int, default=4, help="measured starts per arm (default 4)")
    options.add_argument("--quick", action="store_true", help="see that it works; the figures mean little")
    options.add_argument("--json", type=Path, metavar="FILE", help="also write every sample to FILE")
    given = options.parse_args()
    plan = QUICK if given.quick else Plan(given.rounds, given.seconds, given.starts, children=3, pairs=40)
    if given.json is not None:
        given.json.touch()  # a wrong path is known before minutes of work are done
    report = measure(plan)
    print("\n".join(lines(report)))
    if given.json is not None:
        given.json.write_text(json.dumps(asdict(report), indent=1) + "\n")


if __name__ == "__main__":
    main()

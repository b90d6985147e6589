"""Measure what a reload costs a serving proxy: `python benchmarks/reload.py --help`.

One proxy with the plugin, a configuration of the size that is asked for, and clients that chat meanwhile. Reports how
long each stage took, the longest time that the event loop was held, and how many requests failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, it still measures this tree with this tree's harness

import httpx  # noqa: E402

from benchmarks import processes  # noqa: E402
from tests.reload.configs import agent, deployment, server, written  # noqa: E402
from tests.support.proxy import PLUGIN, Proxy, running_proxy  # noqa: E402

BUDGET_MS: Final = 5.0
PROBE: Final = Path(__file__).with_name("reload_probe.py")


def configuration(base: Any, deployments: int, agents: int, servers: int, round_: int) -> bytes:
    """A configuration in which a tenth of everything differs from the round before."""

    def version(number: int) -> int:
        return round_ if number % 10 == round_ % 10 else 0

    return written(
        base,
        model_list=[
            deployment("asked", "answer"),
            *(deployment(f"model-{n}", f"answer {version(n)}", model_id=f"id-{n}") for n in range(deployments)),
        ],
        agents=[agent(f"agent-{n}", f"http://127.0.0.1:9/{version(n)}") for n in range(agents)],
        mcp_servers={f"server{n}": {**server(), "description": f"round {version(n)}"} for n in range(servers)},
    )


async def measure(proxy: Proxy, arguments: argparse.Namespace) -> dict[str, Any]:
    """Reload round after round while clients chat; the first applies everything at once."""
    failed = served = 0
    done = asyncio.Event()
    rounds: list[dict[str, Any]] = []

    async def client() -> None:
        nonlocal failed, served
        async with proxy.async_client(timeout=120.0) as http:
            while not done.is_set():
                body = {"model": "asked", "messages": [{"role": "user", "content": "hi"}]}
                response = await http.post("/v1/chat/completions", json=body)
                served += 1
                failed += response.status_code != 200

    async def reload() -> None:
        async with proxy.async_client(timeout=600.0) as http:
            for round_ in range(arguments.rounds + 1):
                content = configuration(
                    proxy.launch.config, arguments.deployments, arguments.agents, arguments.servers, round_
                )
                proxy.config_path.write_bytes(content)
                rounds.append(await one_round(http, len(content)))
        done.set()

    async with asyncio.TaskGroup() as group:
        for _ in range(arguments.clients):
            group.create_task(client())
        group.create_task(reload())
    return {"requests": served, "failed": failed, "rounds": rounds}


async def one_round(http: httpx.AsyncClient, size: int) -> dict[str, Any]:
    """Reload once and read what the probe saw."""
    (await http.post("/benchmark/probe", json={"do": "start"})).raise_for_status()
    response = await http.post("/config/reload")
    assert response.json()["status"] == "applied", response.text
    told: dict[str, Any] = (await http.post("/benchmark/probe", json={"do": "stop"})).json()
    return {**told, "bytes": size, "changes": sum(len(each) for each in response.json()["diff"].values())}


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deployments", type=int, default=200)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--servers", type=int, default=200)
    parser.add_argument("--clients", type=int, default=1, help="chat meanwhile; their requests hold the loop too")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        shutil.copyfile(PROBE, Path(directory) / "reload_probe.py")
        config = {
            "model_list": [deployment("asked", "answer")],
            "litellm_settings": {"callbacks": [PLUGIN, "reload_probe.hook"]},
        }
        with running_proxy(Path(directory), config=config) as proxy:
            report = asyncio.run(measure(proxy, arguments))
    report["load average"] = processes.load_average()
    print(json.dumps(report, indent=1))
    steady = report["rounds"][1:] or report["rounds"]
    longest, ours = (
        max(each[f"longest {which} ms"] for each in steady) for which in ("reload step", "without collector")
    )
    print(f"failed requests: {report['failed']} of {report['requests']} (budget 0)")
    print(f"longest step of a reload on the loop: {longest:.2f} ms (budget {BUDGET_MS:.0f})")
    print(f"the longest without Python's collector of garbage: {ours:.2f} ms")
    print(f"whole reload: {median(each['seconds'] for each in steady):.2f} s")


if __name__ == "__main__":
    main()

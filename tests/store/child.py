"""What tests run in processes of their own: `python -m tests.store.child JOB URL`."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import date

from routeiq_plugin.store.agents import AgentStore
from routeiq_plugin.store.usage import Batch, Usage, UsageKey, UsageStore
from tests.store.parts import SEALER, agent, entry, opened


async def migrate(url: str) -> None:
    """Wait for the starting shot, then open."""
    print("ready", flush=True)
    sys.stdin.readline()
    async with opened(url):
        print("open", flush=True)


async def write(url: str) -> None:
    """Create agents for ever and name each one once it is durable."""
    async with opened(url) as database:
        store = AgentStore(database, SEALER)
        for number in range(1_000_000):
            await store.create(agent(f"a{number}", static_headers={"x-key": "canary"}), entry())
            print(f"a{number}", flush=True)


async def count(url: str) -> None:
    """Add one to each of a few counters fifty times, in batches of a writer of this process's own."""
    keys = [UsageKey(date(2026, 11, 23), f"agent-{number}", "", "", "", "SendMessage") for number in range(5)]
    one = Usage(agent_name="echo", successful_requests=1)
    async with opened(url) as database:
        for number in range(1, 51):
            await UsageStore(database).add(Batch(f"process-{os.getpid()}", number, dict.fromkeys(keys, one)))


if __name__ == "__main__":
    asyncio.run({"migrate": migrate, "write": write, "count": count}[sys.argv[1]](sys.argv[2]))

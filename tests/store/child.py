"""What tests run in processes of their own: `python -m tests.store.child JOB URL`."""

from __future__ import annotations

import asyncio
import sys

from routeiq_plugin.store.agents import AgentStore
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


if __name__ == "__main__":
    asyncio.run({"migrate": migrate, "write": write}[sys.argv[1]](sys.argv[2]))

"""Name look-ups: the seam that tests replace, and the system's resolver behind it.

Nothing is cached here. A pooled connection is the cache: while it lives nobody resolves, and each new one resolves
and is vetted again, so a changed record takes effect with the next connection and a rebound one is refused there.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, Protocol

_THREADS: Final = ThreadPoolExecutor(max_workers=8, thread_name_prefix="routeiq-dns")
"""Ours alone: slow name servers must not take the threads that the rest of the proxy waits for."""


class Resolver(Protocol):
    """Turns a name into addresses in the order of preference; raises `OSError` when there are none."""

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Resolve."""
        ...


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """Ask the operating system (hosts file, DNS), each address once; raises `OSError`."""
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_THREADS, look_up)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))

"""One `ssl.SSLContext` per process: reading the certificate authorities takes tens of milliseconds and some memory."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Final, TypeAlias

import httpx

TlsSource: TypeAlias = Callable[[], Awaitable[ssl.SSLContext]]
"""Where a transport takes its context from when it first needs one."""

_LOCK: Final = threading.Lock()


@cache
def _load() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=True)


def load() -> ssl.SSLContext:
    """Return the process's context: certifi's authorities, or those of `SSL_CERT_FILE` or `SSL_CERT_DIR`."""
    with _LOCK:  # `cache` alone would let two threads load
        return _load()


async def shared_context() -> ssl.SSLContext:
    """Return the process's context, read in a thread the first time."""
    if _load.cache_info().currsize:
        return _load()
    return await asyncio.to_thread(load)

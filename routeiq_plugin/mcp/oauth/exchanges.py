"""One request to an authorization server, or to the server behind it, and its whole answer: guarded and bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from routeiq_plugin.errors import AddressRefused, BackendError
from routeiq_plugin.outbound import Clients, backend_error

EXCHANGE_SECONDS: Final = 15.0
"""Longest that an answer may take."""
LARGEST_BYTES: Final = 256 * 1024
"""Of one answer."""


class Exchanges:
    """Sends through the outbound guard; raises `BackendError` and its kin, and nothing else."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    async def fetch(self, request: Any) -> Any:
        """Send a request that the SDK built and return the answer, read to its end."""
        async with _translated(), self._clients.httpx2_client() as client:
            return _bounded(await client.send(request))

    async def post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Any:
        """Post a form and return the answer, read to its end."""
        async with _translated(), self._clients.httpx2_client() as client:
            return _bounded(await client.post(url, data=dict(form), headers=dict(headers)))

    async def head_of(self, url: str) -> Any:
        """Ask without a token and return the answer's status and headers; the body, which may never end, is left."""
        headers = {"Accept": "text/event-stream"}
        async with _translated(), self._clients.httpx2_client(headers) as client, client.stream("GET", url) as answer:
            return answer


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(EXCHANGE_SECONDS):
            yield
    except Exception as failure:
        wrong = backend_error(failure)
        # An address that a server's own documents name is that server's fault, not the caller's.
        raise (BackendError(wrong.detail) if isinstance(wrong, AddressRefused) else wrong) from failure


def _bounded(answer: Any) -> Any:
    if len(answer.content) > LARGEST_BYTES:
        raise BackendError("the authorization server's answer is too large")
    return answer

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import IPv6Address, ip_address
from typing import Any, cast

import httpx
import pytest

from routeiq_plugin.outbound.clients import Clients
from routeiq_plugin.outbound.guard import Guard
from routeiq_plugin.settings import OutboundSettings

from .servers import Names


def _is_loopback(text: str) -> bool:
    address = ip_address(text.partition("%")[0])
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (inner or address).is_loopback


@pytest.fixture(autouse=True)
def beyond(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Refuse every connection that would leave loopback, and list where it would have gone.

    The tables hold public addresses; whatever the code under test does with them, no packet leaves this machine.
    """
    tried: list[str] = []
    connect = socket.socket.connect

    def on_loopback_only(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and not _is_loopback(address[0]):
            tried.append(str(address[0]))
            raise ConnectionRefusedError("the tests stay on loopback")
        connect(self, address)

    def not_this_way(self: socket.socket, address: Any) -> int:
        raise AssertionError("connect_ex is not watched by this fixture")

    monkeypatch.setattr(socket.socket, "connect", on_loopback_only)
    monkeypatch.setattr(socket.socket, "connect_ex", not_this_way)
    return tried


class Stack:
    """One of the two HTTP stacks, seen through the part that both share."""

    def __init__(self, name: str) -> None:
        self.name = name

    def client(self, clients: Clients, headers: Mapping[str, str] | None = None) -> httpx.AsyncClient:
        if self.name == "httpx":
            return clients.httpx_client(headers)
        return cast("httpx.AsyncClient", clients.httpx2_client(headers))

    @asynccontextmanager
    async def opened(self, names: Names, *allowed: str, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
        """Yield a client with its own pools, closed afterwards."""
        tls = settings.pop("tls", None)
        clients = make_clients(names, *allowed, tls=tls, **settings)
        try:
            yield self.client(clients)
        finally:
            await clients.aclose()


def make_clients(names: Names, *allowed: str, tls: Any = None, **settings: Any) -> Clients:
    outbound = OutboundSettings(allowed_hosts=allowed, **settings)
    guard = Guard(outbound.allowed_hosts, names)
    return Clients(outbound, guard) if tls is None else Clients(outbound, guard, tls)


@pytest.fixture(params=["httpx", "httpx2"])
def stack(request: pytest.FixtureRequest) -> Stack:
    return Stack(request.param)

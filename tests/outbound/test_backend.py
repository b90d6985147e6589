"""Several addresses of one backend: order, head start, losers closed; and the two transports kept alike."""

from __future__ import annotations

import ast
import asyncio
import re
import ssl
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpcore
import httpcore2
import pytest

from routeiq_plugin.errors import AddressRefused
from routeiq_plugin.outbound import transports, transports2
from routeiq_plugin.outbound.backend import MOST_HELD, Failures, Gathering, connect, first_connected
from routeiq_plugin.outbound.guard import Guard

from .servers import Names

FAILURES = Failures(httpcore.ConnectError, httpcore.ConnectTimeout)


class Wire:
    """A stream that knows its address and whether it was closed."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.closed = False

    async def aclose(self) -> None:
        self.closed = True


class Dialler:
    """Addresses answer, fail or hang, as their name says."""

    def __init__(self) -> None:
        self.dialled: list[str] = []
        self.cancelled: list[str] = []

    async def __call__(self, address: str) -> Wire:
        self.dialled.append(address)
        if address.startswith("dead"):
            raise httpcore.ConnectError(address)
        if address.startswith("hangs"):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.append(address)
                raise
        return Wire(address)


@pytest.mark.parametrize(
    ("addresses", "dialled", "winner"),
    [
        (["a"], ["a"], "a"),
        (["a", "b"], ["a"], "a"),
        (["dead", "b", "c"], ["dead", "b"], "b"),
        (["hangs", "b"], ["hangs", "b"], "b"),
        (["hangs", "dead", "c"], ["hangs", "dead", "c"], "c"),
    ],
)
async def test_first_connected(addresses: Sequence[str], dialled: Sequence[str], winner: str) -> None:
    dial = Dialler()
    wire = await first_connected(addresses, dial, FAILURES, stagger=0.01)
    assert (wire.address, wire.closed, dial.dialled) == (winner, False, dialled)
    assert dial.cancelled == [address for address in dialled if address == "hangs"]


async def test_all_dead_is_one_error() -> None:
    with pytest.raises(httpcore.ConnectError, match="no address of the backend answers"):
        await first_connected(["dead1", "dead2"], Dialler(), FAILURES)


async def test_the_time_is_for_all_addresses_together() -> None:
    names = Names({"agent.test": [["93.184.216.34", "93.184.216.35"]]})

    async def hang(address: str) -> Wire:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(httpcore.ConnectTimeout):
        await connect(Guard((), names), "agent.test", 80, hang, FAILURES, seconds=0.01)


@pytest.mark.parametrize("port", [0, -1, 65_536])
async def test_no_port_is_dialled_that_does_not_exist(port: int) -> None:
    with pytest.raises(AddressRefused):
        await Guard(("agent.test",), Names({"agent.test": [["127.0.0.1"]]})).addresses("agent.test", port)


async def test_unix_sockets_are_refused() -> None:
    guard = Guard((), Names({}))
    with pytest.raises(httpcore.ConnectError):
        await transports.PinnedBackend(guard).connect_unix_socket("/run/docker.sock")
    with pytest.raises(httpcore2.ConnectError):
        await transports2.PinnedBackend(guard).connect_unix_socket("/run/docker.sock")


def _body(path: str | None) -> str:
    assert path is not None
    tree = ast.parse(re.sub(r"\b(httpx|httpcore)2\b", r"\1", Path(path).read_text(encoding="utf-8")))
    return ast.unparse(ast.Module(tree.body[1:], []))  # all but the module's own sentence


def test_the_two_transports_say_the_same() -> None:
    assert _body(transports.__file__) == _body(transports2.__file__)


def test_httpx2_is_not_imported_until_asked_for() -> None:
    code = "import sys, routeiq_plugin.outbound; print([m for m in ('httpx2', 'httpcore2') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


class Recorded:
    """A connection that notes what is done with it."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.done: list[object] = []
        self._failure = failure

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        self.done.append("read")
        return b"answer"

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self.done.append(buffer)
        if self._failure is not None:
            raise self._failure

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Recorded:
        self.done.append(server_hostname)
        return self

    async def aclose(self) -> None:
        self.done.append("closed")

    def get_extra_info(self, info: str) -> object:
        return info


async def test_a_request_goes_out_in_one_piece() -> None:
    inner = Recorded()
    stream = Gathering(inner, httpcore.WriteError)
    for piece in (b"head ", b"body", b""):
        await stream.write(piece)
    assert inner.done == []
    assert await stream.read(10) == b"answer"
    await stream.read(10)
    assert stream.get_extra_info("is_readable") == "is_readable"
    await stream.write(b"never waited for")
    assert stream.get_extra_info("is_readable") is True, "a pool drops it"
    await stream.aclose()
    assert inner.done == [b"head body", "read", "read", "closed"]


async def test_much_of_a_request_is_not_held_back() -> None:
    inner = Recorded()
    stream = Gathering(inner, httpcore.WriteError)
    await stream.write(b"head")
    await stream.write(b"x" * MOST_HELD)
    assert inner.done == [b"head" + b"x" * MOST_HELD]


async def test_what_a_server_answers_early_is_read() -> None:
    stream = Gathering(Recorded(httpcore.WriteError()), httpcore.WriteError)
    await stream.write(b"head")
    assert await stream.read(10) == b"answer"
    await stream.write(b"more")
    stalled = Gathering(Recorded(httpcore.WriteTimeout()), httpcore.WriteError)
    await stalled.write(b"head")
    with pytest.raises(httpcore.WriteTimeout):
        await stalled.read(10)


async def test_under_tls_it_is_the_same() -> None:
    inner = Recorded()
    secure = await Gathering(inner, httpcore.WriteError).start_tls(ssl.create_default_context(), "server.example")
    await secure.write(b"head")
    assert inner.done == ["server.example"]
    await secure.read(10)
    assert inner.done == ["server.example", b"head", "read"]

"""Both stacks against real sockets on loopback: where they connect, what they send and how much they read."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from routeiq_plugin.errors import AddressRefused, BackendError, BackendResponseTooLarge, BackendTimeout, Unavailable
from routeiq_plugin.outbound.failures import backend_error
from routeiq_plugin.outbound.tls import shared_context

from .conftest import Stack, make_clients
from .servers import Authority, Handler, Names, Server, answer, authority, chunked, serving
from .urls import NAMES, REFUSED

EVENTS = {"Content-Type": "text/event-stream; charset=utf-8"}
LOCAL = Names({"agent.test": [["127.0.0.1"]]})


async def test_what_a_server_sends_too_much_of_is_not_everybodys_answer(stack: Stack) -> None:
    """One answer may be lost on it: what it had sent beforehand."""
    served: list[asyncio.Task[None]] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.ensure_future(serve(reader, writer)))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                name = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
                said = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(name), name.encode())
                writer.write(said * (2 if name == "/first" else 1))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with stack.opened(LOCAL, f"agent.test:{port}") as client:
        names = ("first", "second", "third", "fourth")
        got = [(await client.get(f"http://agent.test:{port}/{name}")).text for name in names]
    await asyncio.gather(*served)
    server.close()
    assert got[2:] == ["/third", "/fourth"]


@pytest.fixture
async def canary() -> AsyncIterator[Server]:
    async with serving(answer()) as server:
        yield server


async def test_the_canary_sings(canary: Server) -> None:
    async with httpx.AsyncClient(trust_env=False) as unguarded:
        for url in ("http://127.0.0.1:{port}/", "http://2130706433:{port}/", "http://[::ffff:127.0.0.1]:{port}/"):
            await unguarded.get(url.replace("{port}", str(canary.port)))
    assert canary.connections == 3


def test_the_fixture_keeps_every_test_on_loopback(beyond: list[str]) -> None:
    for address in (("198.51.100.1", 80), ("192.0.2.1", 9)):
        with socket.socket() as plain, pytest.raises(ConnectionRefusedError, match="stay on loopback"):
            plain.connect(address)
    assert beyond == ["198.51.100.1", "192.0.2.1"]


async def test_no_refused_url_connects(stack: Stack, canary: Server, beyond: list[str]) -> None:
    """Without any check at registration: the connection alone keeps every one of them off private addresses.

    Rules about the text of a URL (user name, backslash, port) are the registration's: the HTTP client may read such a
    URL as a public host, whose vetted address is then the only one dialled.
    """
    expected = ("AddressRefused", "InvalidURL", "UnsupportedProtocol", "LocalProtocolError", "ConnectError")
    async with stack.opened(Names(NAMES)) as client:
        for url, _ in REFUSED:
            with pytest.raises(Exception) as refused:  # noqa: PT011 (each stack has its own errors for malformed URLs)
                await client.get(url.replace("{port}", str(canary.port)))
            assert type(refused.value).__name__ in expected, url
    assert canary.connections == 0
    assert set(beyond) <= {"93.184.216.34"}


async def test_a_name_that_rebinds_is_refused_at_connect(stack: Stack, canary: Server) -> None:
    names = Names({"rebind.test": [["93.184.216.34"], ["127.0.0.1"]]})
    clients = make_clients(names)
    await clients.guard.check(f"http://rebind.test:{canary.port}/")
    with pytest.raises(AddressRefused):
        await stack.client(clients).get(f"http://rebind.test:{canary.port}/")
    await clients.aclose()
    assert (names.asked, canary.connections) == (["rebind.test", "rebind.test"], 0)


async def test_a_redirect_is_handed_back_even_when_asked_to_follow(stack: Stack, canary: Server) -> None:
    away = answer(b"", "302 Found", {"Location": f"http://127.0.0.1:{canary.port}/"})
    async with serving(away) as agent, stack.opened(LOCAL, f"agent.test:{agent.port}") as client:
        for asked in (False, True):
            response = await client.get(f"http://agent.test:{agent.port}/", follow_redirects=asked)
            assert response.status_code == 302
        assert response.next_request is not None
        with pytest.raises(AddressRefused):
            await client.send(response.next_request)  # as the MCP SDK does by hand
    assert canary.connections == 0


async def test_an_allowed_port_opens_no_other(stack: Stack, canary: Server) -> None:
    async with serving(answer()) as agent, stack.opened(LOCAL, f"127.0.0.1:{agent.port}") as client:
        assert (await client.get(f"http://127.0.0.1:{agent.port}/")).text == "ok"
        assert (await client.get(f"http://agent.test:{agent.port}/")).text == "ok"
        with pytest.raises(AddressRefused):
            await client.get(f"http://127.0.0.1:{canary.port}/")
    assert (agent.connections, canary.connections) == (2, 0)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(Path(tmp_path_factory.mktemp("tls")), "agent.test")


async def test_host_and_sni_stay_those_of_the_url(stack: Stack, certificates: Authority) -> None:
    async def tls() -> ssl.SSLContext:
        return certificates.client

    names = Names({"agent.test": [["127.0.0.1"]], "other.test": [["127.0.0.1"]]})
    async with (
        serving(answer(), certificates.server) as agent,
        stack.opened(names, "*.test", tls=tls) as client,
    ):
        assert (await client.get(f"https://agent.test:{agent.port}/card")).text == "ok"
        assert agent.names_indicated == ["agent.test"]
        assert agent.header("host") == f"agent.test:{agent.port}"
        with pytest.raises(Exception, match="certificate verify failed") as failed:
            await client.get(f"https://other.test:{agent.port}/card")
        assert str(backend_error(failed.value)) == "a secure connection to the backend could not be made"


async def test_addresses_are_tried_until_one_answers(stack: Stack, canary: Server) -> None:
    names = Names({"agent.test": [["127.0.0.2", "::1", "127.0.0.1"]]})
    async with stack.opened(names, "agent.test") as client:
        assert (await client.get(f"http://agent.test:{canary.port}/")).text == "ok"
    assert canary.connections == 1


async def test_nobody_listening_is_an_error_without_the_address(stack: Stack, canary: Server) -> None:
    names = Names({"agent.test": [["127.0.0.2", "127.0.0.3"]]})
    async with stack.opened(names, "agent.test") as client:
        with pytest.raises(Exception, match="no address of the backend answers") as failed:
            await client.get(f"http://agent.test:{canary.port}/")
    assert type(failed.value).__name__ == "ConnectError"
    assert str(backend_error(failed.value)) == "the backend could not be reached"


async def test_a_name_that_is_gone_is_the_backends_fault(stack: Stack) -> None:
    async with stack.opened(Names({})) as client:
        with pytest.raises(Exception, match="does not resolve") as failed:
            await client.get("http://agent.test/")
    assert type(backend_error(failed.value)) is BackendError


async def test_nothing_of_one_answer_is_sent_with_the_next(stack: Stack) -> None:
    setting = answer(headers={"Set-Cookie": "tenant=a; Path=/"})
    async with serving(setting) as agent, stack.opened(LOCAL, "agent.test") as client:
        for _ in range(2):
            await client.get(f"http://agent.test:{agent.port}/")
        assert len(agent.requests) == 2
        assert agent.header("cookie") is None
        assert len(client.cookies.jar) == 0


async def test_the_environment_is_not_asked_for_a_proxy(
    stack: Stack, canary: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    async with serving(answer()) as agent, stack.opened(LOCAL, "agent.test") as client:
        await client.get(f"http://agent.test:{agent.port}/")
    assert (agent.connections, canary.connections) == (1, 0)


async def test_headers_are_sent_and_compression_is_never_asked_for(stack: Stack) -> None:
    async with serving(answer()) as agent:
        clients = make_clients(LOCAL, "agent.test")
        client = stack.client(clients, {"X-Api-Key": "k", "Accept-Encoding": "br"})
        await client.get(f"http://agent.test:{agent.port}/")
        await clients.aclose()
    assert (agent.header("x-api-key"), agent.header("accept-encoding")) == ("k", "identity")
    assert agent.header("user-agent") == "routeiq-plugin"


async def test_clients_share_a_pool_that_survives_them(stack: Stack) -> None:
    clients = make_clients(LOCAL, "agent.test")
    async with serving(answer()) as agent:
        for _ in range(3):
            async with stack.client(clients) as client:
                await client.get(f"http://agent.test:{agent.port}/")
        assert (agent.connections, len(agent.requests)) == (1, 3)
        late = stack.client(clients)
        await clients.aclose()
        with pytest.raises(Unavailable):
            await late.get(f"http://agent.test:{agent.port}/")


async def test_the_authorities_are_read_once_for_both_stacks(certificates: Authority) -> None:
    read = 0

    async def tls() -> ssl.SSLContext:
        nonlocal read
        read += 1
        return certificates.client

    clients = make_clients(LOCAL, "agent.test", tls=tls)
    async with serving(answer()) as agent:
        for stack in (Stack("httpx"), Stack("httpx2")):
            for _ in range(2):
                await stack.client(clients).get(f"http://agent.test:{agent.port}/")
    await clients.aclose()
    assert read == 2, "once per pool; the process-wide source hands both the same context"


async def test_the_process_has_one_context() -> None:
    first, second = await asyncio.gather(shared_context(), shared_context())
    assert first is second is await shared_context()


SMALL = 0.01  # MiB
LARGE = b"x" * 20_000
BOMB = zlib.compress(b"\0" * 50_000_000)


@pytest.mark.parametrize(
    "handler",
    [
        answer(LARGE),
        chunked([LARGE[:5000]] * 4),
        answer(gzip.compress(LARGE), headers={"Content-Encoding": "gzip"}),
        answer(BOMB, headers={"Content-Encoding": "deflate"}),
        chunked([gzip.compress(LARGE)], {"Content-Encoding": "x-gzip"}),
        chunked([b"data: " + LARGE], EVENTS),
        chunked([b"data: x\n" * 1000, b"data: y\n" * 1000], EVENTS),
        chunked([b"data: 1\n\n", b"data: " + LARGE + b"\n\n"], EVENTS),
    ],
    ids=["declared", "chunked", "gzip", "bomb", "gzip chunked", "line", "event", "second event"],
)
async def test_too_much_is_not_read(stack: Stack, handler: Handler) -> None:
    async with serving(handler) as agent, stack.opened(LOCAL, "agent.test", max_response_mb=SMALL) as client:
        for _ in range(3):
            with pytest.raises(BackendResponseTooLarge, match=r"routeiq\.outbound\.max_response_mb"):
                await client.get(f"http://agent.test:{agent.port}/")


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (answer(b"x" * 10_000), b"x" * 10_000),
        (answer(gzip.compress(b"x" * 10_000), headers={"Content-Encoding": "gzip"}), b"x" * 10_000),
        (answer(zlib.compress(b"abc"), headers={"Content-Encoding": "deflate"}), b"abc"),
        (chunked([b"data: 0123456789\n\n"] * 5000, EVENTS), b"data: 0123456789\n\n" * 5000),
        (chunked([b"data: a\r\n", b"\r\n"] * 3000, EVENTS), b"data: a\r\n\r\n" * 3000),
    ],
    ids=["at the limit", "gzip", "deflate", "long stream", "split blank lines"],
)
async def test_enough_is_read_whole(stack: Stack, handler: Handler, expected: bytes) -> None:
    async with serving(handler) as agent, stack.opened(LOCAL, "agent.test", max_response_mb=SMALL) as client:
        for _ in range(2):
            assert (await client.get(f"http://agent.test:{agent.port}/")).content == expected
        assert agent.connections == 1


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (answer(b"zz", headers={"Content-Encoding": "br"}), "although an uncompressed one was asked for"),
        (answer(b"zz", headers={"Content-Encoding": "gzip, gzip"}), "although an uncompressed one was asked for"),
        (answer(b"not gzip at all", headers={"Content-Encoding": "gzip"}), "cannot be decoded"),
        (answer(gzip.compress(LARGE)[:-12], headers={"Content-Encoding": "gzip"}), "ends too soon"),
    ],
    ids=["brotli", "twice", "broken", "short"],
)
async def test_bodies_that_cannot_be_read_are_the_backends_fault(stack: Stack, handler: Handler, message: str) -> None:
    async with serving(handler) as agent, stack.opened(LOCAL, "agent.test") as client:
        with pytest.raises(BackendError, match=message):
            await client.get(f"http://agent.test:{agent.port}/")


async def test_an_answer_to_head_may_declare_a_length_beyond_the_limit(stack: Stack) -> None:
    async def handler(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\nContent-Encoding: br\r\n\r\n")

    async with serving(handler) as agent, stack.opened(LOCAL, "agent.test", max_response_mb=SMALL) as client:
        assert (await client.head(f"http://agent.test:{agent.port}/")).status_code == 200


async def test_a_stream_arrives_as_it_is_sent(stack: Stack) -> None:
    released = asyncio.Event()

    async def handler(writer: asyncio.StreamWriter) -> None:
        await chunked([b"data: 1\n\n"], EVENTS, finish=False)(writer)
        await released.wait()
        writer.write(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    async with (
        serving(handler) as agent,
        stack.opened(LOCAL, "agent.test") as client,
        client.stream("GET", f"http://agent.test:{agent.port}/") as response,
    ):
        chunks = response.aiter_bytes()
        assert await anext(chunks) == b"data: 1\n\n"
        released.set()
        assert await anext(chunks) == b"data: 2\n\n"
        assert [chunk async for chunk in chunks] == []


@pytest.mark.parametrize(
    "handler",
    [chunked([b"{"], finish=False), chunked([b"data: 1\n\n"], EVENTS, finish=False)],
    ids=["body", "stream"],
)
async def test_a_backend_that_falls_silent_times_out(stack: Stack, handler: Handler) -> None:
    async with serving(handler) as agent, stack.opened(LOCAL, "agent.test", timeout_seconds=0.1) as client:
        with pytest.raises(Exception) as failed:  # noqa: PT011 (ReadTimeout of either stack)
            await client.get(f"http://agent.test:{agent.port}/")
    assert type(backend_error(failed.value)) is BackendTimeout


async def test_headers_that_drip_for_ever_time_out(stack: Stack) -> None:
    async def handler(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(1000):
            writer.write(b"X: y\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serving(handler) as agent, stack.opened(LOCAL, "agent.test", timeout_seconds=0.05) as client:
        with pytest.raises(BackendTimeout, match="did not begin"):
            await client.get(f"http://agent.test:{agent.port}/")


async def test_a_connection_that_is_cut_is_the_backends_fault(stack: Stack) -> None:
    async def handler(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        await writer.drain()
        writer.close()

    async with serving(handler) as agent, stack.opened(LOCAL, "agent.test") as client:
        with pytest.raises(Exception) as failed:  # noqa: PT011 (RemoteProtocolError of either stack)
            await client.get(f"http://agent.test:{agent.port}/")
    assert str(backend_error(failed.value)) == "the backend does not speak HTTP as it should"

"""Loopback servers that count what reaches them, a resolver that says what it is told, and a certificate authority."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Handler = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """An HTTP/1.1 server on 127.0.0.1 that records each request head and answers with the handler."""

    handler: Handler
    port: int = 0
    connections: int = 0
    requests: list[str] = field(default_factory=list)
    names_indicated: list[str | None] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.requests.append(head)
                await self.handler(writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client left, as clients do
        finally:
            writer.close()

    def header(self, name: str, request: int = -1) -> str | None:
        """Read a header of a recorded request."""
        for line in self.requests[request].split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name:
                return value.strip()
        return None


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(handler)
    if tls is not None:
        tls.sni_callback = lambda _socket, name, _context: server.names_indicated.append(name)
    open_connections: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(server.serve(reader, writer))
        open_connections.add(task)
        task.add_done_callback(open_connections.discard)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        left = list(open_connections)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def answer(body: bytes = b"ok", status: str = "200 OK", headers: Mapping[str, str] | None = None) -> Handler:
    """Make a handler that always says the same."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *(f"{k}: {v}" for k, v in (headers or {}).items())]

    async def handler(writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    return handler


def chunked(chunks: Sequence[bytes], headers: Mapping[str, str] | None = None, *, finish: bool = True) -> Handler:
    """Make a handler that sends a chunked body, and says nothing more when it is not to `finish`."""
    lines = ["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", *(f"{k}: {v}" for k, v in (headers or {}).items())]

    async def handler(writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join([*lines, "", ""]).encode())
        for chunk in chunks:
            writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            await writer.drain()
        if finish:
            writer.write(b"0\r\n\r\n")

    return handler


class Names:
    """A resolver for tests: each look-up of a name takes its next answer, the last one for ever after."""

    def __init__(self, answers: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self._answers = {name: list(each) for name, each in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        left = self._answers.get(host.removesuffix("."))
        if left is None:
            raise OSError("no such name")
        return left.pop(0) if len(left) > 1 else left[0]


@dataclass(frozen=True)
class Authority:
    """A throw-away certificate authority with one server certificate."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def authority(directory: Path, name: str) -> Authority:
    """Make a self-signed certificate for `name` and the two contexts that go with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("192.0.2.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "server.pem").write_bytes(public + private)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(directory / "server.pem")
    return Authority(server, ssl.create_default_context(cadata=public.decode()))

"""Real object stores on loopback, each behind a recorder that counts requests and bytes, and can be broken."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from tests.support import processes

BUCKET = "configs"
KEY = "proxy/config.yaml"


@dataclass
class Recorder:
    """What went through: (method, path, status, bytes of the answer's body); `refuse` answers with that status.

    `compares` does what Google documents of `ifGenerationNotMatch` and its emulator leaves out.
    """

    url: str = ""
    calls: list[tuple[str, str, int, int]] = field(default_factory=list)
    refuse: int | None = None
    compares: bool = False

    def bodies(self, size: int) -> int:
        """Count the answers that carried at least so many bytes."""
        return sum(1 for *_, length in self.calls if length >= size)


@contextmanager
def recorded(port: int) -> Iterator[Recorder]:
    """Stand in front of a server on loopback."""
    recorder = Recorder()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def relay(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(length) if length else None
            if recorder.refuse is not None:
                self.answer(recorder.refuse, [], b"")
                return
            upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            upstream.request(self.command, self.path, body, dict(self.headers.items()))
            answer = upstream.getresponse()
            data = answer.read()
            if recorder.compares and unchanged(self.path, data):
                self.answer(304, [], b"")
                upstream.close()
                return
            hidden = {"transfer-encoding", "content-length", "connection"}
            self.answer(answer.status, [each for each in answer.getheaders() if each[0].lower() not in hidden], data)
            upstream.close()

        def answer(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
            recorder.calls.append((self.command, self.path, status, len(data)))
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            if status != 304:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = relay  # noqa: N815  the names of http.server

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    recorder.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield recorder
    finally:
        server.shutdown()
        server.server_close()


def unchanged(path: str, data: bytes) -> bool:
    """Tell whether the generation that a request has seen is the one that its answer tells."""
    seen = parse_qs(urlsplit(path).query).get("ifGenerationNotMatch")
    return seen is not None and seen == [str(json.loads(data).get("generation"))]


CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass
class Store:
    """A bucket; `put` and `delete` mean the configuration's own object unless they are given another key."""

    source: str
    recorder: Recorder
    env: dict[str, str]
    put: Any
    delete: Any


@contextmanager
def s3() -> Iterator[Store]:
    """Serve S3 with moto."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=BUCKET)
    with recorded(port) as recorder:
        try:
            yield Store(
                f"s3://{BUCKET}/{KEY}",
                recorder,
                CREDENTIALS,
                lambda data, key=KEY: client.put_object(Bucket=BUCKET, Key=key, Body=data),
                lambda key=KEY: client.delete_object(Bucket=BUCKET, Key=key),
            )
        finally:
            client.close()
            server.stop()


@contextmanager
def gcs() -> Iterator[Store]:
    """Serve GCS with gcp-storage-emulator, in memory."""
    from gcp_storage_emulator.server import create_server

    port = processes.free_port()
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
    server.start()

    def send(method: str, path: str, data: bytes | None) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request(method, path, data, {"Content-Type": "application/octet-stream"} if data else {})
        answer = connection.getresponse()
        answer.read()
        assert answer.status < 300, answer.status
        connection.close()

    def put(data: bytes, key: str = KEY) -> None:
        send("POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quote(key, safe='')}", data)

    def delete(key: str = KEY) -> None:
        send("DELETE", f"/storage/v1/b/{BUCKET}/o/{quote(key, safe='')}", None)

    with recorded(port) as recorder:
        try:
            yield Store(
                f"gs://{BUCKET}/{KEY}",
                recorder,
                {"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"},
                put,
                delete,
            )
        finally:
            with contextlib.suppress(Exception):
                server.stop()


STORES = {"s3": s3, "gcs": gcs}

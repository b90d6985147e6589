"""A backend that only shows cards: what it shows, how it answers conditions, and with which keys it signs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from a2a.client.card_resolver import parse_agent_card
from a2a.utils.signing import create_agent_card_signer
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.json_format import MessageToDict
from jwt import PyJWK
from jwt.algorithms import ECAlgorithm

from tests.support.threaded import serving

CARD: Final = "/.well-known/agent-card.json"
KEYS: Final = "/keys.json"


@dataclass
class Page:
    """What one path answers with."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class Carded(ThreadingHTTPServer):
    """The server; `pages` may be changed at any time, `seen` are the requests as (path, headers in lower case)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port: int = self.server_address[1]
        self.origin = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.origin}/"
        self.pages: dict[str, Page] = {}
        self.seen: list[tuple[str, Mapping[str, str]]] = []

    def show(self, document: Any, path: str = CARD, **headers: str) -> None:
        """Serve a document at a path."""
        self.pages[path] = Page(
            json.dumps(document).encode(), headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    def fail(self, status: int, path: str = CARD) -> None:
        """Answer with nothing but a status, which names where we are."""
        self.pages[path] = Page(f"at {self.origin}".encode(), status)

    def reset(self) -> None:
        """Show nothing, forget what was seen."""
        self.pages.clear()
        self.seen.clear()

    def asked(self, path: str = CARD) -> list[Mapping[str, str]]:
        """Headers of each request for a path."""
        return [headers for seen, headers in self.seen if seen == path]

    def document(self, **changes: Any) -> dict[str, Any]:
        """Build a 1.0 card of an agent that lives here."""
        return {
            "name": "Carded",
            "description": "Shows its card.",
            "version": "2.0.0",
            "supportedInterfaces": [
                {"url": f"{self.origin}/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
            ],
            "capabilities": {"streaming": True},
            "defaultInputModes": ["text/plain"],
            "defaultOutputModes": ["text/plain"],
            "skills": [{"id": "s", "name": "S", "description": f"Runs on {self.origin}.", "tags": ["s"]}],
            **changes,
        }

    def signed(self, document: Mapping[str, Any], jku: str | None = None, kid: str = "k1") -> dict[str, Any]:
        """Sign a card with a new key, whose public half is then at `KEYS`."""
        key = ec.generate_private_key(ec.SECP256R1())
        shown = json.loads(ECAlgorithm.to_jwk(key.public_key()))
        self.show({"keys": [{**shown, "kid": kid, "alg": "ES256", "use": "sig"}]}, KEYS)
        private = PyJWK({**json.loads(ECAlgorithm.to_jwk(key)), "kid": kid, "alg": "ES256"})
        header: Any = {"kid": kid, "alg": "ES256", "typ": "JOSE", "jku": jku or f"{self.origin}{KEYS}"}
        card = create_agent_card_signer(private, header)(parse_agent_card(dict(document)))
        rendered: dict[str, Any] = MessageToDict(card)
        return rendered

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: who reads too much of us hangs up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Carded

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.path, headers))
        page = self.server.pages.get(self.path, Page(status=404))
        tag = page.headers.get("ETag")
        unchanged = tag is not None and headers.get("if-none-match") == tag
        body = b"" if unchanged else page.body
        self.send_response(304 if unchanged else page.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in page.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def carded() -> Iterator[Carded]:
    """Serve until the end of the block."""
    with serving(Carded()) as server:
        yield server

"""A login, step by step, as a browser and an OAuth client take them; every step may be sent to either worker."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import httpx
from sqlalchemy import Connection, create_engine, text

from tests.support.oauth_server import USER_COOKIE
from tests.support.proxy import Proxy

REDIRECT: Final = "http://127.0.0.1:9999/done"


@dataclass(frozen=True)
class Pkce:
    """A client's own verifier and its challenge."""

    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    @property
    def challenge(self) -> str:
        """What S256 makes of the verifier."""
        return base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()


@dataclass(frozen=True)
class Pair:
    """Two proxy processes, each its own worker, on one database and under one public address (that of the first)."""

    a: Proxy
    b: Proxy
    directory: Path
    database_url: str

    def add_key(self, **fields: Any) -> str:
        """Create a key that both know."""
        key = self.a.add_key(**fields)
        return self.b.add_key(key=key, **fields)

    def call(self, method: str, path: str, *, key: str | None = None, at: Proxy | None = None, **given: Any) -> Any:
        """Send a request with a key (default: the master key)."""
        with (at or self.a).client(self.a.master_key if key is None else key) as client:
            return client.request(method, path, **given)

    def expire(self, stage: str) -> int:
        """Let every flow of a stage end now, and return how many those were."""
        past = "2020-01-01 00:00:00.000000"
        ended = text("UPDATE routeiq_oauth_flow SET expires_at = :past WHERE kind = :stage")
        with self._database() as connection:
            return connection.execute(ended, {"past": past, "stage": stage}).rowcount

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Read a table of the store."""
        with self._database() as connection:
            return [dict(row) for row in connection.execute(text(f"SELECT * FROM {table}")).mappings()]

    @contextmanager
    def _database(self) -> Iterator[Connection]:
        engine = create_engine(self.database_url.replace("postgresql:", "postgresql+psycopg:"))
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()

    def log(self) -> str:
        """What both have written."""
        return self.a.log() + self.b.log()


@dataclass
class Client:
    """A key's OAuth client and the browser of its user."""

    pair: Pair
    key: str
    person: str = "alice"
    """Who is logged in at the authorization server in this browser."""
    browser: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.browser = httpx.Client(trust_env=False, timeout=60.0, cookies={USER_COOKIE: self.person})

    def register(self, server: str, at: Proxy | None = None, **body: Any) -> httpx.Response:
        """Register a client."""
        asked = {"redirect_uris": [REDIRECT], "client_name": "test"} | body
        return self._send("POST", server, "register", at, json=asked)

    def authorize(self, server: str, pkce: Pkce, at: Proxy | None = None, **query: str | None) -> httpx.Response:
        """Ask to be sent to the authorization server."""
        asked = {
            "response_type": "code",
            "redirect_uri": REDIRECT,
            "state": "client-state",
            "code_challenge": pkce.challenge,
            "code_challenge_method": "S256",
        } | query
        given = {name: value for name, value in asked.items() if value is not None}
        return self._send("GET", server, "authorize", at, params=given)

    def consent(self, sent: httpx.Response) -> str:
        """Follow to the authorization server, and return the address at which it sends the browser back."""
        assert sent.status_code == 302, sent.text
        answer = self.browser.get(sent.headers["location"])
        assert answer.status_code == 302, answer.text
        return str(answer.headers["location"])

    def come_back(self, address: str, at: Proxy | None = None) -> httpx.Response:
        """Follow back to the gateway, to either worker."""
        parts = urlsplit(address)
        base = (at or self.pair.a).base_url
        return self.browser.get(f"{base}{parts.path}?{parts.query}")

    def fetch(self, server: str, pkce: Pkce, code: str, at: Proxy | None = None, **form: str) -> httpx.Response:
        """Exchange a code."""
        asked = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT,
            "code_verifier": pkce.verifier,
        } | form
        return self.token(server, asked, at)

    def token(self, server: str, form: Mapping[str, str], at: Proxy | None = None) -> httpx.Response:
        """Ask the token endpoint."""
        return self._send("POST", server, "token", at, data=dict(form))

    def code(self, server: str, pkce: Pkce, at: Proxy | None = None, back_at: Proxy | None = None, **query: str) -> str:
        """Walk the whole way to a code."""
        back = self.come_back(self.consent(self.authorize(server, pkce, at, **query)), back_at or at)
        assert back.status_code == 302, back.text
        return query_of(back)["code"]

    def login(self, server: str, at: Proxy | None = None) -> dict[str, Any]:
        """Walk the whole way to a token."""
        pkce = Pkce()
        answer = self.fetch(server, pkce, self.code(server, pkce, at), at)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def status(self, server: str, at: Proxy | None = None) -> dict[str, Any]:
        """Read whether there is a login."""
        path = f"/v1/mcp/server/{server}/oauth-user-credential/status"
        return dict(self.pair.call("GET", path, key=self.key, at=at).raise_for_status().json())

    def _send(self, method: str, server: str, what: str, at: Proxy | None, **given: Any) -> httpx.Response:
        base = (at or self.pair.a).base_url
        headers = {"Authorization": f"Bearer {self.key}"}
        return self.browser.request(
            method, f"{base}/v1/mcp/server/oauth/{server}/{what}", headers=headers, follow_redirects=False, **given
        )


def query_of(response: httpx.Response) -> dict[str, str]:
    """Return the parameters of an address to which a response redirects."""
    return dict(parse_qsl(urlsplit(response.headers["location"]).query, keep_blank_values=True))

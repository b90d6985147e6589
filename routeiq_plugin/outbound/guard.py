"""Decides which addresses this gateway will call, at registration and again at every connection."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import httpx

from routeiq_plugin.errors import AddressRefused
from routeiq_plugin.outbound.addresses import (
    Address,
    BadHostError,
    Host,
    Kind,
    is_metadata,
    is_metadata_name,
    judged,
    kind,
    parse_host,
    plain,
)
from routeiq_plugin.outbound.allowed import SETTING, AllowedHosts
from routeiq_plugin.outbound.resolver import Resolver, system_resolver

RESOLVE_SECONDS: Final = 10.0
"""Longest wait for the resolver."""
LONGEST_URL: Final = 8192
"""Characters; longer ones are a mistake or an attack."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f-\xa0\\]|\s")
_NEVER: Final = "is a cloud metadata service, which is never called, whatever the settings say"
_OPEN: Final = f"if it is yours, name it in `{SETTING}`"

log: Final = logging.getLogger(__name__)


class Unresolvable(AddressRefused):
    """The name has no address for now; reads exactly like a refusal, so that internal names cannot be guessed."""


class _BadUrlError(ValueError):
    """The message completes "<field>: the URL ..."."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads, in one spelling."""

    host: Host
    port: int


class Guard:
    """Refuses what is not public unless `routeiq.outbound.allowed_hosts` names it; metadata services always.

    One bad address of a name refuses all of them. Messages name the field, the rule and the setting, and never repeat
    what a name resolved to.
    """

    def __init__(self, allowed_hosts: Sequence[str], resolver: Resolver = system_resolver) -> None:
        """Read the entries; raises `SettingsError` naming a wrong one."""
        self._allowed = AllowedHosts.parse(allowed_hosts)
        self._resolver = resolver

    async def check(self, url: str, field: str = "url") -> None:
        """Accept a URL for registration, or raise `AddressRefused` naming `field`; resolves, never connects."""
        try:
            target = parse_url(url)
        except _BadUrlError as wrong:
            raise AddressRefused(f"{field}: the URL {wrong}") from None
        except BadHostError as wrong:
            raise AddressRefused(f"{field}: the host {wrong}") from None
        await self._vet(target, field)
        if not _client_agrees(url, target):
            raise AddressRefused(f"{field}: the URL is not one that can be called, write it in its plain form")

    def trusts(self, url: str) -> bool:
        """Tell whether an operator named this URL's host, or its address, in the settings."""
        try:
            target = parse_url(url)
        except (_BadUrlError, BadHostError):
            return False
        if target.host.address is not None:
            return self._allowed.covers(target.host.address, target.port)
        return self._allowed.names_host(target.host, target.port)

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """List the addresses to connect to, best first, each of them vetted just now; raises `AddressRefused`."""
        field = "the backend's address"
        try:
            parsed = parse_host(host)
        except BadHostError as wrong:
            raise AddressRefused(f"{field}: the host {wrong}") from None
        if not 0 < port < 65_536:
            raise AddressRefused(f"{field}: the port is not 1 to 65535")
        return [str(address) for address in await self._vet(Target(parsed, port), field)]

    async def _vet(self, target: Target, field: str) -> Sequence[Address]:
        host, port = target.host, target.port
        if is_metadata_name(host.name):
            raise AddressRefused(f"{field}: the host {_NEVER}")
        if host.address is not None:
            self._vet_literal(host, host.address, port, field)
            return [host.address]
        named = self._allowed.names_host(host, port)
        if host.unusual and not named:
            raise AddressRefused(
                f"{field}: the host is spelled in an unusual way; write it in plain lower-case letters"
            )
        found = await self._resolve(host, port, field, named)
        refused = [address for address in found if not self._may_call(address, port, named)]
        if refused:
            log.info("refused to call %s: it resolves to a %s address", host.name, _worst(refused[0]))
            raise AddressRefused(_unresolved(field, named))
        return found

    def _vet_literal(self, host: Host, address: Address, port: int, field: str) -> None:
        if is_metadata(address):
            raise AddressRefused(f"{field}: the host {_NEVER}")
        if host.unusual and not self._allowed.covers(address, port):
            raise AddressRefused(f"{field}: the host is an address in an unusual spelling; write {address}")
        if not self._may_call(address, port, named=False):
            raise AddressRefused(f"{field}: the host is a {_worst(address)} address; {_OPEN}")

    def _may_call(self, address: Address, port: int, named: bool) -> bool:
        if is_metadata(address):
            return False
        return named or all(kind(each) is Kind.PUBLIC or self._allowed.covers(each, port) for each in judged(address))

    async def _resolve(self, host: Host, port: int, field: str, named: bool) -> Sequence[Address]:
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = await self._resolver(host.query, port)
            addresses = [plain(ip_address(text)) for text in found]
        except (OSError, UnicodeError, ValueError) as failure:  # TimeoutError is an OSError
            log.info("refused to call %s: it does not resolve (%s)", host.name, type(failure).__name__)
            raise Unresolvable(_unresolved(field, named)) from None
        if not addresses:
            raise Unresolvable(_unresolved(field, named))
        return addresses


def parse_url(url: str) -> Target:
    """Read an http(s) URL strictly; raises `_BadUrlError` or `BadHostError` with the rule that it breaks."""
    if len(url) > LONGEST_URL:
        raise _BadUrlError(f"is longer than {LONGEST_URL} characters")
    if _UNSAFE.search(url):
        raise _BadUrlError("holds white space, a control character or a backslash")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _BadUrlError("is malformed, or its port is not 1 to 65535") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise _BadUrlError("must begin with http:// or https://")
    if "@" in parts.netloc:
        raise _BadUrlError("must not hold a user name or password; use headers for credentials")
    if port == 0:
        raise _BadUrlError("is malformed, or its port is not 1 to 65535")
    return Target(parse_host(_host_text(parts.netloc)), port or _DEFAULT_PORTS[parts.scheme])


def _host_text(netloc: str) -> str:
    """Cut the port off; `SplitResult.hostname` would also lower-case and drop what we want to see."""
    if netloc.startswith("["):
        host, bracket, _ = netloc.partition("]")
        return host + bracket
    return netloc.partition(":")[0]


def _client_agrees(url: str, target: Target) -> bool:
    """Compare with how the HTTP client reads the same URL: two readings fool a guard (Orange Tsai, Black Hat 2017)."""
    try:
        seen = httpx.URL(url)
        host = parse_host(seen.raw_host.decode("ascii"))
    except (httpx.InvalidURL, BadHostError):
        return False
    port = seen.port or _DEFAULT_PORTS.get(seen.scheme)
    return (host.name, port) == (target.host.name, target.port)


def _worst(address: Address) -> Kind:
    """Name the kind that refuses the address: its own, or that of an address which it embeds."""
    return next((found for found in map(kind, judged(address)) if found is not Kind.PUBLIC), Kind.PUBLIC)


def _unresolved(field: str, named: bool) -> str:
    """One text for "no such name" and "a private address": telling them apart would map the internal network."""
    if named:
        return f"{field}: the host does not resolve to an address that may be called; cloud metadata services never are"
    return f"{field}: the host does not resolve to public addresses only; {_OPEN}"

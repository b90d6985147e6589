"""The entries of `routeiq.outbound.allowed_hosts`, matched on parsed hosts, never on text prefixes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from typing import Final, TypeAlias

from routeiq_plugin.errors import SettingsError
from routeiq_plugin.outbound.addresses import Address, BadHostError, Host, parse_host, plain

SETTING: Final = "routeiq.outbound.allowed_hosts"
"""Where operators write the entries."""

Network: TypeAlias = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class _Name:
    name: str
    below: bool
    """`*.name`: hosts below it, not itself."""
    port: int | None

    def matches(self, host: Host, port: int) -> bool:
        if self.port not in (None, port):
            return False
        return host.name.endswith("." + self.name) if self.below else host.name == self.name


@dataclass(frozen=True, slots=True)
class _Range:
    network: Network
    port: int | None

    def matches(self, address: Address, port: int) -> bool:
        return self.port in (None, port) and address.version == self.network.version and address in self.network


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """What an operator opened beyond the public internet; a name and an address are asked separately."""

    names: Sequence[_Name]
    ranges: Sequence[_Range]

    @classmethod
    def parse(cls, entries: Sequence[str]) -> AllowedHosts:
        """Read `host`, `*.suffix` or `[v6]`, with or without `:port`, address or CIDR; raises `SettingsError`."""
        parsed = [_entry(text) for text in entries]
        return cls(
            [entry for entry in parsed if isinstance(entry, _Name)],
            [entry for entry in parsed if isinstance(entry, _Range)],
        )

    def names_host(self, host: Host, port: int) -> bool:
        """Tell whether an entry names this host by name, so that it may resolve to private addresses."""
        return host.address is None and any(entry.matches(host, port) for entry in self.names)

    def covers(self, address: Address, port: int) -> bool:
        """Tell whether an address or CIDR entry holds this address."""
        return any(entry.matches(plain(address), port) for entry in self.ranges)


def _entry(text: str) -> _Name | _Range:
    try:
        if "/" in text:
            return _Range(_network(text.strip()), None)
        return _host(text.strip().lower())
    except (BadHostError, ValueError) as wrong:
        raise SettingsError(
            f"{SETTING}: {text!r} is not a host, host:port, *.suffix, IP address or CIDR ({wrong})"
        ) from None


def _host(text: str) -> _Name | _Range:
    host_text, port = _split_port(text)
    below = host_text.startswith("*.")
    host = parse_host(host_text.removeprefix("*."))
    if host.address is None:
        return _Name(host.name, below, port)
    if below:
        raise ValueError("an address has no subdomains")
    return _Range(ip_network(host.address), port)


def _split_port(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        host += bracket
        if rest and not rest.startswith(":"):
            raise ValueError("text after the bracket")
        port_text = rest.removeprefix(":") if rest else None
    elif text.count(":") == 1:
        host, _, port_text = text.partition(":")
    else:
        return text, None
    return host, None if port_text is None else _port(port_text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65_536 and len(text) < 6):
        raise ValueError("the port must be 1 to 65535")
    return int(text)


def _network(text: str) -> Network:
    network = ip_network(text, strict=False)
    mapped = plain(network.network_address)
    if isinstance(network, IPv6Network) and isinstance(mapped, IPv4Address) and network.prefixlen >= 96:
        return IPv4Network((mapped, network.prefixlen - 96))
    return network

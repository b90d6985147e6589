"""What an address is and what a host spelling means: pure functions, no look-ups.

Special ranges are those of the IANA special-purpose registries (RFC 6890 and its updates). They are written out here
because `ipaddress.is_global` changed its mind between Python releases and says nothing about embedded addresses.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, TypeAlias
from urllib.parse import unquote

import idna

Address: TypeAlias = IPv4Address | IPv6Address


class Kind(StrEnum):
    """What an address is; only `PUBLIC` may be called without being named in the settings."""

    PUBLIC = "public"
    LOOPBACK = "loopback"
    PRIVATE = "private"
    CGNAT = "carrier-grade NAT"
    LINK_LOCAL = "link-local"
    MULTICAST = "multicast"
    UNSPECIFIED = "unspecified"
    RESERVED = "reserved"
    NAT64 = "NAT64"
    TRANSITION = "IPv6 transition"
    METADATA = "cloud metadata"


_IPV4: Final[Sequence[tuple[IPv4Network, Kind]]] = [
    (IPv4Network(text), kind)
    for text, kind in (
        ("0.0.0.0/8", Kind.UNSPECIFIED),  # "this network": Linux connects 0.0.0.0 to itself
        ("10.0.0.0/8", Kind.PRIVATE),
        ("100.64.0.0/10", Kind.CGNAT),
        ("127.0.0.0/8", Kind.LOOPBACK),
        ("169.254.0.0/16", Kind.LINK_LOCAL),
        ("172.16.0.0/12", Kind.PRIVATE),
        ("192.0.0.0/24", Kind.RESERVED),  # IETF protocol assignments
        ("192.0.2.0/24", Kind.RESERVED),  # documentation
        ("192.88.99.0/24", Kind.TRANSITION),  # deprecated 6to4 relays
        ("192.168.0.0/16", Kind.PRIVATE),
        ("198.18.0.0/15", Kind.RESERVED),  # benchmarking
        ("198.51.100.0/24", Kind.RESERVED),  # documentation
        ("203.0.113.0/24", Kind.RESERVED),  # documentation
        ("224.0.0.0/4", Kind.MULTICAST),
        ("240.0.0.0/4", Kind.RESERVED),  # and limited broadcast
    )
]

_COMPATIBLE: Final = IPv6Network("::/96")
_TRANSLATED: Final = IPv6Network("::ffff:0:0:0/96")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL: Final = IPv6Network("64:ff9b:1::/48")

_IPV6: Final[Sequence[tuple[IPv6Network, Kind]]] = [
    (IPv6Network("::/128"), Kind.UNSPECIFIED),
    (IPv6Network("::1/128"), Kind.LOOPBACK),
    (_COMPATIBLE, Kind.TRANSITION),
    (_TRANSLATED, Kind.TRANSITION),
    (_NAT64, Kind.NAT64),
    (_NAT64_LOCAL, Kind.NAT64),
    (IPv6Network("2001::/32"), Kind.TRANSITION),  # Teredo
    (IPv6Network("2001::/23"), Kind.RESERVED),  # IETF protocol assignments
    (IPv6Network("2001:db8::/32"), Kind.RESERVED),  # documentation
    (IPv6Network("2002::/16"), Kind.TRANSITION),  # 6to4
    (IPv6Network("3fff::/20"), Kind.RESERVED),  # documentation
    (IPv6Network("2000::/3"), Kind.PUBLIC),
    (IPv6Network("fc00::/7"), Kind.PRIVATE),
    (IPv6Network("fe80::/10"), Kind.LINK_LOCAL),
    (IPv6Network("fec0::/10"), Kind.PRIVATE),  # site-local, deprecated and still routed by some
    (IPv6Network("ff00::/8"), Kind.MULTICAST),
]
"""First match wins; what is in none of them is not allocated, hence reserved."""

_METADATA: Final[frozenset[int]] = frozenset(
    int(address)
    for address in (
        IPv4Address("169.254.169.254"),  # AWS, Azure, GCP, OCI, DigitalOcean, Hetzner, OpenStack
        IPv4Address("169.254.169.250"),  # Rancher
        IPv4Address("169.254.170.2"),  # AWS ECS task credentials
        IPv4Address("169.254.170.23"),  # AWS EKS pod identity
        IPv4Address("169.254.0.23"),  # Tencent
        IPv4Address("169.254.42.42"),  # Scaleway
        IPv4Address("168.63.129.16"),  # Azure wire server
        IPv4Address("100.100.100.200"),  # Alibaba
        IPv4Address("192.0.0.192"),  # Oracle, classic
        IPv6Address("fd00:ec2::254"),  # AWS
        IPv6Address("fd00:ec2::23"),  # AWS EKS pod identity
        IPv6Address("fd20:ce::254"),  # GCP
        IPv6Address("fd00:42::42"),  # Scaleway
        IPv6Address("fe80::a9fe:a9fe"),  # OpenStack
    )
)

_METADATA_NAMES: Final = (
    "metadata.google.internal",
    "metadata.goog",
    "metadata.azure.internal",
    "metadata.azure.com",
    "metadata.tencentyun.com",
    "metadata.packet.net",
    "metadata.platformequinix.com",
    "instance-data.ec2.internal",
    "instance-data",
    "rancher-metadata",
)
"""Bare `metadata` is a likely name of somebody's own service; where it means the cloud's, its address is refused."""


def plain(address: Address) -> Address:
    """Undo IPv4-mapped form (`::ffff:a.b.c.d`, which the system connects as IPv4) and drop an IPv6 zone."""
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or IPv6Address(int(address))


def kind(address: Address) -> Kind:
    """Classify the address by itself, whatever it embeds; see `judged`."""
    address = plain(address)
    if is_metadata(address):
        return Kind.METADATA
    if isinstance(address, IPv4Address):
        return next((found for network, found in _IPV4 if address in network), Kind.PUBLIC)
    return next((found for network, found in _IPV6 if address in network), Kind.RESERVED)


def embedded(address: Address) -> Sequence[IPv4Address]:
    """List the IPv4 addresses that this one leads to: IPv4-compatible, SIIT, NAT64, 6to4, Teredo (both), ISATAP."""
    address = plain(address)
    if isinstance(address, IPv4Address):
        return ()
    value = int(address)
    last = IPv4Address(value & 0xFFFF_FFFF)
    if address in _NAT64 or address in _TRANSLATED or (address in _COMPATIBLE and value > 1):
        return (last,)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    if (value >> 32) & 0xFDFF_FFFF == 0x5EFE:  # ISATAP (RFC 5214), with or without the universal bit
        return (last,)
    return ()


def judged(address: Address) -> Sequence[Address]:
    """All addresses that a connection to `address` may end at: itself and what it embeds."""
    return (plain(address), *embedded(address))


def is_metadata(address: Address) -> bool:
    """Tell whether this is, or embeds, the address of a cloud's metadata service."""
    candidates = (*judged(address), *_local_nat64(plain(address)))
    return any(int(candidate) in _METADATA for candidate in candidates)


def is_metadata_name(name: str) -> bool:
    """Tell whether a canonical host name is that of a metadata service, or below it."""
    return any(name == known or name.endswith("." + known) for known in _METADATA_NAMES)


def _local_nat64(address: Address) -> Sequence[IPv4Address]:
    """Read a local-use NAT64 address in every layout of RFC 6052 2.2: the prefix length in use is not known here."""
    if isinstance(address, IPv4Address) or address not in _NAT64_LOCAL:
        return ()
    octets = address.packed
    layouts = (octets[6:8] + octets[9:11], octets[7:8] + octets[9:12], octets[9:13], octets[12:16])
    return [IPv4Address(layout) for layout in layouts]


class BadHostError(ValueError):
    """This text cannot be a host; the message completes "the host ..."."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host in one spelling: lower case, ASCII, addresses as addresses."""

    name: str
    """A-label name without trailing dot, or the address in its usual spelling, without brackets."""
    address: Address | None = None
    rooted: bool = False
    """A trailing dot was given: the resolver must not try its search domains."""
    unusual: bool = False
    """Written so that other programs may read it differently: octal, hexadecimal, percent-encoded, fullwidth ..."""

    @property
    def query(self) -> str:
        """What to ask the resolver."""
        return f"{self.name}." if self.rooted else self.name


_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f-\xa0\\/?#@<>^|`{}\"']|\s")
_LABEL: Final = re.compile(r"[a-z0-9_-]{1,63}")
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_IDEOGRAPHIC_DOTS: Final = str.maketrans(dict.fromkeys("\u3002\uff0e\uff61", "."))


def parse_host(text: str) -> Host:
    """Read a host as the most permissive program would (inet_aton, UTS 46, percent-decoding); raises `BadHostError`."""
    decoded = _decoded(text)
    if decoded.startswith("[") or ":" in decoded:
        return _ipv6(decoded)
    canonical = _ascii(decoded)
    rooted = canonical.endswith(".")
    name = canonical.removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        address = inet_aton(name)
        return Host(str(address), address, unusual=text != str(address))
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise BadHostError("is not a valid name")
    unusual = "%" in text or (not text.isascii() and "xn--" not in name)
    return Host(name, rooted=rooted, unusual=unusual)


def inet_aton(text: str) -> IPv4Address:
    """Read one to four decimal, octal (`0177`) or hexadecimal (`0x7f`) parts; raises `BadHostError`.

    The last part fills the bytes that are left, so `127.1` is 127.0.0.1.
    """
    parts = text.split(".")
    if len(parts) > 4 or not all(_NUMBER.fullmatch(part) for part in parts):
        raise BadHostError("ends in a number and is not an IPv4 address")
    *heads, last = [_number(part) for part in parts]
    if any(head > 255 for head in heads) or last >= 256 ** (4 - len(heads)):
        raise BadHostError("ends in a number and is not an IPv4 address")
    value = last + sum(head << (8 * (3 - place)) for place, head in enumerate(heads))
    return IPv4Address(value)


def _number(part: str) -> int:
    if part[:2] in ("0x", "0X"):
        return int(part[2:] or "0", 16)
    if len(part) > 1 and part.startswith("0") and not set(part) & set("89"):
        return int(part, 8)
    if len(part) > 1 and part.startswith("0"):
        raise BadHostError("ends in a number and is not an IPv4 address")
    if len(part) > 10:  # more than 2**32, and int() of a very long text is slow
        raise BadHostError("ends in a number and is not an IPv4 address")
    return int(part)


def _decoded(text: str) -> str:
    if not text:
        raise BadHostError("is missing")
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise BadHostError("is not valid UTF-8") from None
    if _FORBIDDEN.search(text) or _FORBIDDEN.search(decoded):
        raise BadHostError("holds a character that no host may hold")
    return decoded


def _ipv6(text: str) -> Host:
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        address = IPv6Address(unicodedata.normalize("NFKC", inner))
    except AddressValueError:
        raise BadHostError("is not a valid IPv6 address") from None
    if address.scope_id is not None:
        raise BadHostError("names an IPv6 zone")
    return Host(str(plain(address)), plain(address), unusual=not text.isascii())


def _ascii(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text.translate(_IDEOGRAPHIC_DOTS)).lower().translate(_IDEOGRAPHIC_DOTS)
    if folded.isascii():
        return folded
    try:
        return idna.encode(folded, uts46=True).decode("ascii")
    except idna.IDNAError:
        raise BadHostError("is not a valid internationalised name") from None

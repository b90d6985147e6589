"""Classification and host spellings, as tables and against independent readings."""

from __future__ import annotations

import random
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address

import pytest

from routeiq_plugin.outbound.addresses import BadHostError, Kind, embedded, inet_aton, is_metadata, kind, parse_host
from routeiq_plugin.outbound.allowed import AllowedHosts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.1.1.1", Kind.PUBLIC),
        ("0.1.2.3", Kind.UNSPECIFIED),
        ("9.255.255.255", Kind.PUBLIC),
        ("11.0.0.0", Kind.PUBLIC),
        ("100.63.255.255", Kind.PUBLIC),
        ("100.64.0.0", Kind.CGNAT),
        ("100.127.255.255", Kind.CGNAT),
        ("100.128.0.0", Kind.PUBLIC),
        ("172.15.255.255", Kind.PUBLIC),
        ("172.32.0.0", Kind.PUBLIC),
        ("192.0.0.9", Kind.RESERVED),
        ("192.88.99.1", Kind.TRANSITION),
        ("223.255.255.255", Kind.PUBLIC),
        ("239.255.255.255", Kind.MULTICAST),
        ("240.0.0.1", Kind.RESERVED),
        ("::ffff:10.0.0.1", Kind.PRIVATE),
        ("::2", Kind.TRANSITION),
        ("100::1", Kind.RESERVED),
        ("2001::1", Kind.TRANSITION),
        ("2001:1ff::1", Kind.RESERVED),
        ("2001:200::1", Kind.PUBLIC),
        ("2001:db8::1", Kind.RESERVED),
        ("2002::1", Kind.TRANSITION),
        ("2003::1", Kind.PUBLIC),
        ("3fff:fff::1", Kind.RESERVED),
        ("3fff:1000::1", Kind.PUBLIC),
        ("4000::1", Kind.RESERVED),
        ("5f00::1", Kind.RESERVED),
        ("fbff::1", Kind.RESERVED),
        ("fe80::1%eth0", Kind.LINK_LOCAL),
        ("fe80::a9fe:a9fe%eth0", Kind.METADATA),
        ("fd00:ec2::254", Kind.METADATA),
    ],
)
def test_kind(text: str, expected: Kind) -> None:
    assert kind(ip_address(text)) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2606:2800::1", []),
        ("::1", []),
        ("::7f00:1", ["127.0.0.1"]),
        ("::ffff:0:7f00:1", ["127.0.0.1"]),
        ("64:ff9b::7f00:1", ["127.0.0.1"]),
        ("2002:7f00:1::", ["127.0.0.1"]),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", ["65.54.227.120", "192.0.2.45"]),
        ("2606:2800::5efe:7f00:1", ["127.0.0.1"]),
        ("2606:2800::200:5efe:7f00:1", ["127.0.0.1"]),
    ],
)
def test_embedded(text: str, expected: list[str]) -> None:
    assert [str(address) for address in embedded(IPv6Address(text))] == expected


@pytest.mark.parametrize("layout", ["64:ff9b:1:a9fe:a9:fe00::", "64:ff9b:1::a9:fea9:fe00:0", "64:ff9b:1::a9fe:a9fe"])
def test_metadata_is_seen_in_the_layouts_of_local_nat64(layout: str) -> None:
    assert is_metadata(IPv6Address(layout))


def test_no_private_range_of_the_standard_library_is_public_here() -> None:
    """A second opinion over random addresses: ours may be stricter, never laxer."""
    draw = random.Random(20260101)
    for _ in range(20_000):
        four = IPv4Address(draw.getrandbits(32))
        six = IPv6Address(draw.getrandbits(128) >> draw.choice((0, 1, 2, 32, 96)) | draw.choice((0, 0x20 << 120)))
        for address in (four, six):
            if kind(address) is Kind.PUBLIC:
                assert address.is_global, address
                assert not address.is_multicast, address


def test_numbers_are_read_as_the_system_reads_them() -> None:
    draw = random.Random(7)
    for _ in range(5000):
        parts = [draw.randrange(2 ** draw.choice((3, 8, 9, 16, 24, 32, 33))) for _ in range(draw.randint(1, 5))]
        text = ".".join(draw.choice((f"{part}", f"0x{part:x}", f"0X{part:X}", f"0{part:o}")) for part in parts)
        try:
            expected: str | None = str(IPv4Address(socket.inet_aton(text)))
        except OSError:
            expected = None
        try:
            found: str | None = str(inet_aton(text))
        except BadHostError:
            found = None
        assert found == expected, text


@pytest.mark.parametrize("text", ["", ".", "..", "a..b", "a b", "a/b", "a\x00b", "%ff", "1" * 5000, "a" * 64, "x%25y"])
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(BadHostError):
        parse_host(text)


def test_a_host_has_one_spelling() -> None:
    assert parse_host("BÜCHER.example.").name == parse_host("xn--bcher-kva.EXAMPLE").name == "xn--bcher-kva.example"
    assert parse_host("[2606:2800:0::1]").name == parse_host("2606:2800::1").name == "2606:2800::1"


def test_networks_match_what_they_hold_and_names_match_at_dots() -> None:
    draw = random.Random(11)
    for _ in range(3000):
        network = IPv4Network((draw.getrandbits(32), draw.randint(0, 32)), strict=False)
        address = IPv4Address(draw.choice((draw.getrandbits(32), int(network[draw.randrange(network.num_addresses)]))))
        assert AllowedHosts.parse([str(network)]).covers(address, 80) == (address in network)
        labels = [draw.choice(("a", "b", "ab")) for _ in range(draw.randint(1, 4))]
        suffix = [draw.choice(("a", "b", "ab")) for _ in range(draw.randint(1, 3))]
        host = parse_host(".".join(labels))
        below = len(labels) > len(suffix) and labels[-len(suffix) :] == suffix
        assert AllowedHosts.parse(["*." + ".".join(suffix)]).names_host(host, 80) == below
        assert AllowedHosts.parse([".".join(suffix)]).names_host(host, 80) == (labels == suffix)
        assert not AllowedHosts.parse([".".join(labels) + ":81"]).names_host(host, 80)

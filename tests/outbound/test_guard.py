"""What may be registered, what the refusal says, and what it never says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from routeiq_plugin.errors import AddressRefused, SettingsError, wire
from routeiq_plugin.outbound import guard as guard_module
from routeiq_plugin.outbound.guard import Guard, Unresolvable

from .servers import Names
from .urls import ACCEPTED, NAMES, REFUSED


@pytest.mark.parametrize("url", ACCEPTED)
async def test_public_urls_are_accepted(url: str) -> None:
    await Guard((), Names(NAMES)).check(url)


@pytest.mark.parametrize(("url", "rule"), REFUSED)
async def test_everything_else_is_refused(url: str, rule: str) -> None:
    with pytest.raises(AddressRefused, match=rule) as refused:
        await Guard((), Names(NAMES)).check(url.replace("{port}", "9"), "agent_card_params.url")
    assert str(refused.value).startswith("agent_card_params.url: ")
    assert wire(refused.value).status == 400


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9/"),
        ("127.0.0.1:9", "http://127.0.0.1:9/"),
        ("127.0.0.0/8", "http://127.0.0.1:9/"),
        ("127.0.0.0/8", "http://[::ffff:127.0.0.1]:9/"),
        ("::ffff:127.0.0.0/104", "http://127.0.0.1:9/"),
        ("127.0.0.0/8", "http://loop.example.com/"),
        ("10.0.0.0/8", "http://agents.internal/"),
        ("10.1.2.3", "http://agents.internal/"),
        ("::1", "http://[::1]:9/"),
        ("[::1]:9", "http://[::1]:9/"),
        ("[::1]", "http://[::1]:9/"),
        ("localhost", "http://LOCALHOST:9/"),
        ("localhost:9", "http://localhost:9/"),
        ("localhost", "http://localhost.:9/"),
        ("agents.internal", "http://agents.internal/"),
        ("Agents.Internal.", "http://agents.internal/"),
        ("agents.internal:80", "http://agents.internal/"),
        ("agents.internal:443", "https://agents.internal/"),
        ("*.internal", "http://agents.internal/"),
        ("*.internal:80", "http://agents.internal/"),
        ("*.example.com", "http://mixed.example.com/"),
        ("127.0.0.1", "http://2130706433/"),
        ("fe80::/10", "http://[fe80::1]/"),
    ],
)
async def test_the_setting_opens_what_it_names(allowed: str, url: str) -> None:
    await Guard((allowed,), Names(NAMES)).check(url)


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("127.0.0.1:9", "http://127.0.0.1:10/"),
        ("127.0.0.1", "http://127.0.0.2:9/"),
        ("127.0.0.1", "http://mixed-loop.example.com/"),
        ("10.0.0.0/8", "http://127.0.0.1/"),
        ("10.0.0.0/8", "http://mixed.example.com/"),
        ("agents.internal", "http://agents.internal.evil.com/"),
        ("agents.internal", "http://evil-agents.internal/"),
        ("agents.internal", "http://agents.internal@127.0.0.1/"),
        ("agents.internal:80", "https://agents.internal/"),
        ("agents.internal", "http://10.1.2.3/"),
        ("*.internal", "http://internal/"),
        ("*.internal", "http://evilinternal/"),
        ("*.internal", "http://agents.internal.evil.com/"),
        ("::/0", "http://127.0.0.1/"),
        ("64:ff9b::/96", "http://[64:ff9b::7f00:1]/"),
    ],
)
async def test_the_setting_opens_nothing_else(allowed: str, url: str) -> None:
    answers = {
        "agents.internal.evil.com": [["10.1.2.3"]],
        "evil-agents.internal": [["10.1.2.3"]],
        "internal": [["10.1.2.3"]],
        "evilinternal": [["10.1.2.3"]],
        "mixed-loop.example.com": [["127.0.0.1", "127.0.0.2"]],
    }
    with pytest.raises(AddressRefused):
        await Guard((allowed,), Names({**NAMES, **answers})).check(url)


METADATA = [url for url, rule in REFUSED if rule == "never called"]


@pytest.mark.parametrize("url", [*METADATA, "http://meta.example.com/"])
async def test_metadata_is_never_opened(url: str) -> None:
    allowed = ("0.0.0.0/0", "::/0", "169.254.169.254", "*.example.com", "*.internal", "metadata.google.internal")
    with pytest.raises(AddressRefused, match="never") as refused:
        await Guard(allowed, Names(NAMES)).check(url)
    assert "routeiq.outbound" not in str(refused.value), "no setting opens this, so none is suggested"


async def test_nat64_networks_open_their_prefix_for_public_addresses_only() -> None:
    guard = Guard(("64:ff9b::/96",), Names({"v4.example.com": [["64:ff9b::5db8:d822"]]}))
    await guard.check("http://v4.example.com/")
    with pytest.raises(AddressRefused):
        await guard.check("http://[64:ff9b::10.0.0.1]/")


@pytest.mark.parametrize("name", ["loop", "mixed", "nat64", "meta", "nowhere", "empty", "zone"])
async def test_a_refused_name_tells_nothing_about_its_addresses(name: str) -> None:
    with pytest.raises(AddressRefused) as refused:
        await Guard((), Names(NAMES)).check(f"http://{name}.example.com/", "url")
    assert str(refused.value) == (
        "url: the host does not resolve to public addresses only; "
        "if it is yours, name it in `routeiq.outbound.allowed_hosts`"
    )


async def test_addresses_are_vetted_each_time_and_in_the_order_of_the_resolver() -> None:
    names = Names(NAMES)
    guard = Guard((), names)
    assert await guard.addresses("two.example.com", 443) == [
        "93.184.216.34",
        "2606:2800:220:1:248:1893:25c8:1946",
    ]
    assert await guard.addresses("::ffff:93.184.216.34", 80) == ["93.184.216.34"]
    await guard.addresses("rebind.example.com", 80)
    with pytest.raises(AddressRefused) as refused:
        await guard.addresses("rebind.example.com", 80)
    assert "rebind" not in str(refused.value), "whoever calls an agent need not learn where it lives"
    assert names.asked == ["two.example.com", "rebind.example.com", "rebind.example.com"]


async def test_a_rooted_name_is_asked_for_as_such() -> None:
    names = Names({"agents.svc": [["93.184.216.34"]]})
    await Guard((), names).check("http://agents.svc./")
    assert names.asked == ["agents.svc."]


async def test_literals_are_never_asked_for() -> None:
    names = Names({})
    for url, _ in REFUSED[:31]:
        with pytest.raises(AddressRefused):
            await Guard((), names).check(url.replace("{port}", "9"))
    assert names.asked == []


async def test_a_resolver_that_hangs_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(guard_module, "RESOLVE_SECONDS", 0.01)
    with pytest.raises(Unresolvable):
        await Guard((), hang).check("http://agents.example.com/")


async def test_the_system_resolver_knows_loopback() -> None:
    with pytest.raises(AddressRefused, match="does not resolve to public"):
        await Guard(()).check("http://localhost:9/")
    await Guard(("localhost",)).check("http://localhost:9/")


@pytest.mark.parametrize(
    "entry",
    ["*", "**.x", "a.*.b", "*.10.0.0.1", "host:0", "host:65536", "host:x", "[::1", "[::1]x", "10.0.0.0/33", "", "a b"],
)
def test_a_wrong_entry_names_the_setting(entry: str) -> None:
    with pytest.raises(SettingsError, match=r"routeiq\.outbound\.allowed_hosts"):
        Guard((entry,))

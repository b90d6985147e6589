"""Names, pages and streams by themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any

import mcp_types as types
import pytest

from routeiq_plugin.errors import BackendError, InvalidRequest
from routeiq_plugin.mcp.catalog import Offer
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.offers import ServerOffer
from routeiq_plugin.mcp.relay.aggregate import links, lists, pages
from routeiq_plugin.mcp.relay.aggregate.confluence import Confluence
from routeiq_plugin.mcp.relay.aggregate.namespaces import Namespaces, servers_named

pytestmark = pytest.mark.requirement("MCP-21")


def server(name: str, **fields: Any) -> Server:
    """Describe a server of ours."""
    return Server({"server_id": name.encode().hex(), "alias": name, **fields}, version=1)


@pytest.mark.parametrize("pair", [("my server", "my_server"), ("a", "a-b"), ("a-b", "a")])
def test_servers_whose_prefixes_could_be_confused_are_told_apart_by_id(pair: tuple[str, str]) -> None:
    first, second, third = server(pair[0]), server(pair[1]), server("else")
    names = Namespaces([first, second, third])
    for each in (first, second):
        assert names.prefixed(each, "tool") == f"{each.server_id}-tool"
        assert list(names.named(f"{each.server_id}-tool")) == [(each, "tool")]
        assert names.opened(names.located(each, "memo://a")) == (each, "memo://a")
    assert names.prefixed(third, "tool") == "else-tool"
    assert list(names.named("else-tool")) == [(third, "tool")]
    assert list(names.named(f"{third.server_id}-tool")) == [(third, "tool")], "the id always works"


@pytest.mark.parametrize("uri", ["memo://a?b=c#d", "urn:isbn:1", "memo://{name}", "file:///a%20b", "mcp-server://x/y"])
def test_a_uri_that_names_its_server_holds_the_server_s_own_to_the_letter(uri: str) -> None:
    one = server("Ünï côde")
    names = Namespaces([one, server("two")])
    written = names.located(one, uri)
    assert written.isascii()
    assert names.opened(written) == (one, uri)
    assert names.opened(written.replace("mcp-server://", "mcp-server://no")) is None
    assert names.opened("mcp-server://two") is None
    (label,) = servers_named(written)
    assert label == "Ünï_côde"


def test_what_might_be_a_server_s_part_of_a_name() -> None:
    assert servers_named("a-b-c") == ["a", "a-b"]
    assert servers_named("tool") == []


def test_names_that_the_operator_gave_are_shown_where_they_are_nothing_else_s() -> None:
    given = server("one", tool_name_to_display_name={"a": "Shown", "b": "two-c"})
    other = server("two")
    tools = {name: types.Tool(name=name, input_schema={}) for name in ("a", "b", "c")}
    offers = [ServerOffer(given, [tools["a"], tools["b"]]), ServerOffer(other, [tools["c"]])]
    named = lists._NAMED[Offer.TOOLS](Namespaces([given, other]), offers)
    assert [name for _, _, name in named] == ["Shown", "one-b", "two-c"]


def test_templates_that_make_the_same_uris_are_told_apart() -> None:
    one, two = server("one"), server("two")
    offers = [
        ServerOffer(each, [types.ResourceTemplate(name="t", uri_template=template)])
        for each, template in ((one, "memo://{name}"), (two, "memo://{id}"))
    ]
    named = lists._NAMED[Offer.TEMPLATES](Namespaces([one, two]), offers)
    assert [name for _, _, name in named] == ["mcp-server://one/memo://{name}", "mcp-server://two/memo://{id}"]


def test_pages_follow_one_another_and_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE", 3)
    found: list[int] = []
    cursor: str | None = None
    for _ in range(4):
        items, cursor = pages.page(range(10), "tools", cursor)
        found += items
    assert (found, cursor) == (list(range(10)), None)


@pytest.mark.parametrize("cursor", ["", "nonsense", 7, {}, "WyJwcm9tcHRzIiwgM10=", "WyJ0b29scyIsIC0xXQ==", "bnVsbA=="])
def test_a_cursor_of_another_list_or_of_none_is_refused(cursor: Any) -> None:
    with pytest.raises(InvalidRequest, match="cursor"):
        pages.page(range(10), "tools", cursor)


@pytest.mark.parametrize("name", [1, "one", "ü-ñ", "x" * 300, None, 1.5])
def test_what_a_server_names_comes_back_to_it(name: Any) -> None:
    written = links.outward("some-server", name)
    assert written.isascii()
    assert links.inward(written) == ("some-server", name)


@pytest.mark.parametrize("name", [1, None, "1", "routeiq.abc", "routeiq.at.", "routeiq.at.!!", "routeiq.at.bnVsbA", {}])
def test_what_is_no_name_of_ours_is_nobody_s(name: Any) -> None:
    assert links.inward(name) is None


async def _counting(*numbers: int) -> AsyncGenerator[dict[str, Any], None]:
    for number in numbers:
        yield {"n": number}


async def _failing() -> AsyncGenerator[dict[str, Any], None]:
    yield {"n": 0}
    raise BackendError("gone")


async def test_streams_join_and_one_that_fails_ends_alone() -> None:
    confluence = Confluence()
    confluence.flow({"fails": _failing, "counts": partial(_counting, 1, 2)})
    found = []
    async with asyncio.timeout(10), aclosing(confluence.messages()) as messages:
        async for each in messages:
            found.append(each["n"])
            if len(found) == 3:
                await confluence.close()
    assert sorted(found) == [0, 1, 2]


async def test_a_stream_that_is_taken_away_ends() -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncGenerator[dict[str, Any], None]:
        try:
            yield {"n": 0}
            await asyncio.Event().wait()
        finally:
            ended.set()

    confluence = Confluence()
    confluence.flow({"endless": endless})
    async with asyncio.timeout(10), aclosing(confluence.messages()) as messages:
        assert await anext(messages) == {"n": 0}
        confluence.flow({})
        await ended.wait()
        await confluence.close()
        assert [each async for each in messages] == []


def test_stored_parts_come_back_as_they_were() -> None:
    link = links.Link("s", "2025-11-25", "3", "identity", True, "info", True)
    part = links.Part(link, {"memo://a": "mcp-server://one/memo://a"})
    stored = json.loads(json.dumps(part.stored()))
    assert stored == part.stored()
    assert link.headers == {"mcp-protocol-version": "2025-11-25", "mcp-session-id": "s"}

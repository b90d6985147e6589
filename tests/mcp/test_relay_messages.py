"""Messages that a server could read otherwise than the gateway judges them."""

from __future__ import annotations

import json

import pytest

from routeiq_plugin.errors import HeaderMismatch, InvalidRequest, MalformedBody
from routeiq_plugin.mcp.relay.messages import require_message

CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "add", "arguments": {"a": 1, "A": 2}}}


@pytest.mark.requirement("MCP-11")
@pytest.mark.parametrize(
    "message",
    [
        CALL,
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": "x", "result": {"role": "assistant"}},
        {"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "no"}},
        {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"Name": 1}},
    ],
)
def test_one_message_is_read(message: object) -> None:
    assert require_message(json.dumps(message).encode(), {}) == message


@pytest.mark.requirement("MCP-11")
@pytest.mark.parametrize(
    "body",
    [
        json.dumps([CALL]).encode(),
        b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"add"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}',
        b'{"jsonrpc":"2.0","id":1,"METHOD":"tools/call","Params":{"name":"add"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","Name":"forbidden"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","name":"forbidden"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":1,"a":2}}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","Arguments":{}}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["add"]}',
        b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1e400,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping"} {}',
        json.dumps(CALL).encode("utf-16"),
        b"\xef\xbb\xbf" + json.dumps(CALL).encode(),
        b"[" * 100_000,
        b'"tools/call"',
        b"",
    ],
    ids=repr,
)
def test_what_can_be_read_in_two_ways_is_refused(body: bytes) -> None:
    with pytest.raises((InvalidRequest, MalformedBody)):
        require_message(body, {})


@pytest.mark.requirement("MCP-11")
@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"mcp-method": "tools/call"}, {**CALL, "method": "ping"}),
        ({"mcp-method": "ping"}, CALL),
        ({"mcp-method": "tools/call", "mcp-name": "forbidden"}, CALL),
    ],
)
def test_headers_say_what_the_message_says(headers: dict[str, str], message: object) -> None:
    with pytest.raises(HeaderMismatch):
        require_message(json.dumps(message).encode(), headers)
    assert require_message(json.dumps(CALL).encode(), {"mcp-method": "tools/call", "mcp-name": "add"}) == CALL

"""Servers on AWS, whose requests LiteLLM signs: listed and called through LiteLLM, under the same rules."""

from __future__ import annotations

import re
from typing import Final

import httpx
import pytest

from tests.mcp.data.calling import call, error, names, result
from tests.mcp.data.conftest import HTTP, OwnBackend, Register
from tests.support.mcp_backends import Speaks
from tests.support.proxy import Proxy

pytestmark = pytest.mark.requirement("MCP-08")

CREDENTIALS: Final = {
    "aws_access_key_id": "AKIDEXAMPLE",
    "aws_secret_access_key": "canary-of-the-signing-key",
    "aws_region_name": "eu-central-1",
    "aws_service_name": "bedrock-agentcore",
}
SIGNED: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/\d{8}/eu-central-1/bedrock-agentcore/aws4_request, "
    r"SignedHeaders=[a-z0-9;-]+, Signature=[0-9a-f]{64}"
)


@pytest.mark.parametrize("speaks", HTTP)
def test_what_is_called_on_aws_is_signed_and_the_key_stays_here(
    calling_proxy: Proxy, client: httpx.Client, registered: Register, own_backend: OwnBackend, speaks: Speaks
) -> None:
    server = registered(own_backend(speaks), "signed", auth_type="aws_sigv4", credentials=CREDENTIALS)

    assert "add" in names(client.get("/mcp/tools", params={"server_id": server.server_id}))
    assert result(call(client, "add", {"a": 1, "b": 2}, server.server_id)) == 3
    assert error(call(client, "add", {"a": "one", "b": 2}, server.server_id), 400)["field"] == "arguments.a"
    with calling_proxy.client(calling_proxy.add_key()) as stranger:
        assert call(stranger, "add", {"a": 1, "b": 2}, server.server_id).status_code == 403

    seen = server.backend.seen()
    assert [each.rpc_method for each in seen].count("tools/call") == 1
    for each in seen:
        assert SIGNED.fullmatch(each.headers["authorization"]), each.headers
    shown = "".join(client.get(path).text for path in ("/v1/mcp/server", f"/v1/mcp/server/{server.server_id}"))
    told = repr([(each.headers, each.body) for each in seen])
    for text in (shown, told, calling_proxy.log()):
        assert CREDENTIALS["aws_secret_access_key"] not in text
    assert calling_proxy.master_key not in told

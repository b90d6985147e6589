"""Servers that are processes of ours: allowed twice, started for a call, given the row's environment, and reaped."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.mcp.data.calling import call, delete, names, register, result
from tests.mcp.data.conftest import CONFIG, recorded
from tests.support.mcp_backends import MODULE, Options, Speaks
from tests.support.processes import import_root, wait_until
from tests.support.proxy import Proxy, merge, running_proxy

pytestmark = pytest.mark.requirement("MCP-08")

SECRET = "canary-of-the-environment"


def fields(**changes: Any) -> dict[str, Any]:
    """A server as it is registered."""
    return {
        "transport": "stdio",
        "timeout": 60,
        "command": str(Path(sys.prefix) / "bin" / "python"),
        "args": ["-m", MODULE, Options(Speaks.STDIO).to_json()],
        "env": {"PYTHONPATH": str(import_root()), "OF_THE_ROW": SECRET},
        **changes,
    }


@pytest.fixture
def process(client: httpx.Client) -> Iterator[str]:
    """The id of a server that is a process."""
    server_id = register(client, "process", **fields())
    yield server_id
    delete(client, server_id)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended and waits for its parent does not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pid_of(client: httpx.Client, server_id: str, text: str = "hello") -> int:
    """The process that answers."""
    return int(result(call(client, "complain", {"text": text}, server_id)))


def test_one_process_serves_calls_and_sees_the_rows_environment_alone(client: httpx.Client, process: str) -> None:
    assert "add" in names(client.get("/mcp/tools", params={"server_id": process}))
    assert result(call(client, "add", {"a": 1, "b": 2}, process)) == 3
    assert pid_of(client, process) == pid_of(client, process)

    answer = call(client, "environment", {}, process).json()
    seen = answer["structuredContent"]
    assert seen["OF_THE_ROW"] == SECRET
    harmless = {"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LC_CTYPE"}
    of_the_test_server = {"PYTHONPATH", "OF_THE_ROW", "LITELLM_LOCAL_MODEL_COST_MAP"}  # the last: tests/__init__.py
    assert set(seen) <= harmless | of_the_test_server


def test_a_process_that_died_is_started_again_and_one_that_is_not_needed_ends(
    client: httpx.Client, process: str
) -> None:
    first = pid_of(client, process)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not is_alive(first), 30, "the end of the process")

    second = pid_of(client, process)
    assert second != first
    delete(client, process)
    wait_until(lambda: not is_alive(second), 30, "the end of a deleted server's process")


def test_what_a_process_complains_of_stays_out_of_answers_and_logs(
    calling_proxy: Proxy, client: httpx.Client, process: str
) -> None:
    for _ in range(250):
        if pid_of(client, process, f"{SECRET} {'x' * 2000}") < 0:
            pytest.fail("no process")
    assert SECRET not in calling_proxy.log()
    assert SECRET not in client.get(f"/v1/mcp/server/{process}").text


def test_a_command_that_does_not_exist_is_a_plain_502(client: httpx.Client) -> None:
    server_id = register(client, "nowhere", **fields(command="/nowhere/python"))
    try:
        refused = call(client, "add", {"a": 1, "b": 2}, server_id)
    finally:
        delete(client, server_id)
    assert refused.status_code == 502
    assert "could not be started" in refused.text
    assert "/nowhere" not in refused.text


@pytest.mark.parametrize(
    ("settings", "env"),
    [({"stdio": False}, {"LITELLM_ENABLE_MCP_STDIO": "true"}), ({"stdio": True}, {})],
    ids=["ours", "stock"],
)
def test_either_gate_keeps_processes_from_being_started(
    tmp_path: Path, settings: dict[str, Any], env: dict[str, str]
) -> None:
    config = merge(CONFIG, {"routeiq": {"mcp": settings}})
    with running_proxy(recorded(tmp_path), config=config, env=env) as proxy, proxy.client() as admin:
        body = {"server_name": "refused", **fields()}
        assert admin.post("/v1/mcp/server", json=body).status_code in (400, 403, 422)
        assert admin.get("/mcp/tools").json()["tools"] == []


def test_processes_end_with_the_proxy(tmp_path: Path) -> None:
    environment = {"LITELLM_ENABLE_MCP_STDIO": "true"}
    with running_proxy(recorded(tmp_path), config=CONFIG, env=environment) as proxy:
        with proxy.client() as admin:
            pid = pid_of(admin, register(admin, "ending", **fields()))
        assert is_alive(pid)
        proxy.stop(timeout=30)
        assert not is_alive(pid)

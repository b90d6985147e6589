"""What was answered 2xx is there after the worst end of the process, and secrets outlive it sealed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.a2a import registry as agents
from tests.a2a.test_secrets import HEADER, TOKEN, at_rest, fields, readable
from tests.conftest import PLUGIN_CONFIG, ProxyFactory
from tests.support import processes
from tests.support.backends import Backend, agent
from tests.support.proxy import Proxy, merge

STOPPED: Final = (0, -15)
"""uvicorn raises the signal again once it has shut down in order, so that its parent learns of it."""

OTHER_SALT: Final = "sk-another-salt-key-3f0d9a"


@pytest.fixture(scope="module")
def strict() -> Iterator[Backend]:
    """An agent that answers only calls that carry both secrets."""
    with agent("1.0", require={"authorization": f"Bearer {TOKEN}", "x-static": HEADER}) as running:
        yield running


def read(proxy: Proxy, agent_id: str) -> dict[str, Any]:
    with proxy.client() as client:
        response = client.get(agents.path(agent_id))
        assert response.status_code == 200, response.text
        return dict(response.json())


def routeiq(proxy: Proxy, *arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command line beside the proxy, in its directory, with its environment and `env`."""
    return subprocess.run(
        [sys.executable, "-m", "routeiq_plugin.cli", *arguments, "--config", str(proxy.config_path)],
        cwd=proxy.workdir,
        env=processes.clean_environment({**proxy.launch.env, **env}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def damage(proxy: Proxy, agent_id: str) -> None:
    """Spoil one sealed value, as a bad disk or a hasty administrator does."""
    with closing(sqlite3.connect(proxy.workdir / "routeiq.db")) as connection, connection:
        spoiled = connection.execute(
            "UPDATE routeiq_agent SET static_headers = 'v2:gcm:' || static_headers WHERE agent_id = ?", (agent_id,)
        )
        assert spoiled.rowcount == 1


def repair(client: httpx.Client, agent_id: str) -> None:
    """Give a damaged agent all its secrets again, and delete it."""
    assert agents.call(client, agent_id).status_code == 503
    own = agents.path(agent_id)
    assert client.patch(own, json={"tpm_limit": 9}).json()["tpm_limit"] == 9
    kept = client.patch(own, json={"static_headers": {"X-Static": agents.MARKER}})
    assert kept.status_code == 409, "there is nothing that the marker could stand for"
    assert client.patch(own, json=fields()).status_code == 200
    assert agents.answer_of(agents.call(client, agent_id)) == "echo: hello"
    assert client.delete(own).status_code == 200


@pytest.mark.requirement("A2A-02", "A2A-05", "A2A-06", "PKG-03")
def test_a_proxy_that_is_killed_stopped_and_given_another_salt_key(own_proxy: ProxyFactory, strict: Backend) -> None:
    with own_proxy() as proxy, proxy.client() as client:
        kept = client.post("/v1/agents", json=agents.body(url=strict.url, **fields())).json()
        gone = client.post("/v1/agents", json=agents.body()).json()
        assert client.delete(agents.path(gone["agent_id"])).status_code == 200
        assert client.patch(agents.path(kept["agent_id"]), json={"tpm_limit": 1_000_000}).status_code == 200
        damaged = client.post("/v1/agents", json=agents.body(url=strict.url, **fields())).json()
        proxy.kill()
    assert readable(at_rest(proxy, "")) == []
    damage(proxy, damaged["agent_id"])

    proxy = proxy.restart()
    try:
        assert read(proxy, kept["agent_id"]) == kept | {
            "tpm_limit": 1_000_000,
            "updated_at": read(proxy, kept["agent_id"])["updated_at"],
        }
        with proxy.client() as client:
            assert client.get(agents.path(gone["agent_id"])).status_code == 404
            assert agents.answer_of(agents.call(client, kept["agent_name"])) == "echo: hello"
            repair(client, damaged["agent_id"])
        assert proxy.stop() in STOPPED
        assert proxy.log().count("routeiq: stopped") == 1
        assert "Application shutdown complete." in proxy.log()
        assert "Traceback" not in proxy.log()

        old = proxy.launch.env["LITELLM_SALT_KEY"]
        proxy = proxy.restart(env={"LITELLM_SALT_KEY": OTHER_SALT})
        shown = read(proxy, kept["agent_id"])  # waits until agents are loaded; what follows does not
        assert agents.info(proxy)["features"]["a2a"]["unreadable_agents"] == 1
        assert (shown["agent_name"], shown["tpm_limit"]) == (kept["agent_name"], 1_000_000)
        with proxy.client() as client:
            assert kept["agent_id"] in {each["agent_id"] for each in client.get("/v1/agents").json()}
            calls = len(strict.calls())
            refused = agents.call(client, kept["agent_id"])
            assert refused.status_code == 503, refused.text
            assert "routeiq secrets rotate" in refused.text
            assert int(refused.headers["Retry-After"]) >= 1
            assert len(strict.calls()) == calls, "a call without its secrets is not made"
            unsealed = client.post("/v1/agents", json=agents.body(**fields())).json()

            doctor = routeiq(proxy, "doctor", env={})
            assert doctor.returncode == 1
            assert f"agent {kept['agent_name']}" in doctor.stdout

            wrong = routeiq(proxy, "secrets", "rotate", env={"ROUTEIQ_OLD_SALT_KEY": "sk-neither"})
            assert wrong.returncode == 1
            assert kept["agent_name"] in wrong.stderr

            rotated = routeiq(proxy, "secrets", "rotate", env={"ROUTEIQ_OLD_SALT_KEY": old})
            assert (rotated.returncode, rotated.stderr) == (0, "")
            assert "sealed anew: 1; already sealed with the new key: 1" in rotated.stdout
            processes.wait_until(
                lambda: agents.info(proxy)["features"]["a2a"]["unreadable_agents"] == 0, 30, "news of the rotation"
            )
            assert agents.answer_of(agents.call(client, kept["agent_id"])) == "echo: hello"
            assert client.delete(agents.path(unsealed["agent_id"])).status_code == 200
            trail = client.get("/routeiq/audit").json()["entries"]
            assert "secrets.rotate" in {entry["action"] for entry in trail}
        assert readable(at_rest(proxy, "")) == []
        assert readable("".join((doctor.stdout, wrong.stderr, rotated.stdout))) == []
        assert [key for key in (old, OTHER_SALT) if key in doctor.stdout + rotated.stdout + proxy.log()] == []
    finally:
        proxy.kill()
    assert readable((proxy.workdir / "proxy.log").read_text(errors="replace")) == []


@pytest.mark.requirement("A2A-02", "PKG-02")
def test_a_proxy_on_postgresql_that_is_killed(own_proxy: ProxyFactory, strict: Backend, fresh_database: str) -> None:
    config = merge(PLUGIN_CONFIG, {"routeiq": {"database_url": fresh_database}})
    with own_proxy(config=config) as proxy:
        with proxy.client() as client:
            created = client.post("/v1/agents", json=agents.body(url=strict.url, **fields()))
            proxy.kill()
        assert created.status_code == 200, created.text
    kept = created.json()
    stored = at_rest(proxy, fresh_database)
    assert kept["agent_name"] in stored
    assert readable(stored) == []

    proxy = proxy.restart()
    try:
        assert read(proxy, kept["agent_id"]) == kept
        with proxy.client() as client:
            assert agents.answer_of(agents.call(client, kept["agent_name"])) == "echo: hello"
            assert client.patch(agents.path(kept["agent_id"]), json={"tpm_limit": 8}).status_code == 200
        assert proxy.stop() in STOPPED
        assert proxy.log().count("routeiq: stopped") == 1
        assert "Traceback" not in proxy.log()
    finally:
        proxy.kill()
    assert '"tpm_limit":8' in at_rest(proxy, fresh_database)
    assert readable((proxy.workdir / "proxy.log").read_text(errors="replace")) == []


@pytest.mark.requirement("PKG-01")
def test_what_is_there_belongs_to_its_owner_alone(proxy: Proxy) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in Path(proxy.workdir).glob("routeiq.db*")}
    assert modes
    assert set(modes.values()) == {0o600}, modes

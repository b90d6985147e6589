"""examples/quickstart.py beside a proxy on the repository's own litellm_config.yaml, as README tells a newcomer."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support import processes
from tests.support.proxy import Proxy, running_proxy

CONFIG = processes.REPOSITORY / "litellm_config.yaml"
QUICKSTART = processes.REPOSITORY / "examples" / "quickstart.py"
TIMEOUT = 120.0


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", str(QUICKSTART), *arguments],
        env=processes.clean_environment(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


@pytest.fixture(scope="module")
def master_key() -> str:
    return str(yaml.safe_load(CONFIG.read_text())["general_settings"]["master_key"])


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The proxy of the repository's config, word for word, in a directory of its own."""
    config = yaml.safe_load(CONFIG.read_text())
    with running_proxy(tmp_path_factory.mktemp("shipped"), config=config, custom_auth=False) as running:
        assert yaml.safe_load(running.config_path.read_text())["routeiq"] == config["routeiq"]
        yield running


@pytest.mark.requirement("SDK-05", "A2A-02", "A2A-08", "A2A-10", "A2A-11")
def test_it_runs_from_start_to_end(shipped: Proxy, master_key: str) -> None:
    done = run("--proxy", shipped.base_url)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert re.fullmatch(
        rf"The agent at http://127\.0\.0\.1:\d+/ is now {shipped.base_url}/a2a/[0-9a-f-]{{36}}", lines[0]
    )
    assert lines[1:] == [
        "Sent, and it answered: You said: hello gateway",
        "Streaming: one event at a time (completed)",
        "The agent is deleted again.",
    ]
    with httpx.Client(base_url=shipped.base_url, trust_env=False) as client:
        listed = client.get("/v1/agents", headers={"Authorization": f"Bearer {master_key}"})
    assert (listed.status_code, listed.json()) == (200, [])


def test_the_environment_says_where_and_who(shipped: Proxy, master_key: str) -> None:
    done = run(LITELLM_PROXY_URL=f"{shipped.base_url}/", LITELLM_MASTER_KEY=master_key)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_wrong_key_is_told(shipped: Proxy) -> None:
    done = run("--proxy", shipped.base_url, "--key", "sk-wrong")
    assert done.returncode == 1
    assert "does not know this key" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_proxy_that_is_not_there_is_told() -> None:
    done = run("--proxy", f"http://127.0.0.1:{processes.free_port()}")
    assert done.returncode == 1
    assert "Start one: litellm --config litellm_config.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_its_defaults_are_those_of_the_shipped_config(master_key: str) -> None:
    text = Path(QUICKSTART).read_text()
    assert f'MASTER_KEY = "{master_key}"' in text

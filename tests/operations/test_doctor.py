"""`routeiq doctor`: good and bad configurations, found out without a proxy."""

from __future__ import annotations

import json
import stat
from typing import Any, Final

import pytest

from routeiq_plugin.store.agents import AgentRecord
from tests.operations.commands import GOOD, MASTER, Home
from tests.support.proxy import merge

pytestmark = pytest.mark.requirement("PKG-03")

AGENT: Final = AgentRecord(agent_id="a", agent_name="weather", card={}, static_headers={"X-Secret": "canary"})


def findings(home: Home, **options: Any) -> tuple[int, dict[str, tuple[str, str]]]:
    """Run it and return the exit status and check -> (verdict, message)."""
    done = home.run("doctor", "--json", **options)
    assert done.stderr == "", done.stderr
    found = {each["check"]: (each["verdict"], each["message"]) for each in json.loads(done.stdout)}
    return done.returncode, found


def test_a_good_configuration(home: Home) -> None:
    home.store([AGENT])
    status, found = findings(home)
    assert status == 0
    assert {verdict for verdict, _ in found.values()} == {"ok"}, found
    assert {"litellm", "seams", "callback", "settings", "salt key", "outbound", "database", "sealed secrets"} <= set(
        found
    )


def test_it_prints_a_line_per_check(home: Home) -> None:
    home.store([AGENT])
    done = home.run("doctor", "--config", "litellm_config.yaml")
    assert done.returncode == 0
    assert "ok       settings: " in done.stdout
    assert "canary" not in done.stdout + done.stderr


def test_it_looks_and_does_not_touch(home: Home) -> None:
    before = sorted(path.name for path in home.path.iterdir())
    findings(home)
    assert sorted(path.name for path in home.path.iterdir()) == before


@pytest.mark.parametrize(
    ("changes", "check", "verdict", "words"),
    [
        ({"routeiq": {"colour": 1}}, "settings", "failed", "routeiq.colour"),
        ({"routeiq": {"a2a": {"default_access": "allow"}}}, "settings", "failed", "routeiq.a2a.default_access"),
        ({"litellm_settings": {"callbacks": ["prometheus"]}}, "callback", "failed", "routeiq_plugin.plugin"),
        ({"litellm_settings": {"callbacks": "routeiq_plugin.plugin"}}, "callback", "ok", ""),
        ({"routeiq": {"outbound": {"allowed_hosts": ["0.0.0.0/0"]}}}, "outbound", "warning", "0.0.0.0/0"),
        ({"routeiq": {"outbound": {"allowed_hosts": ["10.1.0.0/16"]}}}, "outbound", "ok", "10.1.0.0/16"),
        (
            {"routeiq": {"database_url": "sqlite:////no/such/directory/x.db"}},
            "database",
            "failed",
            "/no/such/directory",
        ),
        ({"routeiq": {"database_url": "sqlite://"}}, "database", "failed", "database_url"),
        (
            {"routeiq": {"database_url": "postgresql://u:hunter2@127.0.0.1:9/x"}},
            "database",
            "failed",
            "unavailable",
        ),
    ],
)
def test_what_it_finds(home: Home, changes: dict[str, Any], check: str, verdict: str, words: str) -> None:
    home.configure(merge(GOOD, changes))
    status, found = findings(home)
    assert found[check][0] == verdict, found
    assert words in found[check][1]
    assert "hunter2" not in str(found)
    assert status == int(any(each == "failed" for each, _ in found.values()))


def test_a_database_that_is_not_there_yet_is_no_failure(home: Home) -> None:
    status, found = findings(home)
    assert status == 0, found
    assert found["database"][0] != "failed"


@pytest.mark.parametrize(
    ("config", "salt", "verdict"),
    [
        (GOOD, "sk-x", "ok"),
        (GOOD, "", "warning"),
        (merge(GOOD, {"general_settings": {"master_key": None}}), "", "failed"),
        (merge(GOOD, {"general_settings": {"master_key": "os.environ/ELSEWHERE"}}), "", "warning"),
    ],
    ids=["salt key", "master key", "no key", "master key elsewhere"],
)
def test_the_sealing_key(home: Home, config: dict[str, Any], salt: str, verdict: str) -> None:
    home.configure(config)
    _, found = findings(home, env={"LITELLM_SALT_KEY": salt, "ELSEWHERE": MASTER})
    assert found["salt key"][0] == verdict, found


def test_secrets_of_another_key_are_named(home: Home) -> None:
    home.store([AGENT], salt="sk-another")
    status, found = findings(home)
    assert status == 1
    assert found["sealed secrets"][0] == "failed"
    assert "agent weather" in found["sealed secrets"][1]
    assert "routeiq secrets rotate" in found["sealed secrets"][1]


@pytest.mark.parametrize(
    ("content", "words"),
    [("[]", "mapping"), ("a: [", "not YAML"), ("", "mapping"), (None, "No such file")],
    ids=["list", "broken", "empty", "absent"],
)
def test_a_config_that_cannot_be_read(home: Home, content: str | None, words: str) -> None:
    path = home.path / "other.yaml"
    if content is not None:
        path.write_text(content)
    done = home.run("doctor", "--config", str(path))
    assert done.returncode == 1
    assert words in done.stderr
    assert str(path) in done.stderr
    assert "Traceback" not in done.stderr


def test_an_included_file_is_read_too(home: Home) -> None:
    home.configure({**GOOD, "include": ["more.yaml"]})
    (home.path / "more.yaml").write_text("routeiq: {colour: 1}")
    _, found = findings(home)
    assert found["settings"][0] == "failed", "what LiteLLM would load is what is checked"


def test_the_database_it_makes_is_private(home: Home) -> None:
    home.store([AGENT])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.path.glob("routeiq.db*")}
    assert set(modes.values()) == {0o600}, modes

"""`routeiq secrets rotate`: everything that the old key opens is sealed with the new one, whole or not at all."""

from __future__ import annotations

import pytest

from routeiq_plugin.store.agents import AgentRecord
from tests.operations.commands import MASTER, SALT, Home

pytestmark = pytest.mark.requirement("PKG-03")

NEW = "sk-the-new-key"


def record(name: str, **fields: object) -> AgentRecord:
    return AgentRecord(agent_id=f"id of {name}", agent_name=name, card={}, **fields)  # type: ignore[arg-type]


@pytest.fixture
def sealed(home: Home) -> Home:
    """One agent sealed with the old key, one with the new, one with neither, one without a secret."""
    home.store([record("old", static_headers={"X-Secret": "canary"}), record("plain")])
    home.store([record("new", litellm_params={"api_key": "canary"})], salt=NEW)
    home.store([record("lost", static_headers={"X-Secret": "canary"})], salt="sk-neither")
    return home


def test_it_seals_anew_what_the_old_key_opens_and_names_the_rest(sealed: Home) -> None:
    done = sealed.run("secrets", "rotate", env={"LITELLM_SALT_KEY": NEW, "ROUTEIQ_OLD_SALT_KEY": SALT})
    assert done.returncode == 1
    assert "sealed anew: 1; already sealed with the new key: 1" in done.stdout
    assert "agent lost" in done.stderr
    now = sealed.read(salt=NEW)
    assert {name for name, agent in now.items() if agent.unreadable} == {"lost"}
    assert now["old"].static_headers == {"X-Secret": "canary"}
    assert now["new"].litellm_params == {"api_key": "canary"}
    again = sealed.run("secrets", "rotate", env={"LITELLM_SALT_KEY": NEW, "ROUTEIQ_OLD_SALT_KEY": "sk-neither"})
    assert (again.returncode, again.stderr) == (0, "")
    assert not any(agent.unreadable for agent in sealed.read(salt=NEW).values())
    printed = done.stdout + done.stderr + again.stdout
    assert [secret for secret in ("canary", NEW, SALT) if secret in printed] == []


def test_the_new_key_is_named_or_that_of_the_proxy(home: Home) -> None:
    home.store([record("old", static_headers={"X-Secret": "canary"})])
    named = home.run("secrets", "rotate", "--old-key-env", "A", "--new-key-env", "B", env={"A": SALT, "B": "sk-b"})
    assert named.returncode == 0, named.stderr
    assert not home.read(salt="sk-b")["old"].unreadable
    masters = home.run("secrets", "rotate", env={"LITELLM_SALT_KEY": "", "ROUTEIQ_OLD_SALT_KEY": "sk-b"})
    assert masters.returncode == 0, masters.stderr
    assert not home.read(salt=MASTER)["old"].unreadable


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({}, "ROUTEIQ_OLD_SALT_KEY"),
        ({"ROUTEIQ_OLD_SALT_KEY": SALT}, "the same"),
    ],
)
def test_a_missing_key_is_told(home: Home, env: dict[str, str], words: str) -> None:
    home.store([record("old", static_headers={"X-Secret": "canary"})])
    done = home.run("secrets", "rotate", env=env)
    assert done.returncode == 1
    assert words in done.stderr
    assert not home.read()["old"].unreadable


def test_an_absent_database_is_told_and_not_made(home: Home) -> None:
    done = home.run("secrets", "rotate", env={"ROUTEIQ_OLD_SALT_KEY": "sk-other"})
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not (home.path / "routeiq.db").exists()

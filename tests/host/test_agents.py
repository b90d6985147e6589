"""LiteLLM's agent shapes, redaction and registry do what the mirror and the redaction marker rely on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.a2a.registry import KEYS, MARKER

pytestmark = pytest.mark.requirement("PKG-02")


@pytest.fixture
def host() -> Any:
    from routeiq_plugin.host import agents

    return agents


@pytest.fixture
def registry(host: Any) -> Iterator[Any]:
    """The mirror into LiteLLM's one registry, which is empty afterwards."""
    from litellm.proxy.agent_endpoints.agent_registry import global_agent_registry

    assert not global_agent_registry.get_agent_list()
    yield host.Registry()
    for agent in list(global_agent_registry.get_agent_list()):
        global_agent_registry.deregister_agent(agent_name=agent.agent_name)


def fields(agent_id: str = "1", name: str = "weather", **changes: Any) -> dict[str, Any]:
    return {"agent_id": agent_id, "agent_name": name, "agent_card_params": {"name": name}, **changes}


def test_an_answer_has_every_key_that_clients_of_1_106_know(host: Any) -> None:
    assert host.answer(fields()).keys() >= KEYS


def test_the_fields_of_a_body_are_a_part_of_an_answers(host: Any) -> None:
    assert set(host.AgentConfig.__annotations__) <= set(host.AgentResponse.model_fields)
    assert set(host.PatchAgentRequest.__annotations__) == set(host.AgentConfig.__annotations__)


def test_secrets_are_known_by_their_keys_at_any_depth(host: Any) -> None:
    params = {"api_key": "s", "model": "m", "nested": {"list": [{"token": "t", "region": "r"}]}, "api_base": "u"}
    shown = host.redact_params(params)
    assert (shown["api_key"], shown["model"], shown["api_base"]) == (MARKER, "m", "u")
    assert list(shown["nested"]["list"]) == [{"token": MARKER, "region": "r"}]
    assert params["api_key"] == "s", "what is stored is not touched"


def test_what_was_redacted_is_restored(host: Any) -> None:
    stored = {"api_key": "s", "model": "m", "nested": {"list": [{"token": "t", "region": "r"}]}}
    restored = host.restore_params(host.redact_params(stored), stored)
    assert restored["api_key"] == "s"
    assert list(restored["nested"]["list"]) == [{"token": "t", "region": "r"}]
    assert host.restore_params({"model": "n"}, stored) == {"model": "n", "api_key": "s"}, "left out is kept"
    assert host.restore_params({"api_key": "new"}, stored)["api_key"] == "new"
    assert "api_key" not in host.restore_params({"api_key": MARKER}, {}), "the marker itself is never stored"


def test_header_values_are_restored_and_strangers_dropped() -> None:
    from routeiq_plugin.host.headers import redact_headers, restore_headers

    stored = {"X-A": "a", "X-B": "b"}
    assert redact_headers(stored) == {"X-A": MARKER, "X-B": MARKER}
    assert restore_headers({"X-A": MARKER, "X-C": "c", "X-D": MARKER}, stored) == {"X-A": "a", "X-C": "c"}


@pytest.mark.parametrize(
    ("auth", "secret"),
    [
        ({"type": "bearer", "token": "s"}, "token"),
        ({"type": "api_key", "header_name": "x-key", "api_key": "s"}, "api_key"),
        ({"type": "basic", "username": "u", "password": "s"}, "password"),
    ],
)
def test_a_kill_switch_is_redacted_and_restored(auth: dict[str, str], secret: str) -> None:
    from routeiq_plugin.host import kill_switches

    stored = kill_switches.restore({"url": "http://127.0.0.1/", "auth": auth, "headers": {"X-A": "a"}}, None)
    shown = kill_switches.redact(stored)
    assert shown is not None
    assert (shown["auth"][secret], shown["headers"]) == (MARKER, {"X-A": MARKER})
    assert kill_switches.restore(shown, stored) == stored
    assert kill_switches.redact(None) is None
    assert kill_switches.restore(None, stored) is None


def test_an_agent_is_mirrored_found_and_dropped(registry: Any) -> None:
    registry.put(fields())
    assert registry.holds("1")
    assert registry.find_stock("1", ()) is not None
    assert registry.find_stock("weather", ()) is not None
    assert registry.find_stock("weather", {"1"}) is None, "ours are not LiteLLM's"
    assert registry.stock({"1"}) == []
    registry.drop("1")
    assert not registry.holds("1")
    registry.drop("1")


def test_a_renamed_agent_replaces_itself(registry: Any) -> None:
    from litellm.proxy.agent_endpoints.agent_registry import global_agent_registry

    registry.put(fields())
    registry.put(fields(name="climate"))
    assert [agent.agent_name for agent in global_agent_registry.get_agent_list()] == ["climate"]
    registry.put(fields(agent_id="2", name="climate"))
    assert [agent.agent_id for agent in global_agent_registry.get_agent_list()] == ["2"], "a name stands for one agent"


def test_config_agents_stay_beside_ours(registry: Any) -> None:
    from litellm.proxy.agent_endpoints.agent_registry import global_agent_registry

    global_agent_registry.load_agents_from_config([{"agent_name": "declared", "agent_card_params": {"name": "D"}}])
    registry.put(fields())
    (declared,) = registry.stock({"1"})
    assert declared["agent_name"] == "declared"
    registry.drop("1")
    assert registry.find_stock("declared", ()) == declared
    global_agent_registry.load_agents_from_config([])


def test_litellm_forgets_ours_when_it_reloads_and_we_can_tell(registry: Any) -> None:
    from litellm.proxy.agent_endpoints.agent_registry import global_agent_registry

    registry.put(fields())
    global_agent_registry.reset_agent_list()
    assert not registry.holds("1")

"""The `routeiq:` section: its defaults are the documented ones, and a wrong key is named by its path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pytest
import yaml

from routeiq_plugin.errors import SettingsError
from routeiq_plugin.settings import parse

pytestmark = pytest.mark.requirement("PKG-01")

DEFAULTS: Final = """
database_url: sqlite:///./routeiq.db
public_url: null
outbound: {allowed_hosts: [], timeout_seconds: 60, max_response_mb: 16}
a2a: {enabled: true, default_access: deny, breaker: {failures: 5, cooldown_seconds: 5}}
mcp: {enabled: true, stdio: false, pin_tools: false, relay: true, max_concurrent_per_server: 32}
routing: {enabled: true, aliases: {}, groups: {}, worker_python: null}
reload: {watch: false, source: null, endpoint_url: null, interval_seconds: 30, history: 20, env_allowlist: []}
"""
"""As the design and the documentation print them."""

WRONG: Final[tuple[tuple[Any, str], ...]] = (
    ({"colour": 1}, "routeiq.colour"),
    ({"outbound": {"hosts": []}}, "routeiq.outbound.hosts"),
    ({"outbound": {"allowed_hosts": "10.0.0.1"}}, "routeiq.outbound.allowed_hosts"),
    ({"outbound": {"allowed_hosts": ["ok", "http://x/"]}}, "routeiq.outbound.allowed_hosts.1"),
    ({"outbound": {"allowed_hosts": [""]}}, "routeiq.outbound.allowed_hosts.0"),
    ({"outbound": {"allowed_hosts": ["10.0.0.0/33"]}}, "routeiq.outbound.allowed_hosts.0"),
    ({"outbound": {"allowed_hosts": ["a b"]}}, "routeiq.outbound.allowed_hosts.0"),
    ({"outbound": {"allowed_hosts": ["user@host"]}}, "routeiq.outbound.allowed_hosts.0"),
    ({"outbound": {"timeout_seconds": 0}}, "routeiq.outbound.timeout_seconds"),
    ({"outbound": {"timeout_seconds": "soon"}}, "routeiq.outbound.timeout_seconds"),
    ({"outbound": {"timeout_seconds": float("nan")}}, "routeiq.outbound.timeout_seconds"),
    ({"outbound": {"max_response_mb": -1}}, "routeiq.outbound.max_response_mb"),
    ({"outbound": None}, "routeiq.outbound"),
    ({"a2a": {"enabled": "perhaps"}}, "routeiq.a2a.enabled"),
    ({"a2a": {"default_access": "allow"}}, "routeiq.a2a.default_access"),
    ({"a2a": {"breaker": {"failures": 0}}}, "routeiq.a2a.breaker.failures"),
    ({"mcp": {"stdio": "perhaps"}}, "routeiq.mcp.stdio"),
    ({"mcp": {"max_concurrent_per_server": 0}}, "routeiq.mcp.max_concurrent_per_server"),
    ({"routing": {"aliases": {"auto": {"strategy": "rules"}}}}, "routeiq.routing.aliases.auto.candidates"),
    ({"reload": {"watch": "perhaps"}}, "routeiq.reload.watch"),
    ({"reload": {"source": "ftp://host/x"}}, "routeiq.reload.source"),
    ({"reload": {"source": "s3://bucket"}}, "routeiq.reload.source"),
    ({"reload": {"interval_seconds": 0}}, "routeiq.reload.interval_seconds"),
    ({"reload": {"history": 1}}, "routeiq.reload.history"),
    ({"database_url": 5}, "routeiq.database_url"),
    ({"database_url": "mysql://user:hunter2@host/x"}, "routeiq.database_url"),
    ({"database_url": "routeiq.db"}, "routeiq.database_url"),
    ({"public_url": "gateway.example.com"}, "routeiq.public_url"),
    ({"public_url": "https://x/?a=b"}, "routeiq.public_url"),
    ([], "routeiq"),
    ("on", "routeiq"),
    (True, "routeiq"),
)


@pytest.mark.parametrize("section", [None, {}])
def test_the_defaults_are_the_documented_ones(section: Mapping[str, Any] | None) -> None:
    assert parse(section).model_dump(mode="json") == yaml.safe_load(DEFAULTS)


def test_the_documented_defaults_can_be_written_down() -> None:
    assert parse(yaml.safe_load(DEFAULTS)) == parse(None)


@pytest.mark.parametrize(("section", "path"), WRONG, ids=[f"{path}={section}" for section, path in WRONG])
def test_a_wrong_value_is_named_by_its_path(section: Any, path: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse(section)
    assert path in str(refused.value)
    assert "hunter2" not in str(refused.value), "a database URL may hold a password"


def test_every_wrong_value_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        parse({"colour": 1, "a2a": {"enabled": "perhaps"}, "outbound": {"timeout_seconds": 0}})
    for path in ("routeiq.colour", "routeiq.a2a.enabled", "routeiq.outbound.timeout_seconds"):
        assert path in str(refused.value)


@pytest.mark.parametrize("feature", ["a2a", "mcp", "routing"])
def test_a_feature_may_be_switched_off(feature: str) -> None:
    assert parse({feature: {"enabled": False}})


def test_addresses_are_normalised() -> None:
    settings = parse({"public_url": "https://gateway.example.com/", "outbound": {"allowed_hosts": [" LocalHost "]}})
    assert settings.public_url == "https://gateway.example.com"
    assert settings.outbound.allowed_hosts == ("localhost",)

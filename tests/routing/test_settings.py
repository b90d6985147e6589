"""The settings of routing: a wrong one is named by its path, and stops the boot."""

from __future__ import annotations

from typing import Any

import pytest

from routeiq_plugin.errors import SettingsError
from routeiq_plugin.settings import parse
from tests.routing.world import alias
from tests.support.proxy import ProxyDiedError, running_proxy

pytestmark = pytest.mark.requirement("RTE-02")

WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"strategy": 5}, "auto.strategy"),
    ({"candidates": []}, "auto.candidates"),
    ({"candidates": ["small", "small"]}, "auto is wrong: Value error, candidates name a model twice"),
    ({"default": "nobody"}, "default 'nobody' is not one of the candidates"),
    ({"objective": {"quality": 2}}, "auto.objective.quality"),
    ({"objective": {"quality": 0.9, "cost_weight": 1}}, "either quality or cost_weight"),
    ({"objective": {}}, "either quality or cost_weight"),
    ({"objective": {"cost_weight": -1}}, "auto.objective.cost_weight"),
    ({"candidate_access": "all"}, "auto.candidate_access"),
    ({"deadline_ms": 0}, "auto.deadline_ms"),
    ({"sticky": "user"}, "auto.sticky"),
    ({"rules": [{"when": {"regex": "("}, "model": "small"}]}, "auto.rules.0.when.regex"),
    ({"rules": [{"when": {"colour": "red"}, "model": "small"}]}, "auto.rules.0.when.colour"),
    ({"rules": [{"when": {"language": "german"}, "model": "small"}]}, "auto.rules.0.when.language"),
    ({"rules": [{"model": "nobody"}]}, "rules.0.model 'nobody'"),
    ({"arms": [{"name": "a", "weight": 0}]}, "auto.arms.0.weight"),
    ({"arms": [{"name": "a b", "weight": 1}]}, "auto.arms.0.name"),
    ({"arms": [{"name": "a", "weight": 1}, {"name": "a", "weight": 1}]}, "arms have a name twice"),
    ({"arms_by": "day"}, "auto.arms_by"),
    ({"colour": 1}, "auto.colour"),
)


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_a_wrong_value_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse({"routing": {"aliases": {"auto": {**alias("cost"), **change}}}})
    assert words in str(refused.value)
    assert "routeiq.routing" in str(refused.value)


@pytest.mark.parametrize("name", ["", " auto", "a,b", "a2a/x"])
def test_a_wrong_name_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=r"routeiq\.routing\.aliases"):
        parse({"routing": {"aliases": {name: alias("cost")}}})


def test_an_alias_of_an_alias_is_refused() -> None:
    with pytest.raises(SettingsError, match="is an alias itself"):
        parse({"routing": {"aliases": {"auto": alias("cost"), "small": alias("cost")}}})


def test_defaults_are_the_documented_ones() -> None:
    auto = {"strategy": "cost", "candidates": ["large", "small"], "default": "small"}
    settings = parse({"routing": {"aliases": {"auto": auto}}}).routing.aliases["auto"]
    assert settings.objective.quality == 0.95
    assert settings.candidate_access == "alias"
    assert settings.deadline_ms is None
    assert settings.sticky == "conversation"


@pytest.mark.parametrize(
    ("aliases", "words"),
    [
        ({"auto": alias("nobody")}, "routeiq.routing.aliases.auto.strategy is wrong: no strategy 'nobody'"),
        ({"fake-model": alias("cost")}, "routeiq.routing.aliases.fake-model is wrong: a model of this proxy has that"),
    ],
)
def test_what_stops_the_boot(tmp_path: Any, aliases: dict[str, Any], words: str) -> None:
    config = {"routeiq": {"routing": {"aliases": aliases}}}
    with pytest.raises(ProxyDiedError) as died, running_proxy(tmp_path, config=config):
        pass
    assert words in died.value.log

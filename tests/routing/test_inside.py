"""`RouteIQStrategy`: the models inside one group, in a plain `litellm.Router` and in the proxy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from routeiq_plugin.errors import SettingsError
from routeiq_plugin.routing.aliases import alias_of
from routeiq_plugin.settings import AliasSettings
from tests.routing.plain_router import GROUP, SETTINGS, deployment
from tests.routing.provider import Provider, said
from tests.routing.world import GROUPS, Routed, answerer, routed
from tests.support.processes import clean_environment, wait_until

pytestmark = pytest.mark.requirement("RTE-02")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def played(upstream: Provider) -> dict[str, Any]:
    """What the scenes of `plain_router` told."""
    upstream.down["broken"] = 500
    done = subprocess.run(
        [sys.executable, "-m", "tests.routing.plain_router", upstream.url],
        cwd=ROOT,
        env=clean_environment({"LITELLM_LOCAL_MODEL_COST_MAP": "True"}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize(
    ("scene", "wanted"),
    [
        ("best", [said("large"), said("middle"), *[said("small")] * 3]),
        ("cooldown", ["InternalServerError", said("small"), said("small")]),
        ("wiped", [True, said("large"), said("large"), True]),
        ("tags", [said("middle")]),
        ("cost", [said("small")] * 4),
        ("other", [said("middle")]),
    ],
)
def test_in_a_plain_router(played: dict[str, Any], scene: str, wanted: list[Any]) -> None:
    assert played[scene] == wanted


def test_synchronous_calls_are_stocks(played: dict[str, Any]) -> None:
    assert played["synchronous"][0] in {said(name) for name in GROUPS}


def test_wrong_settings_are_named() -> None:
    nobody = AliasSettings.model_validate({**SETTINGS, "strategy": "nobody"})
    with pytest.raises(SettingsError, match=r"routing\.groups\.mixed\.strategy is wrong: no strategy 'nobody'"):
        alias_of(GROUP, nobody, "groups")


def test_in_the_proxy(upstream: Provider, tmp_path: Path) -> None:
    mixed = [deployment(upstream.url, name) for name in GROUPS]
    more: dict[str, Any] = {"model_list": mixed, "routeiq": {"routing": {"groups": {GROUP: SETTINGS}}}}
    with routed(tmp_path, upstream, {}, **more) as here:
        _serves_the_group(here)


def _serves_the_group(here: Routed) -> None:
    wait_until(lambda: bool(here.info()["groups"][GROUP]["arms"]["-"]["ready"]), 30, "the strategy inside the group")
    for text, model in (("prove it", "large"), ("was ist das und wie ist es", "middle"), ("hello", "small")):
        assert {answerer(here.ask(GROUP, text)) for _ in range(3)} == {model}
    with here.upstream.failing(500, "large"):
        assert here.ask(GROUP, "prove it").status_code == 500  # one group, no fallback: as stock

"""A name whose model is chosen: its settings and the arms that choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from routeiq_plugin.errors import SettingsError
from routeiq_plugin.routing.arms import Arm, arms_of
from routeiq_plugin.routing.decision import NO_ARM
from routeiq_plugin.routing.strategies import registry
from routeiq_plugin.routing.worker.strategy import Workers
from routeiq_plugin.settings import SECTION, AliasSettings


@dataclass(frozen=True, slots=True)
class Alias:
    """What clients ask for: an alias, or a model group whose deployments are ranked."""

    name: str
    settings: AliasSettings
    arms: tuple[Arm, ...]


def alias_of(
    name: str, settings: AliasSettings, kind: Literal["aliases", "groups"], workers: Workers | None = None
) -> Alias:
    """Check what the settings alone cannot know, which strategies there are; raises `SettingsError` with the path."""
    path = f"{SECTION}.routing.{kind}.{name}"
    arms = arms_of(name, settings, workers)
    for arm in arms:
        where = path if arm.name == NO_ARM else f"{path}.arms.{arm.name}"
        registry.require_known(f"{where}.strategy", arm.strategy)
        if registry.needs_artifact(arm.strategy) and arm.artifact is None:
            raise SettingsError(f"{where}.artifact is missing: the strategy {arm.strategy} needs one")
        if arm.strategy == "rules" and not settings.rules:
            raise SettingsError(f"{path}.rules is empty: the strategy rules needs some")
    return Alias(name, settings, arms)

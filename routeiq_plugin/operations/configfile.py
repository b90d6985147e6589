"""litellm_config.yaml as the command line reads it, without a running proxy; knows `include:` and `os.environ/`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from routeiq_plugin.errors import SettingsError
from routeiq_plugin.settings import SECTION, Settings, parse

_ENVIRONMENT: Final = "os.environ/"
MAX_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A parsed configuration and what the commands need of it."""

    path: Path
    content: Mapping[str, Any]

    @property
    def settings(self) -> Settings:
        """Our section; raises `SettingsError`."""
        return parse(self.content.get(SECTION))

    @property
    def sealing_key(self) -> str | None:
        """The key that the proxy seals with: the salt key, else the master key, as LiteLLM chooses."""
        general = self.content.get("general_settings") or {}
        return os.environ.get("LITELLM_SALT_KEY") or general.get("master_key") or os.environ.get("LITELLM_MASTER_KEY")

    @property
    def names_the_plugin(self) -> bool:
        """Tell whether `litellm_settings.callbacks` turns us on."""
        callbacks = (self.content.get("litellm_settings") or {}).get("callbacks") or ()
        named = [callbacks] if isinstance(callbacks, str) else callbacks
        return "routeiq_plugin.plugin" in named


def read(path: Path) -> ConfigFile:
    """Read a configuration; raises `SettingsError` that names the file and the place."""
    content = _load(path)
    for included in content.pop("include", None) or ():
        _merge(content, _load(path.parent / str(included)))
    return ConfigFile(path, _resolved(content))


def _load(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SettingsError(f"{path}: larger than {MAX_BYTES // 1024**2} MiB")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as unreadable:
        raise SettingsError(f"{path}: {unreadable.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as invalid:
        raise SettingsError(f"{path}: not YAML: {invalid}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: must hold a mapping, like every litellm_config.yaml")
    return content


def _merge(content: dict[str, Any], included: Mapping[str, Any]) -> None:
    """Lists grow and the rest is taken over, which is LiteLLM's rule for `include`."""
    for key, value in included.items():
        if isinstance(value, list) and isinstance(content.get(key), list):
            content[key] = [*content[key], *value]
        else:
            content[key] = value


def _resolved(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _resolved(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_resolved(each) for each in value]
    if isinstance(value, str) and value.startswith(_ENVIRONMENT):
        return os.environ.get(value.removeprefix(_ENVIRONMENT))
    return value

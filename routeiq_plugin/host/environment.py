"""`os.environ/NAME` as LiteLLM resolves it in a configuration, its secret manager included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from litellm.secret_managers.main import get_secret
from litellm.types.router import holds_secret_pointer

_ENVIRONMENT: Final = "os.environ/"


def resolved(value: Any, name: str = "") -> Any:
    """Return a value with every reference replaced; None takes the place of a variable that is not set."""
    if isinstance(value, Mapping):
        return {key: resolved(each, str(key)) for key, each in value.items()}
    if isinstance(value, list):
        return [resolved(each) if isinstance(each, Mapping | list) else each for each in value]
    if isinstance(value, str) and value.startswith(_ENVIRONMENT) and not holds_secret_pointer(name):
        return get_secret(value)
    return value

"""`os.environ/NAME` as LiteLLM resolves it in a configuration, its secret manager included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from litellm.secret_managers.main import get_secret
from litellm.types import router as router_types

_ENVIRONMENT: Final = "os.environ/"


def _is_pointer(name: str) -> bool:
    """Tell a field whose reference is followed when it is used; LiteLLM has such since 1.104."""
    holds = getattr(router_types, "holds_secret_pointer", None)
    return bool(holds and holds(name))


def resolved(value: Any, name: str = "") -> Any:
    """Return a value with every reference replaced; None takes the place of a variable that is not set."""
    if isinstance(value, Mapping):
        return {key: resolved(each, str(key)) for key, each in value.items()}
    if isinstance(value, list):
        return [resolved(each) if isinstance(each, Mapping | list) else each for each in value]
    if isinstance(value, str) and value.startswith(_ENVIRONMENT) and not _is_pointer(name):
        return get_secret(value)
    return value

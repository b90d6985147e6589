"""LiteLLM dispatches hooks only to subclasses of its `CustomLogger`; this is the one place that names it."""

from __future__ import annotations

from typing import Any

import litellm
from litellm.integrations.custom_logger import CustomLogger

__all__ = ["CustomLogger", "replace_callback"]


def replace_callback(old: Any, new: Any) -> None:
    """Register a callback in the place of another; LiteLLM looks anew at what a callback offers when it is new."""
    litellm.callbacks[:] = [new if each is old else each for each in litellm.callbacks]

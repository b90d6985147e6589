"""LiteLLM dispatches hooks only to subclasses of its `CustomLogger`; this is the one place that names it."""

from __future__ import annotations

from litellm.integrations.custom_logger import CustomLogger

__all__ = ["CustomLogger"]

"""LiteLLM's shape of daily activity, by its own types, so that what a version adds is there with its default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from litellm.types.proxy.management_endpoints.common_daily_activity import SpendAnalyticsPaginatedResponse

__all__ = ["SpendAnalyticsPaginatedResponse", "answer"]


def answer(results: Sequence[Mapping[str, Any]], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Render days and totals with every key of LiteLLM's `SpendAnalyticsPaginatedResponse`, in its JSON form."""
    shaped = SpendAnalyticsPaginatedResponse.model_validate({"results": list(results), "metadata": dict(metadata)})
    rendered: dict[str, Any] = shaped.model_dump(mode="json")
    return rendered

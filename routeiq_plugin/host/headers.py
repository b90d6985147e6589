"""Header values as secrets: LiteLLM shows them to admins, we show them to nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from litellm.constants import REDACTED_BY_LITELM_STRING

MARKER: Final[str] = REDACTED_BY_LITELM_STRING
"""What stands for a secret in answers; sent back, it means "keep what you have"."""


def redact_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Replace each value by the marker."""
    return dict.fromkeys(headers, MARKER)


def restore_headers(incoming: Mapping[str, str], stored: Mapping[str, str]) -> dict[str, str]:
    """Put stored values back behind the marker; one that was never stored is dropped."""
    return {
        name: stored[name] if value == MARKER else value
        for name, value in incoming.items()
        if value != MARKER or name in stored
    }

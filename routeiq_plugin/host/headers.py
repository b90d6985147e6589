"""Headers as they are stored: what can be sent, and values as secrets: LiteLLM shows them to admins, we to nobody."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from litellm.constants import REDACTED_BY_LITELM_STRING

MARKER: Final[str] = REDACTED_BY_LITELM_STRING
"""What stands for a secret in answers; sent back, it means "keep what you have"."""


VALUES: Final = "Use a header name of RFC 9110 and a value of printable ASCII without spaces around it"

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"(?:[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)?")


def is_name(text: str) -> bool:
    """Tell whether this can be a header's name (RFC 9110 5.1)."""
    return _NAME.fullmatch(text) is not None


def is_value(text: str) -> bool:
    """Tell whether HTTP clients send this as a header's value (RFC 9110 5.5, of which they take ASCII)."""
    return _VALUE.fullmatch(text) is not None


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

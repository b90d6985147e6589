"""How many tokens a text has, without the model's own tokenizer: from its bytes, for comparing prices and windows."""

from __future__ import annotations

from typing import Final

BYTES_PER_TOKEN: Final = 3.0
"""English takes about 4 bytes a token, code 3, Chinese 3: an upper estimate for most."""


def estimated_tokens(text: str) -> int:
    """Return an upper estimate, at least 1."""
    return max(1, round(len(text.encode(errors="replace")) / BYTES_PER_TOKEN))

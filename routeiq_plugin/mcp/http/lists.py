"""What servers say of their lists when one has changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

KINDS: Final = ("tools", "resources", "prompts")
CHANGES: Final[Mapping[str, str]] = {f"notifications/{kind}/list_changed": kind for kind in KINDS}
"""Methods of the notifications, and the list that each speaks of."""


def changed(kind: str) -> dict[str, Any]:
    """Return what a server says of this list."""
    return {"jsonrpc": "2.0", "method": f"notifications/{kind}/list_changed"}

"""Long lists, a page at a time; a cursor says where the next one begins."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, Final

from routeiq_plugin.errors import InvalidRequest

PAGE: Final = 5_000

Json = dict[str, Any]


def page(items: Sequence[Any], kind: str, cursor: Any) -> tuple[Sequence[Any], str | None]:
    """Return the items of a page, and the cursor of the next; raises `InvalidRequest` for a cursor that is not ours."""
    begins = 0 if cursor is None else _opened(cursor, kind)
    ends = begins + PAGE
    return items[begins:ends], _cursor(kind, ends) if ends < len(items) else None


def _cursor(kind: str, begins: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([kind, begins]).encode()).decode()


def _opened(cursor: Any, kind: str) -> int:
    try:
        said, begins = json.loads(base64.urlsafe_b64decode(cursor))
    except (ValueError, TypeError):
        said, begins = None, None
    if said != kind or not isinstance(begins, int) or begins < 0:
        raise InvalidRequest("params.cursor: not one that this list gave; begin again without a cursor")
    return begins

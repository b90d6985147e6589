"""What of an answer must be the same on both arms: status, media type and the shape of the body.

Texts are compared too where they hold nothing of the moment: in what is read, and in how something is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx

_VOLATILE: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|0x[0-9a-f]+|[0-9a-f]{8,}|\d+", re.IGNORECASE
)
"""UUIDs, addresses, digests and numbers inside a text."""


@dataclass(frozen=True)
class Observation:
    """One answer, with everything volatile gone."""

    status: int
    media_type: str
    body: Any


DROPPED: Final = Observation(0, "", "no answer")
"""The proxy closed the connection; stock does so where a handler raises what nobody expected."""


def observe(response: httpx.Response) -> Observation:
    """Reduce an answer to what is compared."""
    media_type = response.headers.get("content-type", "").partition(";")[0]
    texts = response.request.method == "GET" or response.is_error
    return Observation(response.status_code, media_type, _body(response, media_type, texts))


def _body(response: httpx.Response, media_type: str, texts: bool) -> Any:
    if not response.content:
        return "empty"
    if media_type == "application/json":
        return shape(response.json(), texts=texts)
    if media_type == "text/event-stream":
        return _collapsed([shape(event, texts=texts) for event in events(response.text)])
    return "content"


def shape(value: Any, *, texts: bool = False) -> Any:
    """Reduce JSON to keys and types; a list is the set of its elements' shapes. `texts` keeps strings, ids masked."""
    if isinstance(value, dict):
        return {name: shape(item, texts=texts) for name, item in sorted(value.items())}
    if isinstance(value, list):
        distinct = {json.dumps(shape(item, texts=texts), sort_keys=True) for item in value}
        return [json.loads(item) for item in sorted(distinct)]
    if isinstance(value, str):
        return _VOLATILE.sub("#", value) if texts else "string"
    if value is None:
        return None
    return "boolean" if isinstance(value, bool) else "number"


def events(text: str) -> Iterator[Any]:
    """Parse the `data:` of server-sent events; what is not JSON, such as `[DONE]`, stays text."""
    for line in text.splitlines():
        if line.startswith("data:"):
            data = line.removeprefix("data:").strip()
            try:
                yield json.loads(data)
            except ValueError:
                yield data


def _collapsed(shapes: list[Any]) -> list[Any]:
    """Drop repetitions: how many words a chunk holds is not compared, in which order kinds come is."""
    return [each for index, each in enumerate(shapes) if index == 0 or each != shapes[index - 1]]

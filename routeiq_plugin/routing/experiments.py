"""Which arm of an experiment a request belongs to: by a hash, so the same caller stays in the same arm everywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

_BUCKETS: Final = 1_000_000


def arm_of(alias: str, subject: str, weights: Sequence[float]) -> int:
    """Return the index of the subject's arm; shares of subjects are as the weights, of which there is at least one."""
    digest = hashlib.sha256(f"{alias}\0{subject}".encode(errors="replace")).digest()
    at = int.from_bytes(digest[:8], "big") % _BUCKETS / _BUCKETS * sum(weights)
    for index, weight in enumerate(weights):
        at -= weight
        if at < 0:
            return index
    return len(weights) - 1


def subject_of(by: str, known: Mapping[str, str | None]) -> str:
    """Return whose requests stay together: `by`, or the next of user, key and session that is known."""
    return next((value for name in (by, "user", "key", "session") if (value := known.get(name))), "")

"""What a prompt looks like, as numbers: length, digits, code, formulas, kind of question; no data set of its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from numpy import ndarray

VERSION: Final = 1
"""Part of the embedder's identity: an artifact fits only the features that it was trained on."""

_LOOKED_AT: Final = 4_000
_CHOICES: Final = re.compile(r"\n\s*\(?[A-Da-d1-4][).:]")
_UPPER: Final = re.compile(r"[A-Z]")
_DIGIT: Final = re.compile(r"[0-9]")
_FOREIGN: Final = re.compile(r"[^\x00-\x7f]")
_NAMES: Final = (
    "log_chars",
    "log_words",
    "digits",
    "upper",
    "lines",
    "question",
    "starts_upper",
    "starts_lower",
    "formula",
    "backslash",
    "python",
    "choices",
    "commas",
    "foreign",
    "ends_question",
    "function",
    "colon",
    "starts_q",
    "word_length",
    "apostrophe",
    "quotes",
)
COUNT: Final = len(_NAMES)


def features(text: str) -> ndarray:
    """Describe a prompt's surface; shape (COUNT,), float32."""
    from math import log1p

    import numpy as np

    seen = text[:_LOOKED_AT]
    chars = max(1, len(seen))
    words = seen.split()
    many = max(1, len(words))
    return np.array(
        (
            log1p(len(text)),
            log1p(many * max(1.0, len(text) / chars)),
            len(_DIGIT.findall(seen)) / chars,
            len(_UPPER.findall(seen)) / chars,
            seen.count("\n") / many,
            "?" in seen,
            seen[:1].isupper(),
            seen[:1].islower(),
            "$" in seen,
            "\\" in seen,
            "def " in seen,
            _CHOICES.search(seen) is not None,
            seen.count(",") / many,
            len(_FOREIGN.findall(seen)) / chars,
            text.rstrip()[-1:] == "?",
            "function" in seen,
            ":" in seen,
            seen.startswith("Q:"),
            sum(map(len, words)) / many / 10,
            "'" in seen,
            '"' in seen,
        ),
        dtype=np.float32,
    )

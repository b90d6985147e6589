"""A guess at a text's language, from its script and its most frequent words; enough for a rule, no more."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_LOOKED_AT: Final = 2_000

_SCRIPTS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("ko", re.compile(r"[\uac00-\ud7af]")),
    ("zh", re.compile(r"[\u4e00-\u9fff]")),
    ("uk", re.compile(r"[іїєґІЇЄҐ]")),
    ("ru", re.compile(r"[\u0400-\u04ff]")),
    ("ar", re.compile(r"[\u0600-\u06ff]")),
    ("he", re.compile(r"[\u0590-\u05ff]")),
    ("el", re.compile(r"[\u0370-\u03ff]")),
    ("hi", re.compile(r"[\u0900-\u097f]")),
    ("th", re.compile(r"[\u0e00-\u0e7f]")),
)
"""In this order: Japanese text holds Chinese characters too, Ukrainian holds Russian ones."""
_SCRIPT_SHARE: Final = 0.2

_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "en": frozenset(
        [
            "the",
            "of",
            "and",
            "to",
            "in",
            "is",
            "that",
            "it",
            "for",
            "was",
            "on",
            "are",
            "with",
            "as",
            "be",
            "this",
            "have",
            "what",
            "how",
            "which",
            "you",
        ]
    ),
    "de": frozenset(
        [
            "der",
            "die",
            "das",
            "und",
            "ist",
            "nicht",
            "ein",
            "eine",
            "zu",
            "den",
            "mit",
            "von",
            "auf",
            "für",
            "im",
            "wie",
            "was",
            "ich",
            "sie",
            "dem",
            "auch",
        ]
    ),
    "fr": frozenset(
        [
            "le",
            "la",
            "les",
            "des",
            "et",
            "est",
            "un",
            "une",
            "du",
            "que",
            "dans",
            "pour",
            "qui",
            "sur",
            "pas",
            "au",
            "avec",
            "ce",
            "je",
            "comment",
            "quel",
        ]
    ),
    "es": frozenset(
        [
            "el",
            "los",
            "las",
            "de",
            "y",
            "es",
            "un",
            "una",
            "que",
            "en",
            "por",
            "con",
            "para",
            "del",
            "se",
            "como",
            "qué",
            "no",
            "al",
            "cuál",
        ]
    ),
    "it": frozenset(
        [
            "il",
            "lo",
            "gli",
            "di",
            "e",
            "è",
            "un",
            "una",
            "che",
            "per",
            "con",
            "non",
            "del",
            "della",
            "sono",
            "come",
            "cosa",
            "al",
            "nel",
            "più",
        ]
    ),
    "pt": frozenset(
        [
            "o",
            "os",
            "as",
            "de",
            "e",
            "é",
            "um",
            "uma",
            "que",
            "em",
            "por",
            "com",
            "para",
            "do",
            "da",
            "não",
            "como",
            "você",
            "ao",
            "qual",
        ]
    ),
    "nl": frozenset(
        [
            "de",
            "het",
            "een",
            "en",
            "van",
            "is",
            "dat",
            "op",
            "te",
            "niet",
            "met",
            "voor",
            "zijn",
            "aan",
            "er",
            "ook",
            "wat",
            "hoe",
            "ik",
            "je",
        ]
    ),
}
_WORD: Final = re.compile(r"[^\W\d_]+")


def language(text: str) -> str | None:
    """Return an ISO 639-1 code, or None for a text that shows no sign of one that is known here."""
    seen = text[:_LOOKED_AT]
    letters = max(1, len(re.findall(r"[^\W\d_]", seen)))
    written = sum(len(pattern.findall(seen)) for _, pattern in _SCRIPTS)
    if written / letters >= _SCRIPT_SHARE:
        return next(code for code, pattern in _SCRIPTS if pattern.search(seen))
    words = _WORD.findall(seen.lower())
    counts = {code: sum(word in known for word in words) for code, known in _WORDS.items()}
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] else None

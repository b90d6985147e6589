"""A made set of routing data, small and with a pattern: models that are good at different things, scored with noise."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SIZES: Final[Mapping[str, str]] = {
    "llama-3b": "3B",
    "coder-7b": "7B",
    "mixtral-24b": "24B",
    "llama-70b": "70B",
    "sage-405b": "405B",
}

SKILLS: Final[Mapping[str, Mapping[str, float]]] = {
    "maths": {"llama-3b": 0.1, "coder-7b": 0.4, "mixtral-24b": 0.5, "llama-70b": 0.6, "sage-405b": 0.9},
    "code": {"llama-3b": 0.2, "coder-7b": 0.9, "mixtral-24b": 0.4, "llama-70b": 0.6, "sage-405b": 0.6},
    "chat": {"llama-3b": 0.9, "coder-7b": 0.3, "mixtral-24b": 0.7, "llama-70b": 0.6, "sage-405b": 0.6},
    "french": {"llama-3b": 0.1, "coder-7b": 0.1, "mixtral-24b": 0.9, "llama-70b": 0.5, "sage-405b": 0.6},
    "law": {"llama-3b": 0.2, "coder-7b": 0.1, "mixtral-24b": 0.4, "llama-70b": 0.9, "sage-405b": 0.7},
}
"""How well each model answers prompts of each kind, on average."""

_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "maths": ("integral", "matrix", "polynomial", "probability", "triangle", "derivative", "prime", "series"),
    "code": ("linked list", "web server", "parser", "SQL query", "thread pool", "binary tree", "regex", "cache"),
    "chat": ("holiday", "birthday", "kitten", "garden", "football match", "recipe", "wedding", "weekend"),
    "french": ("la maison", "le voyage", "la cuisine", "le jardin", "la musique", "le marché", "la mer", "le train"),
    "law": ("contract", "tenancy", "copyright", "liability", "dismissal", "inheritance", "patent", "warranty"),
}
_FORMS: Final[Mapping[str, tuple[str, ...]]] = {
    "maths": (
        "Compute the {0} of the {1} when n = {n}, and prove your result.",
        "Given a {0} with {n} terms, show how its {1} is bounded.",
    ),
    "code": (
        "Write a Python function that builds a {0} on top of a {1} with {n} entries.",
        "Why does my {0} crash once the {1} holds {n} items? Here is the traceback.",
    ),
    "chat": (
        "Tell me something nice about my {0}, we will be {n} people and there is a {1} too!",
        "What shall I wear to a {0}? It is in {n} days, after the {1}.",
    ),
    "french": (
        "Traduis en français une histoire de {n} phrases sur {0} et {1}.",
        "Décris {0} en {n} mots, puis {1}, comme dans un roman.",
    ),
    "law": (
        "My landlord breached the {0} after {n} months; does the {1} still bind me?",
        "Under which clause may a {0} be void if the {1} was signed {n} days late?",
    ),
}


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt and the score of each model's answer, 0 to 1."""

    text: str
    scores: Mapping[str, float]


def prompts(count: int, seed: int = 7) -> Sequence[Prompt]:
    """Make different prompts, their kinds in turn."""
    rng = random.Random(seed)
    made: dict[str, Prompt] = {}
    kinds = list(SKILLS)
    while len(made) < count:
        kind = kinds[len(made) % len(kinds)]
        first, second = rng.sample(_WORDS[kind], 2)
        text = rng.choice(_FORMS[kind]).format(first, second, n=rng.randrange(2, 999))
        scores = {model: min(1.0, max(0.0, rng.gauss(skill, 0.25))) for model, skill in SKILLS[kind].items()}
        made.setdefault(text, Prompt(text, scores))
    return list(made.values())


def read(path: Path) -> Sequence[Prompt]:
    """Read rows `{query, scores: {model: score}}` or `{query, model_name, performance}`, one per line."""
    found: dict[str, dict[str, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row: dict[str, Any] = json.loads(line)
        scores = row.get("scores") or {row["model_name"]: row["performance"]}
        found.setdefault(row["query"], {}).update(scores)
    return [Prompt(text, scores) for text, scores in found.items()]


def rows(given: Sequence[Prompt], models: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Yield LLMRouter's routing rows."""
    for at, prompt in enumerate(given):
        for model in models:
            if model in prompt.scores:
                score = prompt.scores[model]
                yield {"query": prompt.text, "embedding_id": at, "model_name": model, "performance": score}

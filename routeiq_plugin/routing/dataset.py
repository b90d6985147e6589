"""Training data: one JSON object a line, either LLMRouter's routing rows or `{query, scores}`; checked line by line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from routeiq_plugin.errors import InvalidRequest

MAX_COMPLAINTS: Final = 10


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt and how well each model answered it, 0 to 1."""

    query: str
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows that all know the same models."""

    models: tuple[str, ...]
    rows: tuple[Row, ...]
    duplicates: int = 0
    """Prompts that were there again, white space and case aside, and were dropped."""
    incomplete: int = 0
    """Prompts that lacked a model's score, and were dropped."""

    @property
    def queries(self) -> list[str]:
        """The prompts, in order."""
        return [row.query for row in self.rows]


def read(path: Path) -> Dataset:
    """Read a .jsonl file, or a .json file that is one list; raises `InvalidRequest` naming the lines that are wrong."""
    text = path.read_text(encoding="utf-8")
    if text.lstrip().startswith("["):
        documents = [(f"entry {at}", document) for at, document in enumerate(_whole(path, text), 1)]
    else:
        documents = [
            (f"line {at}", _line(path, at, line)) for at, line in enumerate(text.splitlines(), 1) if line.strip()
        ]
    return collect(path.name, documents)


def collect(name: str, documents: Iterable[tuple[str, Any]]) -> Dataset:
    """Check and join rows, given as (where, document); raises `InvalidRequest`."""
    scores: dict[str, dict[str, float]] = {}
    queries: dict[str, str] = {}
    complaints: list[str] = []
    seen_whole: set[str] = set()
    duplicates = 0
    for where, document in documents:
        try:
            query, given = _row(document)
        except InvalidRequest as wrong:
            complaints.append(f"{where}: {wrong}")
            continue
        key = normalized(query)
        if key in seen_whole or any(model in scores.get(key, {}) for model in given):
            duplicates += 1
            continue
        if len(given) > 1:
            seen_whole.add(key)
        queries.setdefault(key, query)
        scores.setdefault(key, {}).update(given)
    if complaints:
        more = len(complaints) - MAX_COMPLAINTS
        told = [*complaints[:MAX_COMPLAINTS], *([f"and {more} more"] if more > 0 else [])]
        raise InvalidRequest(f"{name}: {'; '.join(told)}")
    models = tuple(sorted({model for given in scores.values() for model in given}))
    rows = tuple(Row(queries[key], given) for key, given in scores.items() if len(given) == len(models))
    if not rows:
        raise InvalidRequest(f"{name}: no prompt has the scores of all models")
    return Dataset(models, rows, duplicates, len(scores) - len(rows))


def without(data: Dataset, other: Dataset) -> Dataset:
    """Drop the prompts that `other` holds too: whoever is trained on them is not tested on them."""
    held = {normalized(row.query) for row in other.rows}
    rows = tuple(row for row in data.rows if normalized(row.query) not in held)
    return Dataset(data.models, rows, data.duplicates + len(data.rows) - len(rows), data.incomplete)


def renamed(data: Dataset, names: Mapping[str, str]) -> Dataset:
    """Call models by the names of this proxy's groups; raises `InvalidRequest` for names that are not there."""
    strange = [name for name in names if name not in data.models]
    if strange:
        raise InvalidRequest(f"the data know no model {', '.join(strange)}")
    models = tuple(sorted(names.get(model, model) for model in data.models))
    if len(set(models)) < len(models):
        raise InvalidRequest("two models would have the same name")
    rows = tuple(
        Row(row.query, {names.get(model, model): score for model, score in row.scores.items()}) for row in data.rows
    )
    return Dataset(models, rows, data.duplicates, data.incomplete)


def normalized(query: str) -> str:
    """Return what makes two prompts the same one."""
    return " ".join(query.split()).casefold()


def _whole(path: Path, text: str) -> Sequence[Any]:
    try:
        documents = json.loads(text)
    except ValueError as wrong:
        raise InvalidRequest(f"{path.name}: not JSON ({wrong})") from None
    assert isinstance(documents, list)
    return documents


def _line(path: Path, at: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as wrong:
        raise InvalidRequest(f"{path.name}: line {at}: not JSON ({wrong})") from None


def _row(document: Any) -> tuple[str, Mapping[str, float]]:
    if not isinstance(document, dict):
        raise InvalidRequest("must be an object")
    query = document.get("query", document.get("question"))
    if not isinstance(query, str) or not query.strip():
        raise InvalidRequest("query must be text that is not empty")
    if "scores" in document:
        scores = document["scores"]
        if not isinstance(scores, dict) or not scores:
            raise InvalidRequest("scores must map models to numbers")
        return query, {_model(model): _score(f"scores.{model}", score) for model, score in scores.items()}
    if "model_name" not in document:
        raise InvalidRequest("give scores, or model_name and performance as LLMRouter's routing rows do")
    return query, {_model(document["model_name"]): _score("performance", document.get("performance"))}


def _model(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise InvalidRequest("a model's name must be text that is not empty")
    return name


def _score(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidRequest(f"{where} must be a number from 0 to 1")
    return float(value)

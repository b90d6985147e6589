"""Prices from a file: `{model: {input, output}}` in USD per million tokens, or LLMRouter's candidates file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from routeiq_plugin.errors import InvalidRequest
from routeiq_plugin.routing.selection import Price

_PER: Final = 1e6


def read_prices(path: Path) -> Mapping[str, Price]:
    """Read and check; raises `InvalidRequest` naming the model whose price is wrong."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as wrong:
        raise InvalidRequest(f"{path}: {wrong}") from None
    if not isinstance(document, dict):
        raise InvalidRequest(f"{path}: must map models to prices")
    return {model: Price(_price(model, row, "input"), _price(model, row, "output")) for model, row in document.items()}


def _price(model: str, row: Any, side: str) -> float:
    value = row.get(side, row.get(f"{side}_price")) if isinstance(row, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise InvalidRequest(f"{model}: {side} must be a price in USD per million tokens")
    return float(value) / _PER

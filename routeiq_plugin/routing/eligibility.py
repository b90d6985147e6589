"""Which candidates can answer a request at all: what they can see, call and hold, as far as LiteLLM knows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from routeiq_plugin.routing.prompts import Prompt
from routeiq_plugin.routing.tokens import BYTES_PER_TOKEN


class Facts(Protocol):
    """What is known of a model group; the one in use is the host's."""

    @property
    def max_input_tokens(self) -> int | None:
        """Size of its window, None where it is not known."""
        ...

    @property
    def vision(self) -> bool:
        """Whether it takes images."""
        ...

    @property
    def tools(self) -> bool:
        """Whether it calls tools."""
        ...


@dataclass(frozen=True, slots=True)
class Eligible:
    """Candidates in the order given."""

    models: tuple[str, ...]
    filters: Mapping[str, Sequence[str]]
    """For people: who was left out, by what they lack."""


def eligible(prompt: Prompt, facts: Mapping[str, Facts]) -> Eligible:
    """Keep who has what the request needs; a need that nobody meets is left to LiteLLM to refuse."""
    left, filters = list(facts), {}
    for name, able in (
        ("vision", [model for model in left if facts[model].vision] if prompt.has_image else left),
        ("tools", [model for model in left if facts[model].tools] if prompt.has_tools else left),
        ("context window", _roomy(prompt, facts)),
    ):
        kept = [model for model in left if model in able]
        if kept and len(kept) < len(left):
            filters[name] = [model for model in left if model not in able]
            left = kept
    return Eligible(tuple(left), filters)


def _roomy(prompt: Prompt, facts: Mapping[str, Facts]) -> Collection[str]:
    """Return who holds the prompt; when it is too long for all, who holds most."""
    needed = prompt.text_bytes / BYTES_PER_TOKEN
    windows = {model: known.max_input_tokens for model, known in facts.items()}
    roomy = [model for model, window in windows.items() if window is None or window >= needed]
    if roomy:
        return roomy
    largest = max((window for window in windows.values() if window is not None), default=0)
    return [model for model, window in windows.items() if window == largest]

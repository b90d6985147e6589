"""`rules`: the first rule whose condition holds names the model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from routeiq_plugin.errors import SettingsError
from routeiq_plugin.routing.language import language
from routeiq_plugin.routing.strategy import Candidate, Query, Ranking, StrategySpec
from routeiq_plugin.settings import RuleCondition

if TYPE_CHECKING:
    from regex import Pattern

SEARCHED_CHARS: Final = 100_000
"""How much of a prompt a regular expression sees."""
AT_ONCE_CHARS: Final = 4_000
"""How long a prompt is searched on the event loop: in a longer one the searcher looks at its clock too seldom."""
AT_ONCE_SECONDS: Final = 0.001
"""Of CPU, for all rules together; measured with patterns made to be slow, the worst took 1.8 ms before it gave up."""
DEADLINE_MS: Final = 100.0
"""In a thread. What a rule says must not hang on how busy the machine is, and the loop is free meanwhile."""

Searcher = Callable[["Pattern[str]", str], bool]


class Rules:
    """Models of all rules that hold, in order, then the default.

    What an operator's regular expression costs is not known, and Python's own `re` holds up the whole process for as
    long as it takes. The `regex` package gives up in time, and lets others run meanwhile: so short prompts are searched
    on the event loop for a moment, which is enough for nearly every pattern, and all else is in a thread.
    """

    deadline_ms = DEADLINE_MS

    def __init__(self, spec: StrategySpec) -> None:
        self._rules = tuple((_Compiled(rule.when), rule.model) for rule in spec.settings.rules)
        self._default = spec.settings.default
        self._seconds = (spec.settings.deadline_ms or DEADLINE_MS) / 1e3
        self.inline = all(rule.when.regex is None for rule in spec.settings.rules)

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """Order by the rules that hold; raises `TimeoutError` when telling takes longer than the deadline."""
        return self._ranking(query, _searcher(self._seconds, alone=False))

    def rank_at_once(self, query: Query, candidates: Sequence[Candidate]) -> Ranking | None:
        """Order by the rules that hold; None when that takes longer than a moment."""
        if len(query.text) > AT_ONCE_CHARS:
            return None
        try:
            return self._ranking(query, _searcher(AT_ONCE_SECONDS, alone=True))
        except TimeoutError:
            return None

    def _ranking(self, query: Query, found: Searcher) -> Ranking:
        held = [model for condition, model in self._rules if condition.holds(query, found)]
        order = dict.fromkeys([*held, self._default])
        return Ranking(tuple(order), dict.fromkeys(held, 1.0))


class _Compiled:
    def __init__(self, when: RuleCondition) -> None:
        self._when = when
        self._pattern = None if when.regex is None else _compiled(when.regex)
        self._headers = {name.lower(): value for name, value in when.header.items()}

    def holds(self, query: Query, found: Searcher) -> bool:
        when = self._when
        return (
            (when.tag is None or when.tag in query.tags)
            and all(query.headers.get(name) == value for name, value in self._headers.items())
            and (when.has_image is None or when.has_image == query.has_image)
            and (when.has_tools is None or when.has_tools == query.has_tools)
            and (when.min_chars is None or query.chars >= when.min_chars)
            and (when.language is None or when.language == language(query.text))
            and (self._pattern is None or found(self._pattern, query.text))
        )


def _compiled(pattern: str) -> Pattern[str]:
    import regex

    try:
        return regex.compile(pattern, regex.VERSION0)  # this version reads a pattern as `re` does
    except regex.error as wrong:
        raise SettingsError(f"rules: {pattern!r} is not a regular expression: {wrong}") from None


def _searcher(seconds: float, *, alone: bool) -> Searcher:
    """Return a search that raises `TimeoutError` when all its calls together take longer, in seconds of CPU.

    `alone` keeps other threads from running meanwhile: to let go costs more than a short search.
    """
    until = time.process_time() + seconds

    def found(pattern: Pattern[str], text: str) -> bool:
        left = until - time.process_time()
        if left <= 0:
            raise TimeoutError
        return pattern.search(text[:SEARCHED_CHARS], timeout=left, concurrent=not alone) is not None

    return found

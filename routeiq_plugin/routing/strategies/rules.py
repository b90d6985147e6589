"""`rules`: the first rule whose condition holds names the model."""

from __future__ import annotations

import re
from collections.abc import Sequence

from routeiq_plugin.routing.language import language
from routeiq_plugin.routing.strategy import Candidate, Query, Ranking, StrategySpec
from routeiq_plugin.settings import RuleCondition

SEARCHED_CHARS = 100_000
"""How much of a prompt a regular expression sees: a slow one must not hold its thread for long."""


class Rules:
    """Models of all rules that hold, in order, then the default.

    In a thread: what an operator's regular expression costs is not known.
    """

    def __init__(self, spec: StrategySpec) -> None:
        self._rules = tuple((_Compiled(rule.when), rule.model) for rule in spec.settings.rules)
        self._default = spec.settings.default
        self.inline = all(rule.when.regex is None for rule in spec.settings.rules)

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """Order by the rules that hold."""
        held = [model for condition, model in self._rules if condition.holds(query)]
        order = dict.fromkeys([*held, self._default])
        return Ranking(tuple(order), dict.fromkeys(held, 1.0))


class _Compiled:
    def __init__(self, when: RuleCondition) -> None:
        self._when = when
        self._regex = None if when.regex is None else re.compile(when.regex)
        self._headers = {name.lower(): value for name, value in when.header.items()}

    def holds(self, query: Query) -> bool:
        when = self._when
        return (
            (when.tag is None or when.tag in query.tags)
            and all(query.headers.get(name) == value for name, value in self._headers.items())
            and (when.has_image is None or when.has_image == query.has_image)
            and (when.has_tools is None or when.has_tools == query.has_tools)
            and (when.min_chars is None or query.chars >= when.min_chars)
            and (when.language is None or when.language == language(query.text))
            and (self._regex is None or self._regex.search(query.text[:SEARCHED_CHARS]) is not None)
        )

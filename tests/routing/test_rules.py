"""Rules with regular expressions: most are told on the event loop at once, and none holds anybody up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest

from routeiq_plugin.errors import SettingsError
from routeiq_plugin.routing.arms import Arm, arms_of
from routeiq_plugin.routing.decision import Cause
from routeiq_plugin.routing.engine import THREADS, Engine
from routeiq_plugin.routing.strategies import rules
from routeiq_plugin.routing.strategies.rules import AT_ONCE_CHARS, Rules
from routeiq_plugin.routing.strategy import Candidate, Query, StrategySpec
from routeiq_plugin.settings import AliasSettings
from tests.routing.world import PATIENT_MS, alias

pytestmark = pytest.mark.requirement("RTE-20")

ENDLESS: Final = "(?s)a.*a.*a.*a.*b"
"""Takes years for `VICTIM`, with `re` and with `regex`."""
VICTIM: Final = "a" * 5_000
CANDIDATES: Final = [Candidate("large"), Candidate("small")]
BRIEF_MS: Final = 50


def settings(pattern: str, deadline_ms: float = PATIENT_MS) -> AliasSettings:
    rule = {"when": {"regex": pattern}, "model": "large"}
    return AliasSettings.model_validate(alias("rules", rules=[rule], deadline_ms=deadline_ms))


def ruled(pattern: str, deadline_ms: float = PATIENT_MS) -> Rules:
    return Rules(StrategySpec("rules", settings(pattern, deadline_ms)))


def armed(pattern: str, deadline_ms: float = PATIENT_MS) -> Arm:
    arm = arms_of("auto", settings(pattern, deadline_ms))[0]
    arm.load()
    return arm


async def chosen(engine: Engine, arm: Arm, text: str) -> tuple[str, Cause]:
    ordered = await engine.order(arm, Query(text), CANDIDATES)
    return ordered.models[0], ordered.cause


@pytest.mark.parametrize(
    ("pattern", "text", "first"),
    [
        ("prove", "please prove it", "large"),
        ("prove", "hello", "small"),
        (r"\bprüfe\b", "bitte prüfe das", "large"),
        (r"(?i)\b(integral|theorem)\b", "The Integral", "large"),
        (r"^(?!.*draft).*contract", "the contract", "large"),
        (r"^(?!.*draft).*contract", "a draft of the contract", "small"),
        (r"(\w+) \1", "the the", "large"),
        ("x$", "", "small"),
    ],
)
def test_a_rule_says_the_same_at_once_and_in_a_thread(
    monkeypatch: pytest.MonkeyPatch, pattern: str, text: str, first: str
) -> None:
    monkeypatch.setattr(rules, "AT_ONCE_SECONDS", 30.0)
    strategy = ruled(pattern)
    at_once = strategy.rank_at_once(Query(text), CANDIDATES)
    assert at_once is not None
    assert at_once.order[0] == first
    assert strategy.rank(Query(text), CANDIDATES) == at_once


def test_a_long_prompt_is_searched_in_a_thread() -> None:
    strategy = ruled("prove")
    query = Query("word " * AT_ONCE_CHARS + "prove")
    assert strategy.rank_at_once(query, CANDIDATES) is None
    assert strategy.rank(query, CANDIDATES).order[0] == "large"


async def test_a_search_without_end_ends_at_the_deadline_and_leaves_its_thread() -> None:
    arm = armed(ENDLESS, BRIEF_MS)
    strategy = arm.active.strategy if arm.active is not None else None
    assert isinstance(strategy, Rules)
    assert strategy.rank_at_once(Query(VICTIM[:AT_ONCE_CHARS]), CANDIDATES) is None
    with pytest.raises(TimeoutError):
        strategy.rank(Query(VICTIM), CANDIDATES)
    engine = Engine(lambda where, error: pytest.fail(f"{where}: {error}"))
    seen: Sequence[tuple[str, Cause]] = [await chosen(engine, arm, VICTIM) for _ in range(3 * THREADS)]
    assert set(seen) == {("small", Cause.LATE)}
    after = armed(ENDLESS)
    assert await chosen(engine, after, "word " * AT_ONCE_CHARS + "aaaab") == ("large", Cause.STRATEGY)
    engine.close()


def test_what_only_the_searcher_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="is not a regular expression"):
        rules._compiled("(?P<n>a)(?P<n")

"""From samples to what is printed: medians, ratios to stock with their range, and the budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import median
from typing import Any, Final

STOCK: Final = "stock"
AGAIN: Final = "stock again"
PLUGIN: Final = "plugin"
ARMS: Final = (STOCK, AGAIN, PLUGIN)
"""`stock again` is the same program a second time: what differs there is noise."""

HOOKS_BUDGET_US: Final = 150.0
CHAT_BUDGET_SHARE: Final = 0.01
START_BUDGET_SECONDS: Final = 0.8
MEMORY_BUDGET_MIB: Final = 40.0


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the least and the greatest of its samples."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """Summarise samples, of which there must be one."""
        return cls(median(samples), min(samples), max(samples))

    def format(self, digits: int, *, sign: bool = False) -> str:
        """Write `median [least..greatest]`."""
        plus = "+" if sign else ""
        return f"{self.median:{plus}.{digits}f} [{self.least:{plus}.{digits}f}..{self.greatest:{plus}.{digits}f}]"


Samples = Mapping[str, Sequence[float]]
"""Per arm, one sample per round; the same index is the same round."""


def ratios(samples: Samples, arm: str) -> Spread:
    """Compare an arm with stock, round by round."""
    return Spread.of([mine / theirs for mine, theirs in zip(samples[arm], samples[STOCK], strict=True)])


def differences(samples: Samples, arm: str) -> Spread:
    """Subtract stock from an arm, round by round."""
    return Spread.of([mine - theirs for mine, theirs in zip(samples[arm], samples[STOCK], strict=True)])


def confidence(samples: Sequence[float]) -> tuple[float, float]:
    """Bound the median with 95 % confidence, by order statistics (Conover, Practical Nonparametric Statistics, 3.2)."""
    ordered = sorted(samples)
    reach = 1.96 * sqrt(len(ordered)) / 2
    middle = (len(ordered) - 1) / 2
    return ordered[max(0, round(middle - reach))], ordered[min(len(ordered) - 1, round(middle + reach))]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One budget and what was measured against it."""

    what: str
    budget: str
    measured: str
    met: bool

    def line(self) -> str:
        """Write one line of the table."""
        return f"{'met   ' if self.met else 'MISSED'}  {self.what}: {self.measured} (budget {self.budget})"


def hooks_us(child: Mapping[str, Any], kind: str) -> float:
    """Sum what our hooks and our route test cost one request of a kind, in microseconds."""
    hooks = child["hooks"][kind].values()
    return float(
        sum(hook["calls"] * hook["microseconds"] for hook in hooks) + child["match_us"]["/v1/chat/completions"]
    )


def verdicts(starts: Mapping[str, Samples], children: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    """Judge the budgets of DESIGN section 10 that this benchmark can see."""
    hooks = max(hooks_us(child, kind) for child in children for kind in ("chat", "stream"))
    request = median(sample for child in children for sample in child["request_ms"])
    added = [sample for child in children for sample in child["added_ms"]]
    low, high = confidence(added)
    start = differences(starts["cpu until idle, s"], PLUGIN)
    memory = differences(starts["idle RSS, MiB"], PLUGIN)
    share = hooks / 1e3 / request
    return [
        Verdict(
            "hooks and route test per chat request",
            f"{HOOKS_BUDGET_US:.0f} us",
            f"{hooks:.1f} us",
            hooks <= HOOKS_BUDGET_US,
        ),
        Verdict(
            "the same as a share of stock's chat request",
            f"{CHAT_BUDGET_SHARE:.0%}",
            f"{share:.2%} of {request:.1f} ms; whole request in one process {median(added) * 1e3:+.0f} us, "
            f"95 % between {low * 1e3:+.0f} and {high * 1e3:+.0f} us",
            share <= CHAT_BUDGET_SHARE and low <= CHAT_BUDGET_SHARE * request,
        ),
        Verdict(
            "start-up CPU until idle",
            f"+{START_BUDGET_SECONDS} s",
            start.format(2, sign=True) + " s",
            start.median <= START_BUDGET_SECONDS,
        ),
        Verdict(
            "idle RSS",
            f"+{MEMORY_BUDGET_MIB:.0f} MiB",
            memory.format(1, sign=True) + " MiB",
            memory.median <= MEMORY_BUDGET_MIB,
        ),
    ]


def comparison(title: str, samples: Samples, digits: int = 2) -> str:
    """Write one line: each arm's median, and the ratios to stock."""
    medians = "".join(f"{median(samples[arm]):>10.{digits}f}" for arm in ARMS)
    noise, plugin = ratios(samples, AGAIN), ratios(samples, PLUGIN)
    return f"{title:<30}{medians}   x{noise.format(2):<20}   x{plugin.format(2)}"


def heading(title: str) -> str:
    """Write the line above `comparison`."""
    arms = "".join(f"{arm:>10}" for arm in ("stock", "again", "plugin"))
    return f"{title:<30}{arms}   {'again / stock':<21}   plugin / stock"

"""How well `quality` chooses, on scored prompts that it has not seen.

`python -m benchmarks.routing_quality --train FILE --test FILE --prices FILE`. All is decided on the training file:
neighbours, weights, the cost weight of each objective, and which single model is best. The test file is used once per
seed, after the prompts that it shares with the training file were dropped from the latter.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Final

from routeiq_plugin.routing import artifact, dataset, training
from routeiq_plugin.routing.embedding import static_embedder
from routeiq_plugin.routing.evaluation import TARGETS, Evaluation, evaluate, table
from routeiq_plugin.routing.plot import drawer_of
from routeiq_plugin.routing.prices import read_prices
from routeiq_plugin.routing.selection import Price

SEEDS: Final = 5
BUDGETS: Final = ((0.95, 0.30), (0.92, 0.20))
"""(least share of the best single model's quality, greatest share of its cost), of the mean over the seeds."""


def measure(train: dataset.Dataset, test: dataset.Dataset, prices: Mapping[str, Price]) -> list[Evaluation]:
    """Train and evaluate once per seed."""
    found = []
    for seed in range(SEEDS):
        print(f"seed {seed + 1} of {SEEDS}", file=sys.stderr, flush=True)
        draft = training.train_quality(train, static_embedder(), prices, name="benchmark", seed=seed)
        with tempfile.TemporaryDirectory() as directory:
            artifact.write(draft, Path(directory))
            trained = artifact.read(Path(directory))
        params = draft.params or {}
        print("  chosen: " + ", ".join(f"{name} {params[name]}" for name in _CHOSEN), file=sys.stderr)
        found.append(evaluate(trained, test, static_embedder(), prices))
    return found


_CHOSEN: Final = ("k", "feature_weight", "ridge_share")


def lines(found: Sequence[Evaluation]) -> Iterator[str]:
    """Write mean and worst of every objective, and the verdicts."""
    yield table(found[0])
    yield ""
    yield f"{len(found)} seeds; shares of the best single model, {found[0].best_single.name}"
    yield f"{'':<28}{'quality mean':>13}{'worst':>8}{'cost mean':>11}{'worst':>8}"
    for at, target in enumerate(TARGETS):
        qualities = [each.points[at].quality_share for each in found]
        costs = [each.points[at].cost_share for each in found]
        yield (
            f"objective quality {target:<10g}{mean(qualities):>13.3f}{min(qualities):>8.3f}"
            f"{mean(costs):>11.3f}{max(costs):>8.3f}"
        )
    yield from _verdicts(found)


def _verdicts(found: Sequence[Evaluation]) -> Iterator[str]:
    """Judge each budget at the objective that its quality names: nothing is picked on the test file."""
    for quality, cost in BUDGETS:
        at = next(at for at, target in enumerate(TARGETS) if target >= quality)
        got = mean(each.points[at].quality_share for each in found)
        paid = mean(each.points[at].cost_share for each in found)
        worst = min(each.points[at].quality_share for each in found)
        met = got >= quality and paid <= cost
        yield (
            f"{'met   ' if met else 'MISSED'}  objective {TARGETS[at]:g}: {got:.3f} (worst {worst:.3f}) at {paid:.3f} "
            f"of the cost (budget {quality} at {cost})"
        )


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--train", type=Path, required=True, help="scored prompts to train on")
    options.add_argument("--test", type=Path, required=True, help="scored prompts to judge by")
    options.add_argument("--prices", type=Path, required=True, help="JSON {model: {input, output}} per million tokens")
    options.add_argument("--plot", type=Path, metavar="FILE", help=".svg or .png: draw the first seed's curve")
    given = options.parse_args()
    test = dataset.read(given.test)
    train = dataset.without(dataset.read(given.train), test)
    print(f"{len(train.rows)} prompts to train on ({train.duplicates} dropped), {len(test.rows)} to judge by")
    found = measure(train, test, read_prices(given.prices))
    print("\n".join(lines(found)))
    if given.plot is not None:
        given.plot.write_bytes(drawer_of(given.plot)(found[0]))


if __name__ == "__main__":
    main()

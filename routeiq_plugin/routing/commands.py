"""`routeiq artifact`, `routeiq train` and `routeiq evaluate`: what is done beside the proxy, with its own embedder."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from routeiq_plugin.errors import InvalidRequest

TRAINABLE: Final = ("quality", "llmrouter-knn", "llmrouter-svm", "llmrouter-elo")


def add_commands(commands: Any) -> None:
    """Add our commands to the parser of `routeiq`."""
    _add_artifact(commands)
    _add_train(commands)
    _add_evaluate(commands)


def _add_artifact(commands: Any) -> None:
    actions = commands.add_parser("artifact", help="check, show and import routing artifacts").add_subparsers(
        required=True, metavar="action"
    )
    verify = actions.add_parser("verify", help="check an artifact as the proxy does, its self-test included")
    verify.add_argument("source", help="a directory, s3://bucket/path or gs://bucket/path")
    verify.set_defaults(run=_verify)
    show = actions.add_parser("show", help="print an artifact's manifest")
    show.add_argument("source", help="a directory, s3://bucket/path or gs://bucket/path")
    show.set_defaults(run=_show)
    convert = actions.add_parser(
        "import",
        help="convert what LLMRouter trained (.pkl, .pt, or its .yaml)",
        description="The file is opened by a process of its own that may do nothing else, never by the proxy. "
        "LLMRouter must have been trained on this proxy's embeddings.",
    )
    convert.add_argument("source", type=Path, help="LLMRouter's config, or the trained file")
    convert.add_argument("--strategy", required=True, help="llmrouter-knn, -svm, -mlp, -mf, -elo, -hybrid, -graph")
    convert.add_argument("--output", type=Path, required=True, help="directory of the new artifact")
    convert.add_argument("--name", help="name of the artifact (default: that of the directory)")
    convert.add_argument("--labels", default="", help="models in LLMRouter's order, with commas: mlp, mf, hybrid")
    convert.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="activation, threshold")
    convert.add_argument("--python", default=sys.executable, help="an interpreter that has scikit-learn, torch, pandas")
    _add_rename(convert)
    convert.set_defaults(run=_import)


def _add_train(commands: Any) -> None:
    train = commands.add_parser("train", help="train a routing strategy from scored prompts")
    train.add_argument("--data", type=Path, required=True, help="rows as JSON lines, see docs/routing.md")
    train.add_argument(
        "--strategy", default=TRAINABLE[0], help=f"{', '.join(TRAINABLE)}; LLMRouter trains its others, see `import`"
    )
    train.add_argument("--output", type=Path, required=True, help="directory of the new artifact")
    train.add_argument("--name", help="name of the artifact (default: that of the directory)")
    train.add_argument("--prices", type=Path, help="JSON {model: {input, output}} in USD per million tokens")
    train.add_argument("--exclude", type=Path, help="test data whose prompts must not be trained on")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--margin", type=float, default=0.02, help="added to quality targets (default: %(default)s)")
    train.add_argument("--k", type=int, default=5, help="neighbours, of llmrouter-knn (default: %(default)s)")
    train.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="of llmrouter-svm: C, gamma")
    _add_rename(train)
    train.set_defaults(run=_train)


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="measure an artifact on scored prompts that it has not seen")
    evaluate.add_argument("--artifact", required=True, help="a directory, s3://bucket/path or gs://bucket/path")
    evaluate.add_argument("--data", type=Path, required=True, help="rows as JSON lines")
    evaluate.add_argument("--prices", type=Path, help="JSON {model: {input, output}} in USD per million tokens")
    evaluate.add_argument("--plot", type=Path, metavar="FILE", help="draw quality against cost: .svg, or .png")
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="also write every figure")
    _add_rename(evaluate)
    evaluate.set_defaults(run=_evaluate)


def _add_rename(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rename", action="append", default=[], metavar="OLD=NEW", help="call a model of the data by its group's name"
    )


async def _verify(options: argparse.Namespace) -> int:
    from routeiq_plugin.routing import sources
    from routeiq_plugin.routing.strategies import registry

    fetched = sources.fetch(options.source)
    assert fetched is not None
    registry.verify(fetched.artifact)
    manifest = fetched.artifact.manifest
    print(f"{manifest.id}: {manifest.strategy} for {len(manifest.labels)} models, its self-test passes")
    return 0


async def _show(options: argparse.Namespace) -> int:
    from routeiq_plugin.routing import sources

    fetched = sources.fetch(options.source)
    assert fetched is not None
    print(fetched.artifact.manifest.model_dump_json(indent=1))
    return 0


async def _import(options: argparse.Namespace) -> int:
    from routeiq_plugin.routing.embedding import static_embedder
    from routeiq_plugin.routing.importing.conversion import Order, convert

    order = Order(
        source=options.source,
        strategy=options.strategy,
        name=options.name or options.output.name,
        embedder=static_embedder().identity,
        labels=[label for label in options.labels.split(",") if label],
        renamed=_pairs(options.rename),
        params={name: _number(value) for name, value in _pairs(options.param).items()},
        python=options.python,
    )
    manifest = convert(order, options.output)
    agreement = manifest.metrics.get("agreement")
    print(f"{manifest.id}: {manifest.strategy} for {', '.join(manifest.labels)}")
    if agreement is not None:
        print(f"chooses like the original on {agreement:.2%} of {manifest.metrics['probes']} probes")
    return 0


async def _train(options: argparse.Namespace) -> int:
    from routeiq_plugin.routing import artifact, dataset, llmrouter_training, training
    from routeiq_plugin.routing.embedding import static_embedder
    from routeiq_plugin.routing.prices import read_prices

    _require_trainable(options.strategy)
    data = dataset.read(options.data)
    if options.exclude is not None:
        data = dataset.without(data, dataset.read(options.exclude))
    names = _pairs(options.rename)
    data = dataset.renamed(data, names)
    prices = None if options.prices is None else _renamed(read_prices(options.prices), names)
    name = options.name or options.output.name
    print(
        f"{len(data.rows)} prompts of {len(data.models)} models; dropped {data.duplicates} duplicates, "
        f"{data.incomplete} without every score"
    )
    if options.strategy == "quality":
        draft = training.train_quality(
            data,
            static_embedder(),
            prices,
            name=name,
            seed=options.seed,
            margin=options.margin,
            progress=_progress,
        )
        if prices is None:
            print("routeiq: without --prices no objective is calibrated, the best answer is chosen", file=sys.stderr)
    else:
        params = {param: _number(value) for param, value in _pairs(options.param).items()}
        lesson = llmrouter_training.Lesson(data, static_embedder(), name, options.k, options.seed, params)
        draft = llmrouter_training.train(options.strategy, lesson)
    manifest = artifact.write(draft, options.output)
    print(f"{manifest.id} is in {options.output}")
    return 0


def _require_trainable(strategy: str) -> None:
    if strategy in TRAINABLE:
        return
    from routeiq_plugin.routing.importing import opening

    here = f"routeiq train makes {', '.join(TRAINABLE)}"
    if strategy in opening.READERS:
        raise InvalidRequest(f"{strategy} is trained by LLMRouter and imported with `routeiq artifact import`; {here}")
    raise InvalidRequest(f"{strategy} is not trained; {here}")


async def _evaluate(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from routeiq_plugin.routing import dataset, sources
    from routeiq_plugin.routing.embedding import static_embedder
    from routeiq_plugin.routing.evaluation import evaluate, table
    from routeiq_plugin.routing.plot import drawer_of
    from routeiq_plugin.routing.prices import read_prices

    names = _pairs(options.rename)
    draw = None if options.plot is None else drawer_of(options.plot)
    fetched = sources.fetch(options.artifact)
    assert fetched is not None
    data = dataset.renamed(dataset.read(options.data), names)
    prices = None if options.prices is None else _renamed(read_prices(options.prices), names)
    found = evaluate(fetched.artifact, data, static_embedder(), prices, progress=_progress)
    print(table(found))
    if draw is not None:
        options.plot.write_bytes(draw(found))
    if options.json is not None:
        options.json.write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")
    return 0


def _progress(items: Sequence[Any], title: str) -> Iterator[Any]:
    from tqdm import tqdm

    return iter(tqdm(items, desc=title, disable=None))


def _pairs(given: Sequence[str]) -> Mapping[str, str]:
    pairs = [each.partition("=") for each in given]
    wrong = [name for name, _, value in pairs if not name or not value]
    if wrong:
        raise InvalidRequest(f"{wrong[0]!r}: write NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _renamed(prices: Mapping[str, Any], names: Mapping[str, str]) -> Mapping[str, Any]:
    return {names.get(model, model): price for model, price in prices.items()}


def _number(value: str) -> Any:
    try:
        return float(value)
    except ValueError:
        return value

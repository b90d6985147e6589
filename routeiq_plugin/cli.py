"""The `routeiq` command: what an operator does beside the running proxy."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from routeiq_plugin._version import __version__
from routeiq_plugin.errors import RouteIQError, SettingsError
from routeiq_plugin.routing.commands import add_commands as add_routing_commands

DEFAULT_CONFIG: Final = "litellm_config.yaml"
OLD_KEY: Final = "ROUTEIQ_OLD_SALT_KEY"
NEW_KEY: Final = "ROUTEIQ_NEW_SALT_KEY"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status: 0 done, 1 something is wrong, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # these commands need no prices and no network
    try:
        status: int = asyncio.run(options.run(options))
    except RouteIQError as error:
        print(f"routeiq: {error}", file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="routeiq", description="Operate the RouteIQ plugin of a LiteLLM proxy.")
    parser.add_argument("--version", action="version", version=f"routeiq-plugin {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--config", type=Path, default=Path(DEFAULT_CONFIG), help="the proxy's config file (default: %(default)s)"
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    doctor = commands.add_parser("doctor", parents=[common], help="check versions, settings, database, keys, outbound")
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.set_defaults(run=_doctor)

    secrets = commands.add_parser("secrets", help="manage sealed secrets").add_subparsers(
        required=True, metavar="action"
    )
    rotate = secrets.add_parser(
        "rotate",
        parents=[common],
        help="seal every stored secret with a new key",
        description="Stop the proxy or give every worker the new key first; what it seals meanwhile is sealed with "
        "the key that it has. Keys are read from the environment, never from the command line.",
    )
    rotate.add_argument(
        "--old-key-env", default=OLD_KEY, metavar="NAME", help="holds the old key (default: %(default)s)"
    )
    rotate.add_argument(
        "--new-key-env",
        default=NEW_KEY,
        metavar="NAME",
        help="holds the new key (default: %(default)s, else the key that the config gives the proxy)",
    )
    rotate.set_defaults(run=_rotate)

    export = commands.add_parser(
        "export",
        parents=[common],
        help="write our agents and MCP servers as agents: and mcp_servers: of a LiteLLM config",
        description="Secrets become os.environ/NAME; their values go to --env-file, readable by its owner alone.",
    )
    export.add_argument("--output", type=Path, help="write here instead of to standard output")
    export.add_argument("--env-file", type=Path, help="write the secrets' values here (mode 0600)")
    export.set_defaults(run=_export)
    add_routing_commands(commands)
    return parser


async def _doctor(options: argparse.Namespace) -> int:
    from routeiq_plugin.host.sealing import SaltKeySealer
    from routeiq_plugin.operations import configfile
    from routeiq_plugin.operations.doctor import Verdict, examine

    config = configfile.read(options.config)
    sealer = SaltKeySealer(lambda: config.sealing_key) if config.sealing_key else None
    findings = [finding async for finding in examine(config, sealer)]
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            print(f"{finding.verdict.value:<8} {finding.check}: {finding.message}")
    return int(any(finding.verdict is Verdict.FAILED for finding in findings))


async def _rotate(options: argparse.Namespace) -> int:
    from routeiq_plugin.host.sealing import SaltKeySealer
    from routeiq_plugin.operations import configfile
    from routeiq_plugin.store.engine import Database
    from routeiq_plugin.store.rotation import rotate

    config = configfile.read(options.config)
    old = os.environ.get(options.old_key_env)
    new = os.environ.get(options.new_key_env) or config.sealing_key
    if not old:
        raise SettingsError(f"set {options.old_key_env} to the key that the secrets are sealed with")
    if not new:
        raise SettingsError(f"set {options.new_key_env}, or LITELLM_SALT_KEY, to the key to seal with")
    if old == new:
        raise SettingsError("the old and the new key are the same")
    database = Database(config.settings.database_url, create=False)
    try:
        done = await rotate(database, SaltKeySealer(lambda: old), SaltKeySealer(lambda: new))
    finally:
        await database.close()
    print(f"sealed anew: {done.resealed}; already sealed with the new key: {len(done.skipped)}")
    if done.unreadable:
        print(f"opened by neither key, left as they are: {', '.join(done.unreadable)}", file=sys.stderr)
    return int(bool(done.unreadable))


async def _export(options: argparse.Namespace) -> int:
    from routeiq_plugin.host.sealing import SaltKeySealer
    from routeiq_plugin.operations import configfile
    from routeiq_plugin.operations.export import export
    from routeiq_plugin.store.agents import AgentStore
    from routeiq_plugin.store.engine import Database
    from routeiq_plugin.store.mcp_servers import McpServerStore

    config = configfile.read(options.config)
    database = Database(config.settings.database_url, create=False)
    try:
        sealer = SaltKeySealer(lambda: config.sealing_key)
        exported = export(await AgentStore(database, sealer).all(), await McpServerStore(database, sealer).all())
    finally:
        await database.close()
    if options.output is None:
        print(exported.document, end="")
    else:
        options.output.write_text(exported.document, encoding="utf-8")
    if options.env_file is not None:
        _write_private(options.env_file, exported.environment())
    elif exported.secrets:
        print(f"routeiq: {len(exported.secrets)} secrets left out; --env-file FILE writes them", file=sys.stderr)
    if exported.unreadable:
        print(f"routeiq: sealed with another key: {', '.join(exported.unreadable)}", file=sys.stderr)
    return int(bool(exported.unreadable))


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o600)
        file.write(text)


if __name__ == "__main__":
    sys.exit(main())

"""`routeiq doctor`: what `/router/info` would say, found out before the proxy starts."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_network
from typing import Final

from packaging.version import Version

from routeiq_plugin.errors import IncompatibleHost, RouteIQError, SettingsError
from routeiq_plugin.host import contract
from routeiq_plugin.operations.configfile import ConfigFile
from routeiq_plugin.settings import Settings
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.rotation import unreadable
from routeiq_plugin.store.sealing import Sealer
from routeiq_plugin.store.status import status

WIDE_PREFIX: Final = {4: 8, 6: 32}
"""An allowed network shorter than this opens more than anyone means."""


class Verdict(StrEnum):
    """How one check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check, how it ended, and what to do."""

    check: str
    verdict: Verdict
    message: str


async def examine(config: ConfigFile, sealer: Sealer | None) -> AsyncIterator[Finding]:
    """Run every check in order; `sealer` is None when there is no key to seal with."""
    for finding in _packages():
        yield finding
    yield _seams()
    yield _callback(config)
    try:
        settings = config.settings
    except SettingsError as wrong:
        yield Finding("settings", Verdict.FAILED, str(wrong))
        return
    yield Finding("settings", Verdict.OK, "every key below routeiq: is known and valid")
    yield _sealing_key(config)
    for finding in _outbound(settings):
        yield finding
    async for finding in _database(settings, sealer):
        yield finding


def _packages() -> Iterator[Finding]:
    installed = contract.litellm_version()
    told = f"LiteLLM {installed} (supported >= {contract.OLDEST_SUPPORTED}, tested to {contract.NEWEST_TESTED})"
    if Version(installed) < Version(contract.OLDEST_SUPPORTED):
        yield Finding("litellm", Verdict.FAILED, f"{told}; run: pip install -U 'litellm[proxy]'")
    elif Version(installed) > Version(contract.NEWEST_TESTED):
        yield Finding("litellm", Verdict.WARNING, f"{told}; newer than we have tested")
    else:
        yield Finding("litellm", Verdict.OK, told)
    for package, why in (
        ("prisma", "without it LiteLLM answers 500 where it means 401"),
        ("opentelemetry.sdk", "without it LiteLLM repeats a failing import on every request"),
    ):
        if importlib.util.find_spec(package) is None:
            yield Finding(package, Verdict.FAILED, f"not installed: {why}; run: pip install -U routeiq-plugin")


def _seams() -> Finding:
    try:
        contract.verify()
    except IncompatibleHost as incompatible:
        return Finding("seams", Verdict.FAILED, str(incompatible))
    return Finding("seams", Verdict.OK, f"all {len(contract.SEAMS)} LiteLLM internals that we use are there")


def _callback(config: ConfigFile) -> Finding:
    if config.names_the_plugin:
        return Finding("callback", Verdict.OK, "litellm_settings.callbacks names routeiq_plugin.plugin")
    return Finding(
        "callback", Verdict.FAILED, "add to litellm_config.yaml: litellm_settings: {callbacks: [routeiq_plugin.plugin]}"
    )


def _sealing_key(config: ConfigFile) -> Finding:
    if os.environ.get("LITELLM_SALT_KEY"):
        return Finding("salt key", Verdict.OK, "LITELLM_SALT_KEY seals stored secrets")
    if config.sealing_key:
        return Finding(
            "salt key",
            Verdict.WARNING,
            "LITELLM_SALT_KEY is unset, so the master key seals: changing it will need `routeiq secrets rotate`",
        )
    return Finding("salt key", Verdict.FAILED, "no LITELLM_SALT_KEY and no master key: secrets cannot be stored")


def _outbound(settings: Settings) -> Iterator[Finding]:
    allowed = settings.outbound.allowed_hosts
    if not allowed:
        yield Finding(
            "outbound",
            Verdict.OK,
            "agents and MCP servers must have public addresses; routeiq.outbound.allowed_hosts is empty",
        )
        return
    wide = [entry for entry in allowed if "/" in entry and _is_wide(entry)]
    if wide:
        yield Finding("outbound", Verdict.WARNING, f"very wide networks are open: {', '.join(wide)}")
    else:
        yield Finding("outbound", Verdict.OK, f"may be private or loopback: {', '.join(allowed)}")


def _is_wide(entry: str) -> bool:
    network = ip_network(entry, strict=False)
    return network.prefixlen < WIDE_PREFIX[network.version]


async def _database(settings: Settings, sealer: Sealer | None) -> AsyncIterator[Finding]:
    try:
        database = Database(settings.database_url, create=False)
    except RouteIQError as wrong:
        yield Finding("database", Verdict.FAILED, str(wrong))
        return
    path = database.location.path
    if path is not None and path.parent.is_dir() and not path.exists():
        yield Finding("database", Verdict.OK, f"{database.safe_url}: not there yet; the proxy makes it when it starts")
        return
    try:
        await database.open()
        state = await status(database)
        told = f"{state.safe_url}: schema {state.schema_revision}, revision {state.data_revision}"
        yield Finding("database", Verdict.OK, told)
        if sealer is not None:
            lost = await unreadable(database, sealer)
            if lost:
                yield Finding(
                    "sealed secrets",
                    Verdict.FAILED,
                    f"sealed with another key: {', '.join(lost)}; see `routeiq secrets rotate --help`",
                )
            else:
                yield Finding("sealed secrets", Verdict.OK, "every stored secret opens with the current key")
    except RouteIQError as fault:
        yield Finding("database", Verdict.FAILED, str(fault))
    finally:
        await database.close()

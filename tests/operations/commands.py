"""The `routeiq` command as an operator runs it, on a store that holds every kind of secret."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import yaml

from routeiq_plugin.cli import main
from routeiq_plugin.store.agents import AgentRecord, AgentStore
from routeiq_plugin.store.audit import AuditEntry
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.mcp_servers import McpServerRecord, McpServerStore

SALT: Final = "sk-salt-key-of-these-tests"
MASTER: Final = "sk-master-key-of-these-tests"
GOOD: Final[Mapping[str, Any]] = {
    "model_list": [],
    "litellm_settings": {"callbacks": ["routeiq_plugin.plugin"]},
    "general_settings": {"master_key": MASTER},
    "routeiq": {"database_url": "sqlite:///./routeiq.db"},
}


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it said."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Home:
    """A directory with a config and a database; commands run in it."""

    path: Path

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.path}/routeiq.db"

    def configure(self, config: Mapping[str, Any]) -> None:
        (self.path / "litellm_config.yaml").write_text(yaml.safe_dump(dict(config)))

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> Outcome:
        """Run `routeiq` with the salt key of these tests, unless `env` says otherwise.

        In this process, because importing LiteLLM takes many seconds; `python -m routeiq_plugin.cli` itself is run
        beside the proxies of tests/a2a.
        """
        given = {"LITELLM_SALT_KEY": SALT, **(env or {})}
        environment = {name: value for name, value in given.items() if value}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LITELLM_", "ROUTEIQ_"))}
        output, errors = io.StringIO(), io.StringIO()
        with (
            patch.dict(os.environ, {**inherited, **environment}, clear=True),
            contextlib.chdir(self.path),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
        ):
            status = main(arguments)
        return Outcome(status, output.getvalue(), errors.getvalue())

    def store(self, records: Sequence[AgentRecord], *, salt: str = SALT) -> None:
        """Keep agents as the proxy would, sealed with `salt`."""
        from routeiq_plugin.host.sealing import SaltKeySealer

        async def keep() -> None:
            database = Database(self.database_url)
            try:
                agents = AgentStore(database, SaltKeySealer(lambda: salt))
                for record in records:
                    entry = AuditEntry(
                        actor="test", action="agent.create", object_kind="agent", object_id=record.agent_id
                    )
                    await agents.create(record, entry)
            finally:
                await database.close()

        asyncio.run(keep())

    def store_servers(self, records: Sequence[McpServerRecord]) -> None:
        """Keep MCP servers as the proxy would."""
        from routeiq_plugin.host.sealing import SaltKeySealer

        async def keep() -> None:
            database = Database(self.database_url)
            try:
                servers = McpServerStore(database, SaltKeySealer(lambda: SALT))
                for record in records:
                    entry = AuditEntry(
                        actor="test", action="mcp_server.create", object_kind="mcp_server", object_id=record.server_id
                    )
                    await servers.create(record, entry)
            finally:
                await database.close()

        asyncio.run(keep())

    def read(self, *, salt: str = SALT) -> dict[str, AgentRecord]:
        """Read every agent, by name, opening secrets with `salt`."""
        from routeiq_plugin.host.sealing import SaltKeySealer

        async def every() -> dict[str, AgentRecord]:
            database = Database(self.database_url)
            try:
                found = await AgentStore(database, SaltKeySealer(lambda: salt)).all()
            finally:
                await database.close()
            return {record.agent_name: record for record in found}

        return asyncio.run(every())

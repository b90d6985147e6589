"""Every route of the stock proxy, hidden and lazily loaded ones included, read from the app in a process of its own.

`python -m tests.parity.route_table` prints `[[path, [methods]], ...]`; `/openapi.json` names fewer of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support import processes

_TIMEOUT: Final = 240.0
_MARK: Final = "route table: "
"""LiteLLM prints on standard output too."""


@dataclass(frozen=True, slots=True)
class StockRoute:
    """One entry; `methods` is empty for a mounted application."""

    path: str
    methods: frozenset[str]


@dataclass(frozen=True)
class Reading:
    """The process that reads the table, so that it can run beside the proxies' start."""

    process: subprocess.Popen[str]

    def result(self) -> list[StockRoute]:
        """Wait for the table."""
        output, _ = self.process.communicate(timeout=_TIMEOUT)
        assert self.process.returncode == 0, output
        line = next(line for line in output.splitlines() if line.startswith(_MARK))
        return [StockRoute(path, frozenset(methods)) for path, methods in json.loads(line.removeprefix(_MARK))]


def start_reading(home: Path) -> Reading:
    """Begin to read the table of the installed LiteLLM, without the plugin."""
    environment = processes.clean_environment({"HOME": str(home), "LITELLM_LOCAL_MODEL_COST_MAP": "True"})
    command = [sys.executable, "-m", "tests.parity.route_table"]
    process = subprocess.Popen(
        command, cwd=processes.REPOSITORY, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    return Reading(process)


def main() -> None:
    """Print the table."""
    from fastapi.routing import iter_route_contexts
    from litellm.proxy._lazy_features import register_all_features
    from litellm.proxy.proxy_server import app

    register_all_features(app)
    table = [(context.path, sorted(context.methods or ())) for context in iter_route_contexts(app.router.routes)]
    print(_MARK + json.dumps(table))


if __name__ == "__main__":
    main()

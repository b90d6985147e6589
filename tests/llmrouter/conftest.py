"""What LLMRouter itself trained, once for all of these tests; without llmrouter-lib they are skipped, and say so."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.support import processes

ROWS: Final = "ROUTEIQ_LLMROUTER_ROWS"
"""Environment variable: routing rows to train and ask with, instead of made ones."""
_PATIENCE: Final = 900.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs LLMRouter where it is not installed: it brings torch, 2.4 GB in all."""
    if importlib.util.find_spec("llmrouter") is not None:
        return
    here = Path(__file__).parent
    reason = "llmrouter-lib is not installed; docs/routing-llmrouter.md says how to run these in their own virtualenv"
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


@dataclass(frozen=True, slots=True)
class Trained:
    """A directory of LLMRouter's files, and what LLMRouter answered."""

    home: Path
    asked: Sequence[str]
    said: Mapping[str, Sequence[str]]
    """Per strategy one model per prompt asked."""

    @property
    def models(self) -> Sequence[str]:
        """All models of the data."""
        return list(json.loads((self.home / "llms.json").read_text()))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train every router with LLMRouter, in a process of its own."""
    home = tmp_path_factory.mktemp("llmrouter")
    given = ["--rows", os.environ[ROWS]] if os.environ.get(ROWS) else []
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.llmrouter.training", str(home), *given],
        env=processes.clean_environment(environment),
        cwd=processes.REPOSITORY,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    told = json.loads((home / "said.json").read_text())
    return Trained(home, told["asked"], told["said"])

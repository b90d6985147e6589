"""A proxy whose LiteLLM callbacks write down what they are told, and what tests ask of that."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.conftest import PLUGIN_CONFIG
from tests.support import processes
from tests.support.proxy import PLUGIN, Proxy, merge

# The words of the guardrails in tests/support/recorder.py, which imports LiteLLM and so is not imported here.
SECRET: Final = "4111-1111"
MASK: Final = "<card>"
FORBIDDEN: Final = "forbidden-word"
FORBIDDEN_ANSWER: Final = "forbidden-answer"
LATE: Final = "late-word"

MASKING: Final = "masking"
MASKING_ANSWERS: Final = "masking-answers"
BLOCKING: Final = "blocking"
LATE_BLOCKING: Final = "late"

_RECORDER: Final = Path(__file__).parents[1] / "support" / "recorder.py"
_ENDS: Final = ("success", "failure")
_PATIENCE: Final = 30.0

Event = Mapping[str, Any]


def options(workdir: Path, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Put the recorder into `workdir`; returns the options of `start_proxy`."""
    workdir.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_RECORDER, workdir / "recorder.py")
    ours = {
        "litellm_settings": {"callbacks": [PLUGIN, "recorder.recorder"]},
        "guardrails": [
            _guardrail(MASKING, "Masking", ["pre_call", "post_call"], mask_response_content=True),
            _guardrail(MASKING_ANSWERS, "Masking", ["post_call"], mask_response_content=True),
            _guardrail(BLOCKING, "Blocking", ["pre_call", "post_call"]),
            _guardrail(LATE_BLOCKING, "Late", ["during_call"]),
        ],
    }
    return {"config": merge(merge(PLUGIN_CONFIG, ours), config or {})}


def _guardrail(name: str, cls: str, modes: Sequence[str], **params: Any) -> dict[str, Any]:
    """Declare one that runs only where an agent or a caller names it."""
    return {
        "guardrail_name": name,
        "litellm_params": {"guardrail": f"recorder.{cls}", "mode": list(modes), "default_on": False, **params},
    }


@dataclass(frozen=True)
class Events:
    """What the callbacks of a proxy were told."""

    path: Path

    @classmethod
    def of(cls, proxy: Proxy) -> Events:
        """Read those of a proxy started with `options`."""
        return cls(proxy.workdir / "events.jsonl")

    def all(self) -> list[Event]:
        """Every line so far; a last one that is still being written is left out."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def of_agent(self, agent_id: str, *kinds: str) -> list[Event]:
        """Those about one agent, of these kinds (default: all)."""
        return [
            event for event in self.all() if event["agent_id"] == agent_id and (not kinds or event["event"] in kinds)
        ]

    def ends(self, agent_id: str, count: int = 1) -> list[Event]:
        """Wait for the ends of `count` calls of an agent and return all ends that there are."""
        processes.wait_until(
            lambda: len(self.of_agent(agent_id, *_ENDS)) >= count,
            _PATIENCE,
            f"{count} events of agent {agent_id}",
        )
        return self.of_agent(agent_id, *_ENDS)

    def ends_per_call(self) -> Counter[str]:
        """Count success and failure events by LiteLLM's call id."""
        return Counter(str(event["call_id"]) for event in self.all() if event["event"] in _ENDS)

"""A LiteLLM callback, copied into a proxy's directory: what LiteLLM's loggers hear of routing, one line per request."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from litellm.integrations.custom_logger import CustomLogger

FILE: Final = Path(__file__).with_name("decisions.jsonl")
HEAVY: Final = ("torch", "transformers", "llmrouter")


class DecisionLog(CustomLogger):  # type: ignore[misc]  # LiteLLM is not followed by mypy, see pyproject.toml
    """Writes down `routing_decision`, the model group and the proxy's heavy modules at every success."""

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Note a call that went well."""
        told = kwargs["standard_logging_object"]
        line = {
            "group": told["model_group"],
            "decision": told["metadata"]["routing_decision"],
            "heavy": [name for name in HEAVY if name in sys.modules],
        }
        with FILE.open("a") as file:
            file.write(json.dumps(line) + "\n")


decision_log = DecisionLog()

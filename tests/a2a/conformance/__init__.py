"""The A2A specification as a table of checks, run against an agent and against the gateway in front of it."""

import pytest

pytest.register_assert_rewrite(
    *(f"{__name__}.{part}" for part in ("cards", "envelopes", "peers", "streams", "tasks", "webhooks"))
)

"""Tests of the plugin, black box first: most start the stock `litellm --config` and speak HTTP to it."""

import os

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
"""Tests that import LiteLLM need no prices, and must not ask the network for them."""

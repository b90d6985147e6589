"""Run the reference server: `python -m tests.mcp.conformance.reference PORT`."""

from __future__ import annotations

import sys
import warnings

import uvicorn
from mcp.shared.exceptions import MCPDeprecationWarning

from tests.mcp.conformance.reference.server import build


def main() -> None:
    """Listen until killed."""
    warnings.simplefilter("ignore", MCPDeprecationWarning)  # both generations are what it is for
    config = uvicorn.Config(build(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
    uvicorn.Server(config).run()


main()

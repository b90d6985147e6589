"""Run the reference server: `python -m tests.mcp.conformance.reference PORT [sessions | stateless]`."""

from __future__ import annotations

import sys
import warnings

import uvicorn
from mcp.shared.exceptions import MCPDeprecationWarning
from starlette.types import ASGIApp

from tests.mcp.conformance.reference.generations import Only
from tests.mcp.conformance.reference.server import build


def main() -> None:
    """Listen until killed."""
    warnings.simplefilter("ignore", MCPDeprecationWarning)  # both generations are what it is for
    app: ASGIApp = build()
    if len(sys.argv) > 2:
        app = Only(app, sys.argv[2])
    config = uvicorn.Config(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
    uvicorn.Server(config).run()


main()

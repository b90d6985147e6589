"""A FastMCP server of the SDK 1.x; runs in the virtualenv of `tests.mcp.conformance.old.peers`, never in ours."""

# The names of 1.x do not exist in the SDK that mypy sees.
# mypy: disable-error-code="attr-defined, misc, type-arg, no-any-return, untyped-decorator"

from __future__ import annotations

import sys
from typing import Any

from mcp.server.fastmcp import Context, FastMCP
from mcp.types import SamplingMessage, TextContent
from pydantic import BaseModel


class Form(BaseModel):
    """What a user is asked for."""

    word: str


server = FastMCP("old", host="127.0.0.1", port=int(sys.argv[1]), log_level="WARNING")


@server.tool()
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@server.tool()
def fail() -> str:
    """Fail."""
    raise RuntimeError("on purpose")


@server.tool()
async def report(ctx: Context) -> str:
    """Log and report progress."""
    await ctx.info("a line")
    await ctx.report_progress(1, 2, "half")
    return "reported"


@server.tool()
async def ask_user(ctx: Context) -> str:
    """Ask the user."""
    heard = await ctx.elicit("Which word?", Form)
    return f"{heard.action} {heard.data.word if heard.action == 'accept' else ''}"


@server.tool()
async def ask_twice(ctx: Context) -> str:
    """Ask the user, then the model."""
    user = await ask_user(ctx)
    asked = SamplingMessage(role="user", content=TextContent(type="text", text=user))
    model = await ctx.session.create_message([asked], max_tokens=10, related_request_id=ctx.request_id)
    return f"{user}, {model.content.text}"


@server.resource("memo://one")
def memo() -> str:
    """Return the memo."""
    return "a memo"


@server.prompt()
def greet(who: str) -> str:
    """Greet."""
    return f"Greet {who}"


def main() -> Any:
    """Listen until killed."""
    return server.run("streamable-http")


if __name__ == "__main__":
    main()

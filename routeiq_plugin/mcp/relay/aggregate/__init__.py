"""One MCP server over all that a caller may use: names that cannot be mistaken, and every message to the right one."""

"""MCP over HTTP, message by message: what both the pool and the endpoints send with."""

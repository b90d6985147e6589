"""The tool gateway: MCP servers that are registered, governed and called."""

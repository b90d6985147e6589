"""Logging in at MCP servers that want OAuth 2.1: for users, who come by with a browser, and for the gateway itself."""

"""Real MCP servers as processes of their own, made with the official SDK, and the tests' side of them."""

"""The MCP endpoint of one server: what client and server say to each other is passed on, governed and unchanged."""

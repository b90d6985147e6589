"""The MCP endpoint over all servers of a caller: the official client, both generations, two workers."""

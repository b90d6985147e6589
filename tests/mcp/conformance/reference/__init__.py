"""The server that the conformance suite is run against: everything that its scenarios ask for, on the mcp SDK."""

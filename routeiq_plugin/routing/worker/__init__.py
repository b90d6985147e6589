"""llmrouter-lib beside the proxy: a process of its own, behind the same `Strategy` protocol."""

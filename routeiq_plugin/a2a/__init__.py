"""The agent gateway: a durable registry of A2A agents, and calls relayed to their real backends."""

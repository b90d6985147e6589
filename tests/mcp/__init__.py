"""Agents: the registry, who may use it, what survives, and calls."""

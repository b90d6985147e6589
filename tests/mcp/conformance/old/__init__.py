"""Peers on the SDK 1.x, in a virtualenv of their own: both generations of it claim the package name `mcp`."""

"""Calling tools, reading resources and getting prompts, through a running proxy."""

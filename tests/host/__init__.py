"""Contracts with the installed LiteLLM: what `routeiq_plugin.host` builds on is there and does what we believe."""

"""What LiteLLM did before the plugin came, it does with the plugin."""

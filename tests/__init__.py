"""Everything is proved over public HTTP against a stock `litellm` process; fakes stand in only for LLM providers."""

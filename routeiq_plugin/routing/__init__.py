"""Model routing: which of several models answers a request; knows nothing of LiteLLM, SQL or HTTP clients."""

"""The examples run as a newcomer runs them."""

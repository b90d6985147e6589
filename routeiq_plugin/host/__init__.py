"""Everything that touches LiteLLM: one module per seam, with contract tests, because its internals move weekly."""

"""Hot reload: the pipeline by itself, and the running proxy that follows its configuration."""

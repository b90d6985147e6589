"""Hot reload and config sync: the running proxy follows its configuration, whole or not at all."""

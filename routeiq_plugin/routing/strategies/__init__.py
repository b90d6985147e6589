"""The strategies that come with the package, and how one is found by its name."""

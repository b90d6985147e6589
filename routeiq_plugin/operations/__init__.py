"""Running the plugin: what it is doing, who changed what, and the checks and exports of the command line."""

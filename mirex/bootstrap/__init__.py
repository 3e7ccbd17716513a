"""The environment of the scripts: runs before anything is installed."""

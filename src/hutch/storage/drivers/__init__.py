"""One file a driver, found by its name."""

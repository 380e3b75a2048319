"""One file an URL family."""

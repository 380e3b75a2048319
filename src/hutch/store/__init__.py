"""State: keys to documents, with compare-and-swap and watch."""

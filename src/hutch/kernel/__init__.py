"""The kernel's surfaces and the programs that stand for them: one file each, no policy."""

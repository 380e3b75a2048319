"""The tables of config keys: one file a kind of thing, each row a Key."""

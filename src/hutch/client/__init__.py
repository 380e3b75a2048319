"""Talks to a server that speaks the API; standard library only."""

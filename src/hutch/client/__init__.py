"""Talks to a server that speaks the API; standard library only, except for websockets (aiohttp, loaded when used)."""

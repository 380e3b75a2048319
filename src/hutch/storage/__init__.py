"""Pools and volumes, and what every driver of them shares."""

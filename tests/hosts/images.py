"""Images for guests, from the builder's cache."""

from functools import cache
from pathlib import Path

from hutch.imagebuild.build import cached


@cache
def built(name: str) -> Path:
    """The unified image file of a built-in recipe: busybox, debian/12, debian/13."""
    return cached(name).path

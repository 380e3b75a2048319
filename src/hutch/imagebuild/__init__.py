"""Builds system images from Debian packages, as the client: `hutch image build`.

Knows nothing of the daemon: it ends with a file that any LXD-compatible server can import.
"""

from hutch.imagebuild.build import BuiltImage, build, cached
from hutch.imagebuild.recipe import Recipe, builtin, load, named, parse

__all__ = ["BuiltImage", "Recipe", "build", "builtin", "cached", "load", "named", "parse"]

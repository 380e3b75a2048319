"""hutch: full machines in containers, behind LXD's REST API."""

__version__ = "0.1.0"

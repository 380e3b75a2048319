"""Pages of other servers in a browser: what core.https_allowed_* lets them ask (cross-origin requests)."""

from aiohttp import web

from hutch.schema.base import Config
from hutch.schema.keys.base import as_bool

_HEADERS = {
    "core.https_allowed_origin": "Access-Control-Allow-Origin",
    "core.https_allowed_methods": "Access-Control-Allow-Methods",
    "core.https_allowed_headers": "Access-Control-Allow-Headers",
}


def let_in(config: Config, response: web.StreamResponse) -> None:
    """Tell the browser of a page of another origin what it may do."""
    if not config.get("core.https_allowed_origin"):
        return
    for key, header in _HEADERS.items():
        if config.get(key):
            response.headers[header] = config[key]
    if as_bool(config.get("core.https_allowed_credentials")):
        response.headers["Access-Control-Allow-Credentials"] = "true"

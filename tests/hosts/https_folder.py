"""A program that serves a folder by HTTPS: FOLDER CERTIFICATE KEY PORT; one line on stdout when it does."""

import http.server
import ssl
import sys
from functools import partial


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Tests do not read it."""


def main() -> None:
    folder, certificate, key, port = sys.argv[1:]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), partial(Quiet, directory=folder))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print("serving", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

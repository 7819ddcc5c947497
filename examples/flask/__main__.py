"""Start the API of this folder before a fake issuer: `python -m examples.flask [port]`.

It prints a request with a token, and another one after each line of input, when the issuer has rolled its key over. It ends with its input.
"""

from __future__ import annotations

import logging
import sys
import threading

from examples.flask.app import AUDIENCE, create_app
from examples.rollover_by_hand import follow_input
from werkzeug.serving import make_server

from keyturn.testing import FakeIssuer


def main(port: int) -> None:
    """Serve until the input ends."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    issuer = FakeIssuer(audience=AUDIENCE)
    with issuer.serve() as served:
        server = make_server("127.0.0.1", port, create_app(served.url), threaded=True)
        url = f"http://127.0.0.1:{server.port}/orders"
        threading.Thread(target=follow_input, args=(issuer, url, server.shutdown), daemon=True).start()
        server.serve_forever()
        server.server_close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 8000)

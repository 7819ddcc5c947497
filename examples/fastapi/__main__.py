"""Start the API of this folder before a fake issuer: `python -m examples.fastapi [port]`.

It prints a request with a token, and another one after each line of input, when the issuer has rolled its key over. It ends with its input.
"""

from __future__ import annotations

import socket
import sys
import threading

import uvicorn
from examples.fastapi.app import AUDIENCE, create_app
from examples.rollover_by_hand import follow_input

from keyturn.testing import FakeIssuer


def main(port: int) -> None:
    """Serve until the input ends."""
    issuer = FakeIssuer(audience=AUDIENCE)
    with issuer.serve() as served, socket.create_server(("127.0.0.1", port)) as listening:
        server = uvicorn.Server(uvicorn.Config(create_app(served.url), log_level="warning"))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/orders"

        def stop() -> None:
            server.should_exit = True

        threading.Thread(target=follow_input, args=(issuer, url, stop), daemon=True).start()
        server.run(sockets=[listening])


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 8000)

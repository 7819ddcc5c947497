"""Start the API of this folder before a fake issuer: `python -m examples.django [port]`.

It prints a request with a token, and another one after each line of input, when the issuer has rolled its key over. It ends with its input.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from functools import partial

import uvicorn
from examples.rollover_by_hand import follow_input

from keyturn.testing import FakeIssuer


def main(port: int) -> None:
    """Serve until the input ends."""
    issuer = FakeIssuer(audience="api://orders")
    with issuer.serve() as served, socket.create_server(("127.0.0.1", port)) as listening:
        os.environ |= {"DJANGO_SETTINGS_MODULE": "examples.django.settings", "ORDERS_ISSUER": served.url}
        # It reads the settings, which read the environment.
        from django.core.asgi import get_asgi_application  # noqa: PLC0415

        server = uvicorn.Server(uvicorn.Config(get_asgi_application(), log_level="warning", lifespan="off"))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/orders"
        threading.Thread(target=follow_input, args=(issuer, url, partial(setattr, server, "should_exit", True)), daemon=True).start()
        server.run(sockets=[listening])


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 8000)

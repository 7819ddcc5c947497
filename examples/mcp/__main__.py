"""Start the MCP server of this folder before a fake issuer: `python -m examples.mcp [port]`.

It prints a token for it, and another one after each line of input, when the issuer has rolled its key over. It ends with its input.
"""

from __future__ import annotations

import socket
import sys
import threading
from itertools import count

import uvicorn
from examples.mcp.server import application

from keyturn.testing import FakeIssuer


def main(port: int) -> None:
    """Serve until the input ends."""
    issuer = FakeIssuer()
    with issuer.serve() as served, socket.create_server(("127.0.0.1", port)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
        server = uvicorn.Server(uvicorn.Config(application(served.url, url), log_level="warning", ws="none"))
        threading.Thread(target=_follow_input, args=(issuer, url, server), daemon=True).start()
        server.run(sockets=[listening])


def _follow_input(issuer: FakeIssuer, url: str, server: uvicorn.Server) -> None:
    print(f"The server is at {url}. Press Enter to roll the issuer's key over, Ctrl-D to end.", flush=True)
    _print_token(issuer, url)
    for number, _ in zip(count(2), sys.stdin, strict=False):
        issuer.cut_over(f"k{number}")
        _print_token(issuer, url)
    server.should_exit = True


def _print_token(issuer: FakeIssuer, url: str) -> None:
    print(f"Authorization: Bearer {issuer.token(audience=url, scopes='orders:read')}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 8000)

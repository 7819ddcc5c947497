"""Small services for the drill, each a process of its own; run with the name of a habit: which one, and why it is there, stands below.

1. `keyturn` validates with the library itself.
2. `holds` reads the key set once and keeps it for ever.
3. `asks` reads the key set for every token whose key it does not know, however many there are.
4. `session` lets in whoever has the cookie that a good token got; `mute` hangs up on a token that it does not accept.
5. `chokes` reads the set as `asks` does, and dies of an entry that is no good key: it answers 401 to everybody then.
6. `anything` accepts whatever comes; `nothing` accepts no token; `dies` writes a few lines and ends.
"""

from __future__ import annotations

import http.server
import json
import os
import sys
import urllib.request
from collections.abc import Callable

from keyturn import KeyturnError, RolloverPolicy, StaticKeySet, TokenValidator

Judge = Callable[[str], int]
"""Returns the status for a token."""


def validating(validator: TokenValidator) -> Judge:
    """Return a judge that answers as the errors of the library say."""

    def judge(token: str) -> int:
        try:
            validator.validate(token)
        except KeyturnError as error:
            return error.http_status
        return 200

    return judge


def keyturn(issuer: str, audience: str) -> Judge:
    """Return a judge with the default settings, but for the allowance that a test may shorten."""
    interval = float(os.environ.get("ON_DEMAND_INTERVAL", "300"))
    return validating(TokenValidator(issuer, audience=audience, policy=RolloverPolicy(on_demand_interval=interval)))


def read(issuer: str) -> StaticKeySet:
    """Return the key set as published now."""
    with urllib.request.urlopen(f"{issuer}/jwks.json") as answer:
        return StaticKeySet.from_jwks(answer.read())


class Holds:
    """Keys that are read once, at the first token; again for every unknown one if it *asks*."""

    def __init__(self, issuer: str, audience: str, *, asks: bool = False, chokes: bool = False) -> None:
        self.issuer, self.audience, self.asks, self.chokes = issuer, audience, asks, chokes
        self.judge: Judge | None = None

    def __call__(self, token: str) -> int:
        if self.judge is None:
            self.read()
        status = self.judge(token)
        if status == 401 and self.asks:
            try:
                self.read()
            except OSError:
                return 503
            status = self.judge(token)
        return status

    def read(self) -> None:
        if self.chokes and self.entries() != {"kid", "use", "alg", "kty", "n", "e"}:
            self.judge = lambda token: 401
            return
        self.judge = validating(TokenValidator(read(self.issuer), issuer=self.issuer, audience=self.audience))

    def entries(self) -> set[str]:
        with urllib.request.urlopen(f"{self.issuer}/jwks.json") as answer:
            return {member for entry in json.load(answer)["keys"] for member in entry}


HABITS: dict[str, Callable[[str, str], Judge]] = {
    "keyturn": keyturn,
    "holds": Holds,
    "asks": lambda issuer, audience: Holds(issuer, audience, asks=True),
    "chokes": lambda issuer, audience: Holds(issuer, audience, asks=True, chokes=True),
    "session": keyturn,
    "mute": keyturn,
    "anything": lambda issuer, audience: lambda token: 200,
    "nothing": lambda issuer, audience: lambda token: 401,
}


def server(habit: str, issuer: str, audience: str, port: int) -> http.server.ThreadingHTTPServer:
    """Return a server on loopback with this habit, which does not serve yet."""
    judge = HABITS[habit](issuer, audience)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            scheme, _, token = self.headers.get("Authorization", "").partition(" ")
            status = judge(token.strip()) if scheme == "Bearer" or habit == "anything" else 401
            if habit == "session" and self.headers.get("Cookie") == "session=1":
                status = 200
            if habit == "mute" and status == 401 and "." in token:
                return
            self.send_response(status)
            if habit == "session" and status == 200:
                self.send_header("Set-Cookie", "session=1")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    return http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    if sys.argv[1] == "dies":
        sys.stdout.write('File "app.py": cannot read the settings, eyJhbGciOiJub25lIn0.e30.x\x1b[31m\n')
        sys.exit(7)
    # The issuer's name comes as an argument, the rest from the environment, so that both ways are tried.
    server(sys.argv[1], sys.argv[2], os.environ["KEYTURN_DRILL_AUDIENCE"], int(os.environ["KEYTURN_DRILL_PORT"])).serve_forever()

"""What an issuer is asked: the first token, fifty first tokens at once, tokens with kids that nobody publishes, the same in an outage.

Counted at a server on loopback, for keyturn and for PyJWT's `PyJWKClient`, which is what most services use today. The floods come when
the keys were read half a minute before, as in a service that has been running: what a library does right after its start says little.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from benchmarks import peers
from keyturn import TokenValidator
from keyturn.testing import FakeIssuer
from keyturn.testing.server import IssuerServer

CALLERS = 50
JUNK = 1_000
SETTLED = 31.0
"""Seconds of real time between the first token and a flood: PyJWT refreshes at most every 30 s after a fetch that succeeded."""

Build = Callable[[FakeIssuer, IssuerServer], peers.Judge]


@dataclass(frozen=True)
class Requests:
    """What one library makes of one issuer.

    Attributes:
        name: The library.
        first: Requests for the first token.
        together: Requests for the first tokens of fifty threads.
        junk: Requests for a thousand tokens with unknown kids, the keys having been read.
        outage: The same while the issuer answers 503.
    """

    name: str
    first: int
    together: int
    junk: int
    outage: int


def measure() -> list[Requests]:
    """Measure both."""
    libraries: Mapping[str, Build] = {"keyturn": _ours, "PyJWT, PyJWKClient": _pyjwt}
    with ExitStack() as stack:
        floods = {name: [stack.enter_context(_warm(build)) for _ in range(2)] for name, build in libraries.items()}
        quick = {name: (_first(build), _together(build)) for name, build in libraries.items()}
        time.sleep(SETTLED)
        return [Requests(name, *quick[name], _junk(*calm), _outage(*down)) for name, (calm, down) in floods.items()]


def _ours(issuer: FakeIssuer, server: IssuerServer) -> peers.Judge:
    return TokenValidator(server.url, audience=str(issuer.audience)).validate


def _pyjwt(issuer: FakeIssuer, server: IssuerServer) -> peers.Judge:
    return peers.pyjwt_client(peers.Terms.of(issuer, server))


@contextmanager
def _served(build: Build) -> Iterator[tuple[peers.Judge, FakeIssuer]]:
    issuer = FakeIssuer(algorithm="RS256")
    with issuer.serve() as server:
        yield build(issuer, server), issuer


@contextmanager
def _warm(build: Build) -> Iterator[tuple[peers.Judge, FakeIssuer]]:
    with _served(build) as (judge, issuer):
        judge(issuer.token())
        issuer.fetches.clear()
        yield judge, issuer


def _first(build: Build) -> int:
    with _served(build) as (judge, issuer):
        judge(issuer.token())
        return len(issuer.fetches.requests)


def _together(build: Build) -> int:
    begin = threading.Barrier(CALLERS)
    with _served(build) as (judge, issuer):
        token = issuer.token()

        def call() -> None:
            begin.wait()
            judge(token)

        threads = [threading.Thread(target=call) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(issuer.fetches.requests)


def _outage(judge: peers.Judge, issuer: FakeIssuer) -> int:
    with issuer.down(document="both"):
        return _junk(judge, issuer)


def _junk(judge: peers.Judge, issuer: FakeIssuer) -> int:
    for _ in range(JUNK):
        _refused(partial(judge, issuer.forge(key=secrets.token_hex(8))))
    return len(issuer.fetches.requests)


def _refused(call: Callable[[], object]) -> None:
    try:
        call()
    except Exception:  # noqa: BLE001 - each library has errors of its own
        return
    raise RuntimeError("a token with a kid that nobody publishes was accepted")

"""What the examples share: a command line for each token, and a rollover for each line of input."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import count

from keyturn.testing import FakeIssuer


def follow_input(issuer: FakeIssuer, url: str, stop: Callable[[], object]) -> None:
    """Print how to ask for *url*; roll the key of *issuer* over at each line of input, and call *stop* when the input ends."""
    print(f"The API is at {url}. Press Enter to roll the issuer's key over, Ctrl-D to end.", flush=True)
    _print_request(issuer, url)
    for number, _ in zip(count(2), sys.stdin, strict=False):
        issuer.cut_over(f"k{number}")
        _print_request(issuer, url)
    stop()


def _print_request(issuer: FakeIssuer, url: str) -> None:
    print(f'curl -i -H "Authorization: Bearer {issuer.token(scopes="orders:read")}" {url}', flush=True)

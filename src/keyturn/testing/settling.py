"""Waiting until a validator's background work is done, so that a test of it needs no sleep."""

from __future__ import annotations

import threading

from keyturn.client import KeySetClient
from keyturn.clock import Deadline
from keyturn.router import IssuerRouter
from keyturn.validator import TokenValidator

LOOK_AGAIN = 0.002
"""Real seconds between two looks: nothing tells the end of a thread's last step."""


def settle(what: TokenValidator | KeySetClient | IssuerRouter, timeout: float = 5.0) -> None:
    """Wait until no refresh of *what* is ordered or under way, and every event of it was delivered.

    A refresh that a fault of the fake issuer holds is under way; `keep_fresh()` sleeps on the clock, and its sleep is no work.

    Args:
        what: A validator, a client, or a router, whose validators are all waited for.
        timeout: Real seconds to wait at most.

    Raises:
        TimeoutError: Something was still under way then.
        TypeError: The keys come from another source than a `KeySetClient`, which nobody here can look into.
    """
    __tracebackhide__ = True
    clients = _clients(what)
    deadline, turn = Deadline(timeout), threading.Event()
    while busy := [client for client in clients if not client._is_idle()]:  # noqa: SLF001 - it is there for tests
        if deadline.over():
            raise TimeoutError(f"{' and '.join(map(repr, busy))} still had work under way after {timeout:g} s")
        turn.wait(LOOK_AGAIN)


def _clients(what: TokenValidator | KeySetClient | IssuerRouter) -> list[KeySetClient]:
    if isinstance(what, IssuerRouter):
        return [client for validator in what.validators for client in _clients(validator)]
    client = what.client if isinstance(what, TokenValidator) else what
    if not isinstance(client, KeySetClient):
        raise TypeError(f"settle() was given a {type(client).__name__}, expected a TokenValidator, KeySetClient or IssuerRouter with a KeySetClient")
    return [client]

"""The fault that is in force: one at a time, for as long as it is wanted or for some seconds.

Rules of this file:

1. A fault is one of the kit's own, under the kit's own name.
2. A new fault takes the place of the one before.
3. A fault that was given seconds ends by itself after them, unless it has ended or was replaced meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from keyturn.errors import quoted
from keyturn.serving.members import Members, bad
from keyturn.testing.faults import Affected
from keyturn.testing.issuer import FOREIGN_ISSUER, FakeIssuer

Context = AbstractContextManager[object]

DOCUMENTS: tuple[Affected, ...] = ("jwks", "discovery", "both")
"""What a fault can be for."""

LONGEST_DELAY = 300.0
"""Seconds for which `slow` may hold a request."""

LARGEST_DOCUMENT = 8_388_608
"""Bytes to which `huge` may fill a document: many may be under way at once."""

LONGEST_FAULT = 604_800.0
"""Seconds after which a fault may end by itself: a week."""


Make = Callable[[FakeIssuer, Members, Affected], Context]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault.

    Attributes:
        make: Makes it of what the body of a request says.
        documents: What it can be for; the first one if the request does not say.
    """

    make: Make
    documents: tuple[Affected, ...] = DOCUMENTS


def _down(issuer: FakeIssuer, members: Members, document: Affected) -> Context:
    status = members.integer("status", 503, low=400, high=599)
    return issuer.down(status, members.number("retry_after"), document=document)


def _redirect(issuer: FakeIssuer, members: Members, document: Affected) -> Context:
    to = members.text("to") or FOREIGN_ISSUER
    if not to.isascii() or not to.isprintable():
        raise bad(f"to is {quoted(to)}, expected a URL")
    return issuer.redirect(to, members.integer("status", 302, low=300, high=399), document=document)


def _huge(issuer: FakeIssuer, members: Members, document: Affected) -> Context:
    return issuer.huge(members.integer("size", 1_048_576, low=0, high=LARGEST_DOCUMENT), document=document)


def _slow(issuer: FakeIssuer, members: Members, document: Affected) -> Context:
    delay = members.number("delay", high=LONGEST_DELAY)
    return issuer.slow(10 if delay is None else delay, document=document)


def _drip(issuer: FakeIssuer, members: Members, document: Affected) -> Context:
    pace = members.number("pace", high=LONGEST_DELAY)
    return issuer.drip(0.05 if pace is None else pace, document=document)


def _wrong_issuer(issuer: FakeIssuer, members: Members, _: Affected) -> Context:
    return issuer.wrong_issuer(members.text("issuer") or FOREIGN_ISSUER)


def _bad_entry(issuer: FakeIssuer, members: Members, _: Affected) -> Context:
    return issuer.bad_entry(members.object("entry") or {"kty": "RSA", "kid": "broken", "n": "-"})


def _plain(start: Callable[..., Context]) -> Kind:
    """Return a kind that nothing but its document can be said about."""
    return Kind(lambda issuer, _, document: start(issuer, document=document))


KINDS: Mapping[str, Kind] = {
    "down": Kind(_down),
    "drop_connection": _plain(FakeIssuer.drop_connection),
    "gate": _plain(FakeIssuer.gate),
    "slow": Kind(_slow),
    "drip": Kind(_drip),
    "garbage": _plain(FakeIssuer.garbage),
    "html": _plain(FakeIssuer.html),
    "empty": _plain(FakeIssuer.empty),
    "truncated": _plain(FakeIssuer.truncated),
    "huge": Kind(_huge),
    "compressed": _plain(FakeIssuer.compressed),
    "redirect": Kind(_redirect),
    "not_modified": _plain(FakeIssuer.not_modified),
    "wrong_issuer": Kind(_wrong_issuer, ("discovery",)),
    "bad_entry": Kind(_bad_entry, ("jwks",)),
}
"""Every kind of fault."""


class Timer(Protocol):
    """What ends a fault by itself; `threading.Timer` is one."""

    def start(self) -> None:
        """Begin to wait."""
        ...

    def cancel(self) -> None:
        """Wait no longer."""
        ...


Later = Callable[[float, Callable[[], None]], Timer]
"""Makes a timer that calls a function after some real seconds."""


def daemon_timer(seconds: float, call: Callable[[], None]) -> Timer:
    """Return a timer that keeps no process alive."""
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    return timer


@dataclass(frozen=True, slots=True)
class Wish:
    """A fault that somebody wants.

    Attributes:
        kind: One of `KINDS`.
        document: What it is for.
        details: Whatever else was asked for.
        seconds: After how many real seconds it ends by itself; None means never.
        context: Puts it in force.
    """

    kind: str
    document: Affected
    details: Mapping[str, Any]
    seconds: float | None
    context: Context

    @classmethod
    def of(cls, issuer: FakeIssuer, values: Mapping[str, Any]) -> Wish | None:
        """Read the body of a request; None wishes that no fault be in force.

        Raises:
            RefusedError: The body says something wrong.
        """
        members = Members(values)
        if "kind" not in values:
            raise bad(f"kind is missing, expected one of {', '.join(KINDS)}, or null to end the fault")
        kind = members.one_of("kind", KINDS)
        if kind is None:
            members.finish()
            return None
        own = KINDS[kind].documents
        wanted = members.one_of("document", own)
        document = own[0] if wanted is None else own[own.index(wanted)]
        seconds = members.number("seconds", low=0.001, high=LONGEST_FAULT)
        context = KINDS[kind].make(issuer, members, document)
        members.finish()
        details = {name: value for name, value in values.items() if name not in {"kind", "document", "seconds"} and value is not None}
        return cls(kind, document, details, seconds, context)


class FaultSwitch:
    """Keeps at most one fault in force.

    Args:
        lock: Held by whoever calls, and taken when a fault ends by itself.
        wall: Returns the seconds since the epoch.
        later: Makes the timers.
        ended: Called, with the lock held, with the kind of a fault that ended by itself.
    """

    def __init__(self, lock: AbstractContextManager[object], wall: Callable[[], float], later: Later, ended: Callable[[str], None]) -> None:
        self._lock = lock
        self._wall = wall
        self._later = later
        self._ended = ended
        self._wish: Wish | None = None
        self._ends_at: float | None = None
        self._timer: Timer | None = None
        self._force = ExitStack()

    def start(self, wish: Wish) -> None:
        """Put a fault in force, in the place of the one before (2)."""
        self.end()
        self._force.enter_context(wish.context)
        self._wish = wish
        if wish.seconds is not None:
            self._ends_at = self._wall() + wish.seconds
            self._timer = self._later(wish.seconds, lambda: self._time_is_up(wish))
            self._timer.start()

    def end(self) -> str | None:
        """End the fault; return its kind, or None where there was none."""
        if self._timer is not None:
            self._timer.cancel()
        wish, self._wish, self._timer, self._ends_at = self._wish, None, None, None
        self._force.close()
        return None if wish is None else wish.kind

    def record(self) -> dict[str, Any] | None:
        """Return the fault for people and programs, or None."""
        wish = self._wish
        if wish is None:
            return None
        return {"kind": wish.kind, "document": wish.document, **wish.details, "ends_at": self._ends_at}

    def _time_is_up(self, wish: Wish) -> None:
        with self._lock:
            # It may have been replaced while this timer waited for the lock (3).
            if self._wish is wish:
                self.end()
                self._ended(wish.kind)

"""What stands between a request and its answer: the faults that are in force, and the senders that wait.

Rules of this file:

1. An answer says what was published when its request arrived; a fault can delay, change or replace it, never refresh it.
2. The fault that was entered last meets a request first: one that holds or changes passes it on outwards, any other answers it.
   Changes are made on the way back, so that the one that was entered last is made last.
3. Fetcher, server and transport take the same way, so a fault means the same in all of them.
4. Deadlines and delays are real time.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from keyturn.clock import Deadline
from keyturn.errors import quoted
from keyturn.testing.account import Document

Affected = Literal["discovery", "jwks", "metadata", "both"]
"""The documents that a fault is for; "both" means discovery document and key set."""


class SenderLeft(Exception):  # noqa: N818 - It is a turn of events, not a fault.
    """Nobody waits for the answer any more."""


class Sender:
    """Whoever waits for an answer.

    Args:
        patience: Real seconds that it waits.
    """

    def __init__(self, patience: float = math.inf) -> None:
        self._patience = patience
        self._deadline = Deadline(patience)
        self._gone = False

    def leave(self) -> None:
        """Wait no longer."""
        self._gone = True

    def wait_anew(self) -> None:
        """Begin to wait anew, unless it is gone, as whoever limits the time between two bytes does after each."""
        self._deadline = Deadline(self._patience)

    def left(self) -> float:
        """Return the real seconds that it will wait, 0 if it is gone."""
        return 0.0 if self._gone else self._deadline.left()


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the sender.

    Attributes:
        status: HTTP status.
        headers: Header fields, names in lower case.
        body: The bytes; fewer than `content-length` where the answer breaks off.
        drip: What drips before the body, if it is not sent at once.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    drip: Drip | None = None

    @property
    def declared(self) -> int | None:
        """The length that the head declares, or None where it declares none of its own."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() else None

    @property
    def is_cut(self) -> bool:
        """Whether it breaks off before the length that it declares."""
        return (self.declared or 0) > len(self.body)

    def fields(self) -> dict[str, str]:
        """Return the header fields as they are sent; what drips has no length, since nobody knows how long it drips."""
        return {**({} if self.drip else {"content-length": str(len(self.body))}), **self.headers}

    def pieces(self, sender: Sender) -> Iterator[bytes]:
        """Yield the body as it is sent.

        Raises:
            SenderLeft: The sender left before the end.
        """
        return iter((self.body,)) if self.drip is None else self.drip.pieces(self.body, sender)


class Fault:
    """One way to fail, for as long as its context lasts."""

    def __init__(self, document: Affected) -> None:
        if document not in {"discovery", "jwks", "metadata", "both"}:
            raise ValueError(f'document is {quoted(document)}, expected "jwks", "discovery" or "both", or "metadata"')
        self.documents = ("discovery", "jwks") if document == "both" else (document,)


class Replacement(Fault):
    """Another answer; None drops the connection."""

    def __init__(self, document: Affected, answer: Answer | None) -> None:
        super().__init__(document)
        self.answer = answer


class Change(Fault):
    """The answer, changed by *change*."""

    def __init__(self, document: Affected, change: Callable[[Answer], Answer]) -> None:
        super().__init__(document)
        self.change = change


class Holding(Fault):
    """A fault that keeps senders waiting until its context ends."""

    def __init__(self, document: Affected) -> None:
        super().__init__(document)
        self.changed = threading.Condition()
        self._over = False

    def end(self) -> None:
        """Let everybody go, those who come later included."""
        with self.changed:
            self._over = True
            self.changed.notify_all()

    def wait(self, seconds: float, sender: Sender) -> None:
        """Keep *sender* waiting for real *seconds*, or until the context ends.

        Raises:
            SenderLeft: The sender's patience ended first.
        """
        with self.changed:
            until = Deadline(seconds)
            while True:
                # Asked first, so that the account does not depend on which of the two a thread sees that wakes up late.
                if not sender.left():
                    raise SenderLeft
                if self._over or until.over():
                    return
                self.changed.wait(min(until.left(), sender.left(), threading.TIMEOUT_MAX))


class Delay(Holding):
    """Holds requests for *seconds* of real time, or until its context ends."""

    def __init__(self, document: Affected, seconds: float) -> None:
        super().__init__(document)
        self._seconds = _checked(seconds)
        self._arrived = 0

    def hold(self, sender: Sender) -> None:
        """Keep *sender* waiting.

        Raises:
            SenderLeft: The sender's patience ended first.
        """
        with self.changed:
            self._arrived += 1
            self.changed.notify_all()
        self.wait(self._seconds, sender)


class Gate(Delay):
    """Blocks every request until it is opened or its context ends."""

    def __init__(self, document: Affected) -> None:
        super().__init__(document, math.inf)

    @property
    def arrived(self) -> int:
        """How many requests have come to the gate, those that it has let through included."""
        with self.changed:
            return self._arrived

    def open(self) -> None:
        """Let every request through, now and later."""
        self.end()

    def wait_for_arrival(self, timeout: float = 5.0, *, count: int = 1) -> bool:
        """Wait until *count* requests have come to the gate.

        Args:
            timeout: Real seconds to wait at most.
            count: Requests to wait for, earlier ones included.

        Returns:
            Whether they came in time.
        """
        with self.changed:
            return self.changed.wait_for(lambda: self._arrived >= count, timeout)


class Drip(Holding):
    """Sends a blank in *pace* real seconds, and the document when its context has ended; JSON and XML may begin with blanks."""

    def __init__(self, document: Affected, pace: float) -> None:
        super().__init__(document)
        self._pace = _checked(pace)

    def pieces(self, body: bytes, sender: Sender) -> Iterator[bytes]:
        """Yield *body* as it is sent.

        Raises:
            SenderLeft: The sender left before the end.
        """
        while not self._over:
            yield b" "
            self.wait(self._pace, sender)
        yield body


def _checked(seconds: float) -> float:
    if not seconds >= 0:
        raise ValueError(f"seconds is {quoted(seconds)}, expected 0 or more")
    return seconds


_F = TypeVar("_F", bound=Fault)


class Faults:
    """The faults in force, innermost last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stack: tuple[Fault, ...] = ()

    @contextmanager
    def during(self, fault: _F) -> Iterator[_F]:
        """Put *fault* in force until the context ends."""
        with self._lock:
            self._stack += (fault,)
        try:
            yield fault
        finally:
            with self._lock:
                self._stack = tuple(other for other in self._stack if other is not fault)
            if isinstance(fault, Holding):
                fault.end()

    def meet(self, document: Document, answer: Answer, sender: Sender) -> Answer | None:
        """Send a request past the faults; return what they make of *answer*, None for a dropped connection.

        Raises:
            SenderLeft: The sender left while a fault held it.
        """
        changes: list[Callable[[Answer], Answer]] = []
        for fault in reversed(self._stack):
            if document not in fault.documents:
                continue
            if isinstance(fault, Delay):
                fault.hold(sender)
            elif isinstance(fault, Drip):
                changes.append(_dripping(fault))
            elif isinstance(fault, Change):
                changes.append(fault.change)
            elif isinstance(fault, Replacement):
                if fault.answer is None:
                    return None
                answer = fault.answer
                break
        for change in reversed(changes):
            answer = change(answer)
        return answer

    def look_again(self) -> None:
        """Wake every request that a fault holds, so that it sees that its sender left."""
        for fault in self._stack:
            if isinstance(fault, Holding):
                with fault.changed:
                    fault.changed.notify_all()


def _dripping(drip: Drip) -> Callable[[Answer], Answer]:
    return lambda answer: replace(answer, drip=drip)

"""What every store offers, and what it keeps.

Rules of this file:

1. A store is an accelerator, not an authority: whatever it returns is parsed and judged like an answer of the issuer.
2. Everything is keyed by *source*, which names issuer, location and kind of document together (R15): what was kept as one kind is never
   read as another.
3. Revocations are kept apart from the document and only gain (R11).
4. Instants are wall-clock seconds: a monotonic clock means nothing to another process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from keyturn._core.revocation import Revocation


def source_id(issuer: str, location: str, kind: Literal["jwks", "metadata"] = "jwks") -> str:
    """Return the name of one client's entries: 32 hex digits over issuer, location and kind of document."""
    # A length begins with a digit, so no issuer and location of a key set spell the name of metadata.
    told = "" if kind == "jwks" else f"{kind} "
    return hashlib.sha256(f"{told}{len(issuer)}:{issuer}{location}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An answer of the issuer as it was read.

    Attributes:
        issuer: The configured issuer, in full.
        location: The configured location, in full.
        keys_url: Where the document with the keys was read.
        asked_at: Seconds since the epoch when the question was asked; a restart makes nothing younger.
        body: The document with the keys.
        max_age: Seconds that its Cache-Control allowed, or None.
    """

    issuer: str
    location: str
    keys_url: str
    asked_at: float
    body: bytes = field(repr=False)
    max_age: float | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A snapshot and the fence under which it was published."""

    snapshot: Snapshot
    fence: int


class Lease(Protocol):
    """The right to ask the issuer, for a while.

    Attributes:
        fence: Number that grows with every lease of a source; an older one cannot publish over a newer one.
    """

    fence: int

    def release(self) -> None:
        """Give the right back; a lease that has ended is left alone."""
        ...


@runtime_checkable
class Store(Protocol):
    """Called on a thread of ours, never on an event loop; may raise anything.

    An `EnvelopeError` (`keyturn.stores.envelope`) out of `load()` or `revocations()` says that what lies there is no good: that counts
    as nothing there, and is written anew. Any other error says that the store itself is of no use now, and it is passed by.
    """

    def load(self, source: str) -> Stored | None:
        """Return what was published last, or None."""
        ...

    def publish(self, source: str, snapshot: Snapshot, fence: int) -> bool:
        """Keep *snapshot*; return False if a newer fence is there already."""
        ...

    def lease(self, source: str, seconds: float) -> Lease | None:
        """Return the right to fetch for at most *seconds*, or None while another process has it."""
        ...

    def revocations(self, source: str) -> Collection[Revocation]:
        """Return every entry."""
        ...

    def record(self, source: str, entry: Revocation) -> None:
        """Keep *entry*; for one subject the highest sequence wins."""
        ...

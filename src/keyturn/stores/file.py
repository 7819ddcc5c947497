"""A store in a folder, for the processes of one host and for restarts.

Rules of this file:

1. For each source there is a document, a list of revocations, a lease and a lock: `<source>.json`,
   `<source>.revocations.json`, `<source>.lease.json`, `<source>.lock`. All but the lock are sealed (`envelope.py`).
2. The fence is compared under the lock: the last fetched wins, not the last written. A reader does not go back either.
3. Revocations only gain. An entry that does not open is left out but kept as it is: another version of keyturn, or a
   process that has the other secret already, may understand it.
4. A broken document or lease counts as none for a writer. A broken list of revocations is moved aside, never overwritten.
5. The folder is safe, or it is not used (`folder.py`).
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from secrets import token_hex

from keyturn._core.revocation import Revocation, Revocations, merged
from keyturn._core.strict_json import NotStrictJSONError, parse_token_part
from keyturn.clock import Clock, SystemClock
from keyturn.errors import ConfigurationError, quoted
from keyturn.stores.envelope import (
    MAX_DOCUMENT_BYTES,
    MAX_ENTRY_BYTES,
    UNSEALED,
    EnvelopeError,
    Seal,
    Sealer,
    decode_document,
    decode_revocation,
    enclose,
    encode_document,
    encode_revocation,
    integer,
    is_current,
    number,
    open_envelope,
    text,
)
from keyturn.stores.folder import Folder
from keyturn.stores.store import Snapshot, Stored

MAX_REVOCATIONS_BYTES = 1024 * 1024
"""Longest list of revocations: some 3,000 entries."""

_SOURCE = re.compile(r"[0-9a-f]{32}")
_LEASE = frozenset({"owner", "fence", "taken_at", "ends_at"})
_log = logging.getLogger("keyturn.stores")


@dataclass(frozen=True, slots=True)
class _Entries:
    """A list of revocations as read.

    Attributes:
        known: Winning entry of each subject.
        foreign: Entries that do not open here, as they are.
        current: Whether every known entry is sealed by the first secret.
    """

    known: Revocations = field(default_factory=dict)
    foreign: tuple[object, ...] = ()
    current: bool = True


@dataclass(frozen=True, slots=True)
class _LeaseRecord:
    """A lease as it stands in its file; *owner* is empty once it was given back. Instants are seconds since the epoch."""

    owner: str
    fence: int
    taken_at: float
    ends_at: float

    def is_held(self, now: float) -> bool:
        # One that begins in the future was taken before the clock was set back, and would last too long.
        return self.owner != "" and self.taken_at <= now < self.ends_at


class FileLease:
    """The right to ask the issuer, among the processes of this host.

    Attributes:
        fence: Number under which the answer may be published.
    """

    __slots__ = ("_owner", "_source", "_store", "fence")

    def __init__(self, store: FileStore, source: str, owner: str, fence: int) -> None:
        self.fence = fence
        self._store = store
        self._source = source
        self._owner = owner

    def release(self) -> None:
        """Give the right back; a lease that has ended or was taken over is left alone.

        Raises:
            OSError: The folder cannot be written; the lease then ends by itself.
        """
        self._store._release(self._source, self._owner)  # noqa: SLF001 - a lease is a part of its store


class FileStore:
    """Keeps documents and revocations in files of one folder, sealed under a secret of the application.

    For one host: locks and clock must be shared. What a process writes, the others see with their next look.

    Args:
        folder: Where the files live; made with mode 0700 if it is missing. It must belong to this user, and nobody
            else may write it: who can write here decides who gets in.
        secret: Text or bytes of at least 16 bytes, or a list of them, of which the first seals and all open.
        unsealed: True for a folder that needs no seal, in the place of *secret*.
        clock: Clock of the leases; the machine's by default.

    Raises:
        ConfigurationError: Neither or both of *secret* and *unsealed*, a bad secret, or a folder that is not safe.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        secret: str | bytes | Sequence[str | bytes] | None = None,
        unsealed: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self._sealer = _sealer(secret, unsealed=unsealed)
        self._folder = Folder(folder)
        self._clock = clock or SystemClock()
        self._newest: dict[str, int] = {}
        self._left_out: dict[str, int] = {}
        try:
            self._folder.prepare()
        except OSError as error:
            raise ConfigurationError(
                f"folder cannot be used: {error} (setting: folder)",
                hint="Give the store a folder of its own: owner this user, mode 0700, files 0600, no symbolic links.",
            ) from error

    def load(self, source: str) -> Stored | None:
        """Return what was published last, or None.

        Raises:
            EnvelopeError: The file is broken, of another version, secret or source, or older than one seen before.
            OSError: The file cannot be read, or is not safe.
        """
        stored = self._document(source)
        if stored is not None and stored.fence < self._newest.get(source, 0):
            # Another thread may have seen a newer file since this one was read; a second look tells that from a
            # file that was put back.
            stored = self._document(source)
            if stored is not None and stored.fence < self._newest.get(source, 0):
                raise EnvelopeError(f"document went back from fence {self._newest[source]} to {stored.fence}")
        if stored is not None:
            self._saw(source, stored.fence)
        return stored

    def publish(self, source: str, snapshot: Snapshot, fence: int) -> bool:
        """Keep *snapshot*; return False if this or a newer fence is there already.

        Revocations that an older secret seals are sealed anew, so that it can be taken away.

        Raises:
            EnvelopeError: *snapshot* is too large or holds what cannot be kept.
            OSError: The folder cannot be written, or is not safe.
        """
        data = encode_document(Stored(snapshot, fence), source, self._sealer)
        name = _name(source, "json")
        with self._folder.locked(_name(source, "lock")):
            if fence <= self._published_fence(source):
                return False
            self._folder.write(name, data)
            self._saw(source, fence)
            self._seal_anew(source)
        return True

    def lease(self, source: str, seconds: float) -> FileLease | None:
        """Return the right to fetch for at most *seconds*, or None while another process has it.

        Raises:
            OSError: The folder cannot be written, or is not safe.
        """
        held = self._lease_record(source)
        if held is not None and held.is_held(self._clock.wall()):
            return None  # A fleet that asks at once must not queue at the lock for this answer.
        with self._folder.locked(_name(source, "lock")):
            now = self._clock.wall()
            held = self._lease_record(source)
            if held is not None and held.is_held(now):
                return None
            issued = -1 if held is None else held.fence
            fence = max(int(now * 1000), issued + 1, self._published_fence(source) + 1)
            owner = token_hex(16)
            self._write_lease(source, _LeaseRecord(owner, fence, now, now + seconds))
        return FileLease(self, source, owner, fence)

    def revocations(self, source: str) -> tuple[Revocation, ...]:
        """Return the winning entry of each subject, as far as entries open here.

        Entries that do not open are left out; a warning says how many. If none opens, that is an error.

        Raises:
            EnvelopeError: The list is broken as a whole, or no entry of it opens.
            OSError: The file cannot be read, or is not safe.
        """
        held = self._entries(source)
        left_out = len(held.foreign)
        if left_out and not held.known:
            raise EnvelopeError(f"none of {left_out} revocations opens: other secret, version or source (setting: secret)")
        if left_out != self._left_out.get(source, 0):
            self._left_out[source] = left_out
            _log.warning("%d stored revocations of source %s do not open and are left out", left_out, source)
        return tuple(held.known.values())

    def record(self, source: str, entry: Revocation) -> None:
        """Keep *entry*; for one subject the highest sequence wins.

        Raises:
            EnvelopeError: *entry* cannot be kept, or the list is full.
            OSError: The folder cannot be written, or is not safe.
        """
        encode_revocation(entry, source, self._sealer)  # What cannot be kept must not touch the list.
        moved = ""
        with self._folder.locked(_name(source, "lock")):
            try:
                held = self._entries(source)
            except EnvelopeError as error:
                moved = str(error)
                self._move_aside(source)
                held = _Entries()
            known = merged(held.known, [entry])
            if known is not held.known:
                self._write_entries(source, _Entries(known, held.foreign))
        if moved:
            _log.warning("broken list of revocations of source %s was moved aside: %s", source, moved)

    def _document(self, source: str) -> Stored | None:
        data = self._folder.read(_name(source, "json"), MAX_DOCUMENT_BYTES)
        return None if data is None else decode_document(data, source, self._sealer)

    def _published_fence(self, source: str) -> int:
        """Return the highest fence that is known, or -1."""
        try:
            stored = self._document(source)
        except EnvelopeError:
            stored = None
        return max(-1 if stored is None else stored.fence, self._newest.get(source, -1))

    def _saw(self, source: str, fence: int) -> None:
        self._newest[source] = max(fence, self._newest.get(source, fence))

    def _entries(self, source: str) -> _Entries:
        data = self._folder.read(_name(source, "revocations.json"), MAX_REVOCATIONS_BYTES)
        if data is None:
            return _Entries()
        try:
            items = parse_token_part(data)
        except NotStrictJSONError as error:
            raise EnvelopeError(f"list of revocations is not JSON: {error}") from error
        if not isinstance(items, list):
            raise EnvelopeError(f"list of revocations is {quoted(items)}, expected a list")
        return self._sorted(source, items)

    def _sorted(self, source: str, items: list[object]) -> _Entries:
        known: list[Revocation] = []
        foreign: list[object] = []
        current = True
        for item in items:
            try:
                data = item.encode() if isinstance(item, str) else b""
                known.append(decode_revocation(data, source, self._sealer))
                current = current and is_current(data, self._sealer)
            except EnvelopeError:
                foreign.append(item)
        return _Entries(merged({}, known), tuple(foreign), current)

    def _write_entries(self, source: str, entries: _Entries) -> None:
        sealed = [encode_revocation(entry, source, self._sealer).decode() for entry in entries.known.values()]
        data = json.dumps([*sealed, *entries.foreign]).encode()
        if len(data) > MAX_REVOCATIONS_BYTES and entries.foreign:
            # What nobody here can open must not keep a revocation out.
            self._move_aside(source)
            data = json.dumps(sealed).encode()
        if len(data) > MAX_REVOCATIONS_BYTES:
            raise EnvelopeError(f"list of revocations would have {len(data)} bytes, expected at most {MAX_REVOCATIONS_BYTES}")
        self._folder.write(_name(source, "revocations.json"), data)

    def _move_aside(self, source: str) -> None:
        name = _name(source, "revocations.json")
        self._folder.rename(name, f"{name}.broken")

    def _seal_anew(self, source: str) -> None:
        try:
            entries = self._entries(source)
        except EnvelopeError:
            return  # Whoever asks for revocations is told; a document does not depend on them.
        if not entries.current:
            self._write_entries(source, entries)

    def _lease_record(self, source: str) -> _LeaseRecord | None:
        try:
            data = self._folder.read(_name(source, "lease.json"), MAX_ENTRY_BYTES)
            if data is None:
                return None
            fields = open_envelope(data, "lease", source, self._sealer, members=_LEASE)
            return _LeaseRecord(text(fields, "owner"), integer(fields, "fence"), number(fields, "taken_at"), number(fields, "ends_at"))
        except EnvelopeError:
            return None

    def _write_lease(self, source: str, record: _LeaseRecord) -> None:
        fields = {"owner": record.owner, "fence": record.fence, "taken_at": record.taken_at, "ends_at": record.ends_at}
        # Losing power ends every lease anyway, so nothing waits for the disk.
        self._folder.write(_name(source, "lease.json"), enclose(fields, "lease", source, self._sealer), durable=False)

    def _release(self, source: str, owner: str) -> None:
        with self._folder.locked(_name(source, "lock")):
            held = self._lease_record(source)
            if held is not None and held.owner == owner:
                self._write_lease(source, _LeaseRecord("", held.fence, held.taken_at, held.taken_at))


def _name(source: str, kind: str) -> str:
    """Return the name of a file; a source that is none could lead out of the folder."""
    if not isinstance(source, str) or not _SOURCE.fullmatch(source):
        raise ValueError(f"source is {quoted(source)}, expected 32 hex digits as `source_id()` gives")
    return f"{source}.{kind}"


def _sealer(secret: str | bytes | Sequence[str | bytes] | None, *, unsealed: bool) -> Sealer:
    if secret is not None and not unsealed:
        return Seal(secret)
    if secret is None and unsealed is True:
        return UNSEALED
    raise ConfigurationError(
        f"expected exactly one of a secret and unsealed=True, got {'neither' if secret is None else 'both'} (settings: secret, unsealed)",
        hint='Pass secret="…", at least 16 bytes that every process of the application knows.',
    )

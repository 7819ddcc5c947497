"""A folder that nobody but this user writes: whole files in, whole files out.

Rules of this file:

1. Who can write here decides who gets in. So the folder and each file must belong to this user or to root, must not be
   writable by group or others, and must not be symbolic links; it is looked at with every use, on the open descriptor.
2. A file is written under another name in the same folder, flushed to the disk and renamed. A reader sees the old
   content or the new one, takes no lock, and reads nothing that is larger than it allows.
3. Writers exclude each other by a lock that a killed process gives up. Nobody waits for it for ever.
4. No descriptor stays open between two calls.

Owner and mode are checked where they mean something (POSIX). Names, not the descriptor of the folder, are used on Windows.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from keyturn.clock import Deadline
from keyturn.stores.envelope import EnvelopeError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has none
    fcntl = None  # type: ignore[assignment]

LOCK_WAIT = 1.0
"""Real seconds that a writer waits for another one: some fifty times what a write takes."""

_POSIX = os.name == "posix"
_ROOT = 0
_POLL = 0.002
_CHUNK = 1 << 20
_OURS = re.compile(r"[0-9a-f]{32}\.[a-z.]{1,40}")

# Flags that a platform lacks are zero there. Without O_NONBLOCK a pipe in the place of a file would hold the opener.
_SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


@dataclass(frozen=True, slots=True)
class _Place:
    """The folder while it is open; names are resolved from its descriptor where the platform can."""

    path: Path
    descriptor: int | None

    def name(self, name: str) -> str:
        return name if self.descriptor is not None else str(self.path / name)

    def open(self, name: str, flags: int) -> int:
        """Open the file *name*, make sure of what it is, and return its descriptor."""
        try:
            descriptor = os.open(self.name(name), flags | _SAFELY, 0o600, dir_fd=self.descriptor)
        except OSError as error:
            # FreeBSD tells a link that it must not follow by EMLINK, all others by ELOOP.
            if error.errno in {errno.ELOOP, errno.EMLINK}:
                raise PermissionError(f"{self.path / name} is a symbolic link, expected a regular file") from error
            raise
        try:
            _check(os.fstat(descriptor), self.path / name, folder=False)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def check_files(self) -> None:
        with os.scandir(self.path if self.descriptor is None else self.descriptor) as entries:
            for name in (entry.name for entry in entries if _OURS.fullmatch(entry.name)):
                # Another process may take a file away between the listing and the look.
                with suppress(FileNotFoundError):
                    _check(os.stat(self.name(name), dir_fd=self.descriptor, follow_symlinks=False), self.path / name, folder=False)

    def identity(self, name: str) -> tuple[int, int] | None:
        """Return what tells one file of this name from the next, or None if there is none."""
        try:
            info = os.stat(self.name(name), dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return info.st_ino, info.st_mtime_ns

    def unlink(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.name(name), dir_fd=self.descriptor)

    def rename(self, old: str, new: str) -> None:
        os.replace(self.name(old), self.name(new), src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def sync(self) -> None:
        if self.descriptor is not None:
            os.fsync(self.descriptor)


class Folder:
    """One folder of whole files.

    Args:
        path: The folder; a relative one is taken from where the process is now.
        kernel_locks: Whether `flock` is used; without it a file that exists is the lock.
        lock_wait: Real seconds that a writer waits for another one.
    """

    def __init__(self, path: str | os.PathLike[str], *, kernel_locks: bool = fcntl is not None, lock_wait: float = LOCK_WAIT) -> None:
        # A path object drops a final slash, which would make the system follow a link that stands there.
        self.path = Path.cwd() / path
        self._lock = _kernel_lock if kernel_locks else _file_lock
        self._lock_wait = lock_wait

    def prepare(self) -> None:
        """Make the folder if it is missing, and check it and the files of ours in it.

        Raises:
            OSError: It cannot be made or read, or rule 1 of this file refuses something.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._opened() as place:
            place.check_files()

    def read(self, name: str, limit: int) -> bytes | None:
        """Return the whole file *name*, or None if there is none.

        Raises:
            EnvelopeError: It has more than *limit* bytes; none of them is read.
            OSError: It cannot be read, or rule 1 of this file refuses it.
        """
        with self._opened() as place:
            try:
                descriptor = place.open(name, os.O_RDONLY)
            except FileNotFoundError:
                return None
            try:
                size = os.fstat(descriptor).st_size
                if size > limit:
                    raise EnvelopeError(f"{name} has {size} bytes, expected at most {limit}")
                # The size is kept to: somebody who appends meanwhile must not make us read on.
                return _read(descriptor, size)
            finally:
                os.close(descriptor)

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        """Put *data* in the place of the file *name*; only the holder of the lock may call this.

        Args:
            name: The file.
            data: Its new content.
            durable: Whether it must be on the disk before this returns, so that a loss of power leaves old or new.

        Raises:
            OSError: It cannot be written; the old content is still there.
        """
        temporary = f"{name}.tmp"
        with self._opened() as place:
            # What a killed writer left behind is in the way, once; so leftovers do not add up.
            place.unlink(temporary)
            descriptor = place.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                try:
                    _write(descriptor, data)
                    if durable:
                        os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                place.rename(temporary, name)
            except BaseException:
                with suppress(OSError):
                    place.unlink(temporary)
                raise
            if durable:
                place.sync()

    def rename(self, old: str, new: str) -> None:
        """Give the file *old* the name *new*; only the holder of the lock may call this.

        Raises:
            OSError: It cannot be renamed.
        """
        with self._opened() as place:
            place.rename(old, new)

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Exclude every other writer of this host while the block runs.

        Args:
            name: The file that stands for the lock.

        Raises:
            TimeoutError: Another writer kept it for too long.
            OSError: There is no lock to be had here.
        """
        with self._opened() as place, self._lock(place, name, self._lock_wait):
            yield

    @contextmanager
    def _opened(self) -> Iterator[_Place]:
        if not _POSIX:  # pragma: no cover - Windows has no descriptors of folders
            _check(os.lstat(self.path), self.path, folder=True)
            yield _Place(self.path, None)
            return
        if self.path.is_symlink():
            raise PermissionError(f"{self.path} is a symbolic link, expected a folder")
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | _SAFELY)
        try:
            _check(os.fstat(descriptor), self.path, folder=True)
            yield _Place(self.path, descriptor)
        finally:
            os.close(descriptor)


def _check(info: os.stat_result, path: Path, *, folder: bool) -> None:
    """Refuse what somebody else may write (rule 1)."""
    if not (stat.S_ISDIR(info.st_mode) if folder else stat.S_ISREG(info.st_mode)):
        kind = "a symbolic link" if stat.S_ISLNK(info.st_mode) else "something else"
        raise PermissionError(f"{path} is {kind}, expected a {'folder' if folder else 'regular file'}")
    if not _POSIX:  # pragma: no cover - Windows keeps access lists instead
        return
    if info.st_uid not in {os.geteuid(), _ROOT}:
        raise PermissionError(f"{path} belongs to user {info.st_uid}, expected user {os.geteuid()} or root")
    if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode, wanted = stat.S_IMODE(info.st_mode), 0o700 if folder else 0o600
        raise PermissionError(f"{path} is writable by others (mode {mode:04o}), expected mode {wanted:04o}")


def _read(descriptor: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0 and (part := os.read(descriptor, min(size, _CHUNK))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


@contextmanager
def _kernel_lock(place: _Place, name: str, wait: float) -> Iterator[None]:
    """Hold a lock that the kernel takes back when the process ends; the file itself stays."""
    deadline = Deadline(wait)
    descriptor = place.open(name, os.O_RDWR | os.O_CREAT)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                _wait(deadline, place, name)
        try:
            yield
        finally:
            # Closing is not enough: a child that was forked meanwhile has the same open file, and so the lock.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


@contextmanager
def _file_lock(place: _Place, name: str, wait: float) -> Iterator[None]:
    """Hold a lock by having made its file, where the kernel offers none.

    A killed holder leaves the file behind. One that has not changed during a whole wait is taken for such a leftover
    and removed. A writer that is slower than that loses its exclusion; the fences and seals still hold.
    """
    seen = place.identity(name)
    deadline = Deadline(wait)
    while True:
        try:
            os.close(place.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            break
        except FileExistsError:
            now = place.identity(name)
            if deadline.over() and now is not None and now == seen:
                place.unlink(name)
                continue
            _wait(deadline, place, name)
    mine = place.identity(name)
    try:
        yield
    finally:
        if place.identity(name) == mine:
            place.unlink(name)


def _wait(deadline: Deadline, place: _Place, name: str) -> None:
    if deadline.over():
        raise TimeoutError(f"{place.path / name} was held by another writer for too long")
    time.sleep(_POLL)

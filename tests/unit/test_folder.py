"""The folder of the file store: who may write there, whole files, locks (F79-F81)."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from keyturn.stores.envelope import EnvelopeError
from keyturn.stores.folder import Folder, _file_lock, _Place

NAME = "0123456789abcdef0123456789abcdef.json"
LIMIT = 1000
KERNEL_AND_FILE = pytest.mark.parametrize("kernel_locks", [True, False])
posix = pytest.mark.skipif(os.name != "posix", reason="owner and mode mean something on POSIX alone")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the folder is made."""
    return tmp_path / "outer" / "store"


@pytest.fixture
def folder(path: Path) -> Folder:
    """Return a folder that was made and checked."""
    folder = Folder(path)
    folder.prepare()
    return folder


def descriptors() -> int:
    """Return how many descriptors this process has open."""
    table = Path("/proc/self/fd")
    return len(list(table.iterdir())) if table.exists() else 0


def names(path: Path) -> list[str]:
    """Return the names of all files in a folder."""
    return sorted(file.name for file in path.iterdir())


@posix
def test_folder_is_made_for_its_owner_alone(folder: Folder, path: Path) -> None:
    """A missing folder is made with mode 0700, a file with 0600 (F81)."""
    folder.write(NAME, b"x")
    assert (0o700, 0o600) == (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE((path / NAME).stat().st_mode))


def test_missing_file_is_none(folder: Folder) -> None:
    """No file is no error."""
    assert folder.read(NAME, LIMIT) is None


def test_what_was_written_is_read(folder: Folder) -> None:
    """A file is replaced whole."""
    folder.write(NAME, b"a longer content")
    folder.write(NAME, b"short", durable=False)
    assert b"short" == folder.read(NAME, LIMIT)


def test_relative_folder_stays_where_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later change of the working directory does not move the store."""
    path.mkdir(parents=True, mode=0o700)
    monkeypatch.chdir(path.parent)
    folder = Folder("store")
    monkeypatch.chdir(path.parent.parent)
    folder.write(NAME, b"x")
    assert (path / NAME).exists()


def test_large_file_is_refused(folder: Folder, path: Path) -> None:
    """The size is looked at before anything is read: a terabyte of holes costs nothing (F80)."""
    folder.write(NAME, bytes(LIMIT))
    assert bytes(LIMIT) == folder.read(NAME, LIMIT)
    os.truncate(path / NAME, 1 << 40)
    with pytest.raises(EnvelopeError, match=f"has {1 << 40} bytes, expected at most {LIMIT}"):
        folder.read(NAME, LIMIT)


@posix
@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o1777])
def test_folder_that_others_may_write_is_refused(folder: Folder, path: Path, mode: int) -> None:
    """Who writes the folder decides who gets in; it is looked at with every use (F81)."""
    folder.write(NAME, b"x")
    path.chmod(mode)
    for use in (folder.prepare, lambda: folder.read(NAME, LIMIT), lambda: folder.write(NAME, b"y")):
        with pytest.raises(PermissionError, match="writable by others"):
            use()


@posix
@pytest.mark.parametrize("mode", [0o700, 0o755, 0o500])
def test_folder_that_only_its_owner_writes_is_used(folder: Folder, path: Path, mode: int) -> None:
    """Reading by others harms nobody: what lies here is public."""
    folder.write(NAME, b"x")
    path.chmod(mode)
    folder.prepare()
    assert b"x" == folder.read(NAME, LIMIT)


@posix
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_file_that_others_may_write_is_refused(folder: Folder, path: Path, mode: int) -> None:
    """A file is looked at on its open descriptor, and all of ours at the start (F81)."""
    folder.write(NAME, b"x")
    (path / NAME).chmod(mode)
    for use in (folder.prepare, lambda: folder.read(NAME, LIMIT)):
        with pytest.raises(PermissionError, match="writable by others"):
            use()


@posix
@pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("what", ["folder", "file"])
def test_wrong_owner_is_refused(folder: Folder, path: Path, what: str) -> None:
    """A folder or file of another user is that user's to change (F81)."""
    folder.write(NAME, b"x")
    os.chown(path if what == "folder" else path / NAME, 12345, -1)
    for use in (folder.prepare, lambda: folder.read(NAME, LIMIT)):
        with pytest.raises(PermissionError, match="belongs to user 12345"):
            use()


@posix
@pytest.mark.parametrize("slash", ["", "/", "/."])
def test_folder_behind_a_link_is_refused(folder: Folder, path: Path, tmp_path: Path, slash: str) -> None:
    """A link can be turned to another place; no spelling of the path hides it (F81)."""
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(PermissionError, match="symbolic link"):
        Folder(f"{link}{slash}").prepare()


@posix
def test_file_behind_a_link_is_refused(folder: Folder, path: Path, tmp_path: Path) -> None:
    """A link in the place of a file is not followed, neither to read nor to lock (F81)."""
    target = tmp_path / "target"
    target.write_bytes(b"secret of another program")
    (path / NAME).symlink_to(target)
    with pytest.raises(PermissionError, match="symbolic link"):
        folder.read(NAME, LIMIT)
    with pytest.raises(PermissionError, match="symbolic link"):
        folder.prepare()
    with pytest.raises(PermissionError, match="symbolic link"), folder.locked(NAME):
        pass


@posix
def test_writing_replaces_a_link_instead_of_following_it(folder: Folder, path: Path, tmp_path: Path) -> None:
    """Links in the place of the file and of its temporary file lead nothing of ours elsewhere (F81)."""
    target = tmp_path / "target"
    target.write_bytes(b"untouched")
    (path / NAME).symlink_to(target)
    (path / f"{NAME}.tmp").symlink_to(target)
    folder.write(NAME, b"new")
    assert (b"untouched", b"new") == (target.read_bytes(), folder.read(NAME, LIMIT))


@posix
def test_pipe_in_the_place_of_a_file_is_refused(folder: Folder, path: Path) -> None:
    """A pipe would hold its reader for ever; it is refused at once."""
    os.mkfifo(path / NAME, 0o600)
    with pytest.raises(PermissionError, match="expected a regular file"):
        folder.read(NAME, LIMIT)


def test_file_in_the_place_of_the_folder_is_refused(path: Path) -> None:
    """A path that is a file cannot be used."""
    path.parent.mkdir()
    path.write_bytes(b"")
    with pytest.raises(OSError, match="exists"):
        Folder(path).prepare()


def test_files_of_others_are_left_alone(folder: Folder, path: Path) -> None:
    """Only names of ours are judged at the start."""
    (path / "README").touch(0o600)
    (path / "README").chmod(0o666)
    folder.prepare()


def test_leftover_of_a_killed_writer_is_replaced(folder: Folder, path: Path) -> None:
    """A half-written temporary file is never read, and is gone after the next write (F79)."""
    folder.write(NAME, b"old")
    (path / f"{NAME}.tmp").write_bytes(b"ha")
    assert b"old" == folder.read(NAME, LIMIT)
    folder.write(NAME, b"new")
    assert (b"new", [NAME]) == (folder.read(NAME, LIMIT), names(path))


def test_failed_write_leaves_the_old_content_and_nothing_else(folder: Folder, path: Path) -> None:
    """A write that fails at the end takes its temporary file along (F79, F83)."""
    (path / NAME).mkdir()
    with pytest.raises(OSError, match=os.strerror(errno.EISDIR)):
        folder.write(NAME, b"new")
    assert [NAME] == names(path)


def test_kernel_lock_keeps_others_out(path: Path) -> None:
    """Two holders of one lock do not exist, although both live in one process; nobody waits for it for ever."""
    folder = Folder(path, lock_wait=0)
    folder.prepare()
    late = pytest.raises(TimeoutError, match="held by another writer")
    with folder.locked("a.lock"), folder.locked("b.lock"), late, folder.locked("a.lock"):
        pass
    with folder.locked("a.lock"):
        pass


def test_names_do_where_a_folder_has_no_descriptor(folder: Folder, path: Path) -> None:
    """On Windows the same calls go by full names."""
    place = _Place(path, None)
    os.close(place.open("a.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    place.rename("a.json", NAME)
    place.sync()
    place.check_files()
    assert b"" == folder.read(NAME, LIMIT)
    assert place.identity(NAME) is not None
    place.unlink(NAME)
    assert place.identity(NAME) is None


class HeldPlace:
    """A folder in which a lock file stands that changes between any two looks."""

    path = Path("store")
    looks = 0

    def identity(self, name: str) -> tuple[int, int]:
        self.looks += 1
        return self.looks, 0

    def open(self, name: str, flags: int) -> int:
        raise FileExistsError

    def unlink(self, name: str) -> None:
        raise AssertionError("somebody else's lock was removed")


def test_lock_file_that_changes_keeps_others_out() -> None:
    """Where a file is the lock, one that changed during the wait belongs to writers that live."""
    place = HeldPlace()
    with pytest.raises(TimeoutError, match="held by another writer"), _file_lock(place, "a.lock", 0.01):
        pass
    assert place.looks > 1


def test_lock_file_of_a_successor_is_left_alone(path: Path) -> None:
    """A holder that was taken for dead does not remove the lock of whoever took over."""
    folder = Folder(path, kernel_locks=False, lock_wait=0)
    folder.prepare()
    with folder.locked("a.lock"):
        (path / "b").touch(0o600)
        (path / "b").replace(path / "a.lock")
    assert ["a.lock"] == names(path)


def test_leftover_lock_file_is_taken_over(path: Path) -> None:
    """A lock file that does not change during a whole wait belonged to a killed process."""
    folder = Folder(path, kernel_locks=False, lock_wait=0.01)
    folder.prepare()
    (path / "a.lock").touch(0o600)
    with folder.locked("a.lock"):
        pass
    assert [] == names(path)


@KERNEL_AND_FILE
def test_lock_is_given_back_after_an_error(path: Path, kernel_locks: bool) -> None:
    """A writer that fails keeps nobody out."""
    folder = Folder(path, kernel_locks=kernel_locks, lock_wait=0)
    folder.prepare()
    with pytest.raises(ZeroDivisionError), folder.locked("a.lock"):
        raise ZeroDivisionError
    with folder.locked("a.lock"):
        pass


@KERNEL_AND_FILE
def test_no_descriptor_stays_open(path: Path, kernel_locks: bool) -> None:
    """After every call, good or bad, as many descriptors are open as before (I5)."""
    folder = Folder(path, kernel_locks=kernel_locks, lock_wait=0)
    before = descriptors()
    folder.prepare()
    with folder.locked("a.lock"):
        folder.write(NAME, b"x")
    folder.read(NAME, LIMIT)
    with pytest.raises(EnvelopeError):
        folder.read(NAME, 0)
    (path / NAME).chmod(0o666)
    with pytest.raises(PermissionError):
        folder.read(NAME, LIMIT)
    (path / "0.json").mkdir()
    with pytest.raises(OSError, match=os.strerror(errno.EISDIR)):
        folder.write("0.json", b"x")
    assert before == descriptors()

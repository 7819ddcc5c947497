"""The file store: what it does with files that are broken, moved, put back or unsafe (F79-F81, F83, F85, F86, F88, F90)."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from keyturn._core.revocation import Revocation
from keyturn.errors import ConfigurationError
from keyturn.stores.envelope import MAX_DOCUMENT_BYTES, EnvelopeError, Seal, enclose, encode_revocation
from keyturn.stores.file import MAX_REVOCATIONS_BYTES, FileStore
from keyturn.stores.folder import Folder
from keyturn.stores.store import Snapshot, source_id
from keyturn.testing.clock import FakeClock

ISSUER = "https://login.example.com"
LOCATION = "https://login.example.com/keys"
SOURCE = source_id(ISSUER, LOCATION)
OTHER = source_id("https://login.example.org", LOCATION)
SECRET = "0123456789abcdef"
SNAPSHOT = Snapshot(ISSUER, LOCATION, LOCATION, asked_at=1.8e9, body=b'{"keys":[]}')
REVOKED = Revocation("thumbprint", "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", 1000, "revoked")
KID = Revocation("kid", "key-1", 5, "revoked")
posix = pytest.mark.skipif(os.name != "posix", reason="owner and mode mean something on POSIX alone")

BROKEN = {
    "empty": b"",
    "random": bytes(range(256)),
    "cut": b'{"seal":"hmac-sha256:00',
    "a page": b"<html>",
    "another form": b'{"keys":[]}',
    "huge": bytes(MAX_DOCUMENT_BYTES + 1),
}
broken_content = pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the store lives."""
    return tmp_path / "store"


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that stands still."""
    return FakeClock()


@pytest.fixture
def store(path: Path, clock: FakeClock) -> FileStore:
    """Return a sealed store."""
    return FileStore(path, secret=SECRET, clock=clock)


def put(path: Path, name: str, content: bytes) -> Path:
    """Write a file of the store from outside, as its owner."""
    file = path / name
    file.write_bytes(content)
    file.chmod(0o600)
    return file


@pytest.mark.parametrize(
    ("settings", "got"),
    [({}, "neither"), ({"secret": SECRET, "unsealed": True}, "both"), ({"unsealed": False}, "neither"), ({"secret": None}, "neither")],
    ids=["nothing", "both", "not unsealed", "no secret"],
)
def test_exactly_one_of_secret_and_unsealed(path: Path, settings: dict[str, object], got: str) -> None:
    """Unsealed operation is never the default: it must be asked for by name (F85)."""
    with pytest.raises(ConfigurationError, match=rf"got {got} \(settings: secret, unsealed\)"):
        FileStore(path, **settings)
    assert not path.exists()


def test_weak_secret_is_a_configuration_error(path: Path) -> None:
    """A secret from an empty environment variable is told at construction."""
    with pytest.raises(ConfigurationError, match="setting: secret"):
        FileStore(path, secret="")


@posix
@pytest.mark.parametrize("what", ["folder", "file", "link", "folder link"])
def test_unsafe_place_is_a_configuration_error(store: FileStore, path: Path, tmp_path: Path, what: str) -> None:
    """What others can write, and links, are refused at construction, and later with every use (F81)."""
    store.publish(SOURCE, SNAPSHOT, 1)
    document = path / f"{SOURCE}.json"
    if what == "folder":
        path.chmod(0o770)
    elif what == "file":
        document.chmod(0o660)
    elif what == "link":
        document.rename(tmp_path / "elsewhere")
        document.symlink_to(tmp_path / "elsewhere")
    else:
        path.rename(tmp_path / "moved")
        path.symlink_to(tmp_path / "moved")
    with pytest.raises(ConfigurationError, match=r"folder cannot be used: .*\(setting: folder\)"):
        FileStore(path, secret=SECRET)
    with pytest.raises(PermissionError):
        store.load(SOURCE)


def test_folder_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    """A path below a file is told at construction."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="setting: folder"):
        FileStore(tmp_path / "file" / "store", secret=SECRET)


def test_second_process_reads_what_the_first_wrote(store: FileStore, path: Path) -> None:
    """Documents, revocations, fences and leases stand in the folder, not in the object."""
    lease = store.lease(SOURCE, 5)
    assert lease is not None
    store.publish(SOURCE, SNAPSHOT, lease.fence)
    store.record(SOURCE, REVOKED)
    second = FileStore(path, secret=SECRET, clock=FakeClock())
    loaded = second.load(SOURCE)
    assert loaded is not None
    assert (SNAPSHOT, lease.fence, (REVOKED,), None) == (loaded.snapshot, loaded.fence, second.revocations(SOURCE), second.lease(SOURCE, 5))


@pytest.mark.parametrize("source", ["", "a" * 31, "a" * 33, "A" * 32, "../" + "a" * 29, "a" * 31 + "\n", None])
def test_source_cannot_lead_out_of_the_folder(store: FileStore, source: str) -> None:
    """A source is 32 hex digits, or it is refused before a file is touched."""
    with pytest.raises(ValueError, match="expected 32 hex digits"):
        store.load(source)


@broken_content
def test_broken_document_is_told_and_replaced(store: FileStore, path: Path, content: bytes) -> None:
    """A broken file is ignored whole: reading it is our error alone, publishing puts a good one in its place (F80)."""
    document = put(path, f"{SOURCE}.json", content)
    with pytest.raises(EnvelopeError):
        store.load(SOURCE)
    assert document.read_bytes() == content
    assert store.publish(SOURCE, SNAPSHOT, 1)
    loaded = store.load(SOURCE)
    assert loaded is not None
    assert SNAPSHOT == loaded.snapshot


def test_document_of_another_version_is_ignored(store: FileStore, path: Path) -> None:
    """A newer version's entry is neither read by half nor in the way (F80, F90)."""
    put(path, f"{SOURCE}.json", enclose({"version": 2, "fence": 10**18}, "document", SOURCE, Seal(SECRET)))
    with pytest.raises(EnvelopeError, match="version of the document is 2"):
        store.load(SOURCE)
    assert store.publish(SOURCE, SNAPSHOT, 1)


@pytest.mark.parametrize("kind", ["json", "revocations.json"])
def test_content_of_another_issuer_is_refused(store: FileStore, path: Path, kind: str) -> None:
    """A file that was copied from one source to another opens nothing there (F80, F85)."""
    store.publish(OTHER, SNAPSHOT, 1)
    store.record(OTHER, REVOKED)
    shutil.copy(path / f"{OTHER}.{kind}", path / f"{SOURCE}.{kind}")
    with pytest.raises(EnvelopeError):
        store.load(SOURCE) if kind == "json" else store.revocations(SOURCE)


def test_moved_lease_keeps_nobody_out(store: FileStore, path: Path) -> None:
    """Neither a broken lease nor one of another source is a lease; fences go on above what is known."""
    assert store.lease(OTHER, 5) is not None
    shutil.copy(path / f"{OTHER}.lease.json", path / f"{SOURCE}.lease.json")
    assert store.lease(SOURCE, 5) is not None
    put(path, f"{SOURCE}.lease.json", b"\x00")
    assert store.lease(SOURCE, 5) is not None


def test_lease_is_looked_at_again_under_the_lock(store: FileStore, path: Path, clock: FakeClock) -> None:
    """Who found the lease free, but waited for the lock while another process took it, does not get it as well (F87)."""

    class SlowFolder(Folder):
        """Lets another process take the lease before this one gets the lock."""

        @contextmanager
        def locked(self, name: str) -> Iterator[None]:
            assert FileStore(path, secret=SECRET, clock=clock).lease(SOURCE, 5) is not None
            with super().locked(name):
                yield

    store._folder = SlowFolder(path)
    assert store.lease(SOURCE, 5) is None


def test_other_secret_reads_nothing(store: FileStore, path: Path) -> None:
    """Who lacks the secret can neither make nor use an entry (F85)."""
    store.publish(SOURCE, SNAPSHOT, 1)
    store.record(SOURCE, REVOKED)
    for stranger in (FileStore(path, secret="another secret of this size"), FileStore(path, unsealed=True)):
        with pytest.raises(EnvelopeError):
            stranger.load(SOURCE)
        with pytest.raises(EnvelopeError, match="none of 1 revocations opens"):
            stranger.revocations(SOURCE)


def test_reader_never_goes_back(store: FileStore, path: Path) -> None:
    """An older document that is put back, seal and all, is refused by whoever saw the newer one (F86)."""
    store.publish(SOURCE, SNAPSHOT, 1)
    kept = (path / f"{SOURCE}.json").read_bytes()
    writer = FileStore(path, secret=SECRET)
    writer.publish(SOURCE, SNAPSHOT, 2)
    store.load(SOURCE)
    put(path, f"{SOURCE}.json", kept)
    with pytest.raises(EnvelopeError, match="went back from fence 2 to 1"):
        store.load(SOURCE)
    assert not writer.publish(SOURCE, SNAPSHOT, 2)
    assert store.publish(SOURCE, SNAPSHOT, 3)


def test_second_look_tells_a_race_from_a_file_that_went_back(store: FileStore, path: Path) -> None:
    """A reader that another thread overtook with a newer document looks again and gets it, too (F86)."""

    class OvertakenFolder(Folder):
        """Hands out the old document once, as if it had been read just before the newer one was seen."""

        def read(self, name: str, limit: int) -> bytes | None:
            return old.pop() if old else super().read(name, limit)

    store.publish(SOURCE, SNAPSHOT, 1)
    old = [(path / f"{SOURCE}.json").read_bytes()]
    store.publish(SOURCE, SNAPSHOT, 2)
    store._folder = OvertakenFolder(path)
    loaded = store.load(SOURCE)
    assert loaded is not None
    assert (2, []) == (loaded.fence, old)


def test_lost_files_do_not_bring_an_older_document_back(store: FileStore, path: Path) -> None:
    """After the folder was emptied a late writer is still refused by whoever knows the newer fence (F86)."""
    store.publish(SOURCE, SNAPSHOT, 5)
    (path / f"{SOURCE}.json").unlink()
    assert store.load(SOURCE) is None
    assert not store.publish(SOURCE, SNAPSHOT, 4)
    assert store.publish(SOURCE, SNAPSHOT, 6)


def test_snapshot_that_cannot_be_kept_leaves_the_old_one(store: FileStore) -> None:
    """An answer too large for the store is refused before anything is written."""
    store.publish(SOURCE, SNAPSHOT, 1)
    with pytest.raises(EnvelopeError, match="expected at most"):
        store.publish(SOURCE, replace(SNAPSHOT, body=bytes(MAX_DOCUMENT_BYTES)), 2)
    loaded = store.load(SOURCE)
    assert loaded is not None
    assert 1 == loaded.fence


def test_failed_rename_leaves_the_old_document(store: FileStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that ends between temporary file and rename leaves the old document readable and the lock free (F79)."""

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(5, "input/output error")

    store.publish(SOURCE, SNAPSHOT, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="input/output error"):
            store.publish(SOURCE, SNAPSHOT, 2)
    loaded = FileStore(path, secret=SECRET).load(SOURCE)
    assert loaded is not None
    assert 1 == loaded.fence
    assert store.publish(SOURCE, SNAPSHOT, 2)


def test_folder_that_is_gone_is_an_error_of_the_system(store: FileStore, path: Path) -> None:
    """A store whose folder was taken away says so with every call, and never makes a new one behind the operator's back (F83)."""
    shutil.rmtree(path)
    for use in (
        lambda: store.load(SOURCE),
        lambda: store.publish(SOURCE, SNAPSHOT, 1),
        lambda: store.lease(SOURCE, 5),
        lambda: store.revocations(SOURCE),
        lambda: store.record(SOURCE, REVOKED),
    ):
        with pytest.raises(FileNotFoundError):
            use()


def test_one_bad_revocation_hides_no_good_one(store: FileStore, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Entries open one by one; those that do not are left out, and a warning says how many, once (F85, F88)."""
    store.record(SOURCE, REVOKED)
    file = path / f"{SOURCE}.revocations.json"
    moved = encode_revocation(KID, OTHER, Seal(SECRET)).decode()
    put(path, file.name, json.dumps([moved, "junk", 5, *json.loads(file.read_bytes()), None]).encode())
    with caplog.at_level(logging.WARNING, logger="keyturn"):
        assert (REVOKED,) == store.revocations(SOURCE)
        assert (REVOKED,) == store.revocations(SOURCE)
    assert [f"4 stored revocations of source {SOURCE} do not open and are left out"] == caplog.messages


def test_entries_of_another_version_are_kept(store: FileStore, path: Path) -> None:
    """Recording does not wipe entries that only a newer version or another secret understands (F90, R11)."""
    newer = enclose({"version": 2, "subject": "x", "number": 1.10}, "revocation", SOURCE, Seal(SECRET)).decode()
    file = put(path, f"{SOURCE}.revocations.json", json.dumps([newer]).encode())
    with pytest.raises(EnvelopeError, match="none of 1 revocations opens"):
        store.revocations(SOURCE)
    store.record(SOURCE, REVOKED)
    assert (REVOKED,) == store.revocations(SOURCE)
    assert newer in json.loads(file.read_bytes())


@pytest.mark.parametrize("content", [*BROKEN.values(), b"[", b'["a"] 1', b"null", b'"text"'])
def test_broken_list_is_moved_aside_and_the_new_entry_kept(store: FileStore, path: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    """A list that is broken as a whole is told, kept for a person to look at, and in nobody's way (F80, F88)."""
    file = put(path, f"{SOURCE}.revocations.json", content)
    with pytest.raises(EnvelopeError):
        store.revocations(SOURCE)
    with caplog.at_level(logging.WARNING, logger="keyturn"):
        store.record(SOURCE, REVOKED)
    assert (REVOKED,) == store.revocations(SOURCE)
    assert content == file.with_name(f"{file.name}.broken").read_bytes()
    assert "was moved aside" in caplog.text


def test_lost_list_is_written_anew(store: FileStore, path: Path) -> None:
    """After the file was lost, recording what a process remembers brings the revocation back (F88)."""
    store.record(SOURCE, REVOKED)
    (path / f"{SOURCE}.revocations.json").unlink()
    assert () == store.revocations(SOURCE)
    store.record(SOURCE, REVOKED)
    assert (REVOKED,) == store.revocations(SOURCE)


def test_older_entry_writes_nothing(store: FileStore, path: Path) -> None:
    """An entry that loses leaves the file as it is."""
    store.record(SOURCE, REVOKED)
    before = (path / f"{SOURCE}.revocations.json").stat()
    store.record(SOURCE, replace(REVOKED, sequence=999, state="reinstated"))
    after = (path / f"{SOURCE}.revocations.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_entry_that_cannot_be_kept_does_not_touch_the_list(store: FileStore, path: Path) -> None:
    """A bad entry is refused before a broken list is moved aside for it."""
    file = put(path, f"{SOURCE}.revocations.json", b"broken")
    with pytest.raises(EnvelopeError, match="sequence"):
        store.record(SOURCE, replace(REVOKED, sequence=-1))
    assert b"broken" == file.read_bytes()


def test_junk_does_not_keep_a_revocation_out(store: FileStore, path: Path) -> None:
    """A list that is full of what nobody can open makes room for a new entry; the junk is moved aside."""
    junk = json.dumps(["x" * (MAX_REVOCATIONS_BYTES - 4)]).encode()
    file = put(path, f"{SOURCE}.revocations.json", junk)
    store.record(SOURCE, REVOKED)
    assert (REVOKED,) == store.revocations(SOURCE)
    assert junk == file.with_name(f"{file.name}.broken").read_bytes()


def test_full_list_refuses_and_stays_as_it_is(store: FileStore, path: Path) -> None:
    """A list of good entries is never cut to make room: the caller is told instead."""
    entries = [Revocation("kid", f"{number}{'x' * 15_000}", 1, "revoked") for number in range(68)]
    file = put(path, f"{SOURCE}.revocations.json", json.dumps([encode_revocation(e, SOURCE, Seal(SECRET)).decode() for e in entries]).encode())
    before = file.read_bytes()
    with pytest.raises(EnvelopeError, match="list of revocations would have"):
        store.record(SOURCE, Revocation("kid", "y" * 15_000, 1, "revoked"))
    assert before == file.read_bytes()


def test_publishing_seals_revocations_anew(store: FileStore, path: Path) -> None:
    """After one publication under the new secret the old one can be taken away, and no revocation is lost with it."""
    store.record(SOURCE, REVOKED)
    new = "the new secret of the app"
    with pytest.raises(EnvelopeError):
        FileStore(path, secret=new).revocations(SOURCE)
    FileStore(path, secret=[new, SECRET]).publish(SOURCE, SNAPSHOT, 1)
    assert (REVOKED,) == FileStore(path, secret=new).revocations(SOURCE)


def test_publishing_does_not_depend_on_the_revocations(store: FileStore, path: Path) -> None:
    """A broken list of revocations does not stop a document, and stays for whoever asks for it."""
    file = put(path, f"{SOURCE}.revocations.json", b"broken")
    assert store.publish(SOURCE, SNAPSHOT, 1)
    assert b"broken" == file.read_bytes()


def test_publishing_leaves_current_revocations_alone(store: FileStore, path: Path) -> None:
    """Nothing is sealed anew that is sealed as it should be."""
    store.record(SOURCE, REVOKED)
    before = (path / f"{SOURCE}.revocations.json").stat().st_ino
    store.publish(SOURCE, SNAPSHOT, 1)
    assert before == (path / f"{SOURCE}.revocations.json").stat().st_ino


def test_secret_stands_in_no_file_and_no_repr(store: FileStore, path: Path) -> None:
    """The secret seals and is written nowhere (I5)."""
    store.publish(SOURCE, SNAPSHOT, 1)
    store.record(SOURCE, REVOKED)
    store.lease(SOURCE, 5)
    assert 4 == len(list(path.iterdir()))
    assert SECRET not in repr(store)
    assert not [file.name for file in path.iterdir() if SECRET.encode() in file.read_bytes()]

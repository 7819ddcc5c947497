"""Writers that are killed, and places that cannot be written: rows F79 and F83 of the fault matrix."""

from __future__ import annotations

import functools
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.drivers import PATIENCE, until
from tests.faults.children import Child, DyingWriters, Writing
from tests.faults.fleet import SECRET, Fleet, in_files, verdict

from keyturn import FileStore
from keyturn.events import FetchSucceeded, StoreFailed
from keyturn.stores.store import Snapshot

READERS = 200
MOST_STEPS = 200
posix = pytest.mark.skipif(os.name != "posix", reason="signals, users and limits of POSIX")
SOMEBODY = 12345
"""A user that is not root, for what binds root not."""


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    """A process for whatever binds a whole one."""
    with Child() as process:
        yield process


@pytest.fixture(scope="module")
def writers() -> Iterator[DyingWriters]:
    """A process whose children die."""
    with DyingWriters() as process:
        yield process


@functools.cache
def numbered(fleet: Fleet, number: int) -> Snapshot:
    """Return a snapshot all of whose parts follow from *number*, several pieces long, so that a mixture of two would show."""
    body = json.dumps({**fleet.issuer.jwks(), "pad": f"{number:08d}" * 1000}).encode()
    return replace(fleet.snapshot(fleet.clock.wall() + number / 1000), keys_url=f"https://issuer.test/{number}", body=body)


class Readers:
    """Many readers of one store, each of which looks again and again."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self._fleet = fleet
        self._over = threading.Event()
        self.looks = [0] * READERS
        self.trouble: list[object] = []
        stores = [FileStore(folder, secret=SECRET, clock=fleet.clock) for _ in range(READERS)]
        self._threads = [threading.Thread(target=self._read, args=(number, store), daemon=True) for number, store in enumerate(stores)]

    def _read(self, reader: int, store: FileStore) -> None:
        last = 0
        try:
            while not self._over.wait(0.1):
                stored = store.load(self._fleet.source)
                assert stored is not None
                assert stored.snapshot == numbered(self._fleet, stored.fence), "a mixture"
                assert stored.fence >= last, "went back"
                last = stored.fence
                self.looks[reader] += 1
        except BaseException as error:
            self.trouble.append(error)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read until the context ends."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join(PATIENCE)


@posix
def test_f79_writer_is_killed_at_every_step_before_200_readers(files: Fleet, tmp_path: Path, writers: DyingWriters) -> None:
    """Before each call of the system that a write makes: every reader sees old or new, whole, and the next writer is not held up."""
    folder = tmp_path / "store"
    fence = 1
    files.store.publish(files.source, numbered(files, fence), fence)
    readers = Readers(files, folder)
    outcomes: list[str] = []
    with readers.reading():
        for step in range(MOST_STEPS):
            over = writers.write(Writing(step, str(folder), SECRET, files.source, numbered(files, fence + 1), fence + 1))
            stored = files.store.load(files.source)
            assert stored is not None
            assert stored.fence in {fence, fence + 1}
            outcomes.append("new" if stored.fence > fence else "old")
            fence += 2
            assert files.store.publish(files.source, numbered(files, fence), fence)
            if over:
                break
        until(lambda: all(readers.looks), "a look of every reader")
    assert not readers.trouble
    # It was killed before the rename many times, after it at least once, and came to its end at last.
    assert outcomes.count("old") > 15
    assert outcomes.count("new") >= 2
    assert outcomes == sorted(outcomes, reverse=True)
    assert [path for path in folder.iterdir() if path.suffix == ".tmp"] == []


@posix
@pytest.mark.parametrize("step", [0, 8, 14, 18])
def test_f79_set_stays_over_a_killed_writer(files: Fleet, tmp_path: Path, writers: DyingWriters, step: int) -> None:
    """A process that starts after the death of a writer has its keys from the store, with the issuer down."""
    token = files.issuer.token()
    assert verdict(files.process(), token) == "accepted"
    lease = files.store.lease(files.source, 5)
    assert lease is not None
    assert not writers.write(Writing(step, str(tmp_path / "store"), SECRET, files.source, numbered(files, 1), lease.fence))
    files.issuer.fetches.clear()
    with files.issuer.down(document="both"):
        assert verdict(files.process(), token) == "accepted"
    files.issuer.fetches.expect(discovery=0, jwks=0)
    # The dead writer's lease ends by itself; whoever comes then publishes.
    files.clock.advance(5)
    assert verdict(files.process(), files.roll()) == "accepted"
    assert b"k2" in files.store.load(files.source).snapshot.body
    assert not files.told(StoreFailed)


# Places that cannot be written. What binds a whole process runs in one of its own.


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """No file may grow: every write fails."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def nearly_full_disk(folder: Path) -> Iterator[None]:
    """There is room for a lease, and none for a document."""
    import resource

    (document,) = (path for path in folder.glob("*.json") if path.name.count(".") == 1)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (document.stat().st_size - 1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nobody may write into the folder, nor into its files."""
    for path in folder.iterdir():
        path.chmod(0o400)
    folder.chmod(0o500)
    try:
        yield
    finally:
        folder.chmod(0o700)
        for path in folder.iterdir():
            path.chmod(0o600)


@contextmanager
def no_permission(folder: Path) -> Iterator[None]:
    """The folder may not even be entered any more."""
    folder.chmod(0)
    try:
        yield
    finally:
        folder.chmod(0o700)


@contextmanager
def gone(folder: Path) -> Iterator[None]:
    """The folder was taken away."""
    away = folder.with_name("away")
    folder.rename(away)
    try:
        yield
    finally:
        away.rename(folder)


PLACES: list[Callable[[Path], object]] = [full_disk, nearly_full_disk, read_only, no_permission, gone]
BINDS_NOT_ROOT = (read_only, no_permission)


def serve_where_nothing_can_be_written(outer: str, place: Callable[[Path], object], before: bool) -> None:
    """Play the row in this process."""
    user = os.geteuid()
    if place in BINDS_NOT_ROOT and user == 0:
        os.chown(outer, SOMEBODY, -1)
        os.seteuid(SOMEBODY)
    try:
        play(outer, place, before)
    finally:
        os.seteuid(user)


def play(outer: str, place: Callable[[Path], object], before: bool) -> None:
    """Play the row as the user that this process is now."""
    folder = Path(outer) / "store"
    with pytest.MonkeyPatch.context() as patch, in_files(Path(outer)) as fleet:
        patch.setattr("keyturn._shared_store.STORE_BUDGET", PATIENCE)
        process, token = fleet.process(), fleet.issuer.token()
        assert verdict(process, token) == "accepted"
        if before:
            fleet.clock.advance(1)
            process = fleet.process()
        with place(folder):
            new = fleet.roll()
            assert verdict(process, new) == "accepted"
            assert verdict(process, token) == "accepted"
            assert fleet.told(StoreFailed)
            assert all("Error" in event.message for event in fleet.told(StoreFailed))
            process.client.revoke(kid="k1")
            assert verdict(process, token) == "revoked_key"
            assert verdict(process, new) == "accepted"
        fleet.clock.advance(300)
        process.client.refresh()
        with fleet.issuer.down(document="both"):
            restarted = fleet.process()
            assert verdict(restarted, new) == "accepted"
            assert verdict(restarted, token) == "revoked_key"
        assert fleet.told(FetchSucceeded)[-1].reason == "store"


@posix
@pytest.mark.parametrize("before", [False, True], ids=["during use", "at the start"])
@pytest.mark.parametrize("place", PLACES)
def test_f83_place_cannot_be_written(child: Child, place: Callable[[Path], object], before: bool) -> None:
    """Memory goes on, and an operator's word with it; it is told; once there is room again all of it is kept."""
    with tempfile.TemporaryDirectory() as outer:
        child.run(serve_where_nothing_can_be_written, outer, place, before)


@pytest.mark.parametrize("leftover", [b"", b"{" * 100])
def test_f79_leftover_of_a_killed_writer_is_in_nobodys_way(files: Fleet, tmp_path: Path, leftover: bytes) -> None:
    """A temporary file that lies there is neither read nor kept."""
    temporary = tmp_path / "store" / f"{files.source}.json.tmp"
    temporary.write_bytes(leftover)
    temporary.chmod(0o600)
    assert verdict(files.process(), files.issuer.token()) == "accepted"
    assert not temporary.exists()
    assert not files.told(StoreFailed)


def test_f83_folder_that_is_gone_is_not_made_anew(files: Fleet, tmp_path: Path) -> None:
    """What was taken away behind the process's back stays away: a folder that others made could be anybody's."""
    process = files.process()
    assert verdict(process, files.issuer.token()) == "accepted"
    shutil.rmtree(tmp_path / "store")
    assert verdict(process, files.roll()) == "accepted"
    assert not (tmp_path / "store").exists()
    assert files.told(StoreFailed)

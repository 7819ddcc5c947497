"""The file store among threads and processes: killed writers, several writers, readers, a full disk (F79, F83, F86, F87)."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from keyturn._core.revocation import Revocation
from keyturn.stores.file import FileStore
from keyturn.stores.folder import Folder
from keyturn.stores.memory import MemoryStore
from keyturn.stores.store import Snapshot, Store, source_id

ISSUER = "https://login.example.com"
LOCATION = "https://login.example.com/keys"
SOURCE = source_id(ISSUER, LOCATION)
SECRET = "0123456789abcdef"
ROUNDS = 25
PATIENCE = 60.0
"""Real seconds after which a test gives up on a process."""

spawn = multiprocessing.get_context("spawn")
posix = pytest.mark.skipif(os.name != "posix", reason="signals, users and limits of POSIX")


def snapshot(number: int) -> Snapshot:
    """Return a snapshot whose parts all follow from *number*, 100 KB long, so that a mixture of two would show."""
    body = hashlib.sha256(str(number).encode()).digest() * 3000
    return Snapshot(ISSUER, LOCATION, f"{LOCATION}?{number}", asked_at=float(number), body=body)


def number_of(store: FileStore) -> int:
    """Return the number of the stored snapshot, -1 for none, after checking that it is whole and its fence its own."""
    stored = store.load(SOURCE)
    if stored is None:
        return -1
    number = int(stored.snapshot.asked_at)
    if stored.snapshot != snapshot(number) or stored.fence != number:
        raise AssertionError(f"a mixture under fence {stored.fence}")
    return number


def patient_store(folder: str | Path) -> FileStore:
    """Return a store whose writers wait for each other as long as the test does: here they write all the time."""
    store = FileStore(folder, secret=SECRET)
    store._folder = Folder(folder, lock_wait=PATIENCE)
    return store


def write(folder: str, first: int, pipe: Connection) -> None:
    """Publish every second number from *first* and record a revocation of each, when told to start."""
    store = patient_store(folder)
    pipe.send("ready")
    pipe.recv()
    for number in range(first, 2 * ROUNDS, 2):
        store.publish(SOURCE, snapshot(number), number)
        store.record(SOURCE, Revocation("kid", f"key-{number}", 1, "revoked"))
    pipe.send("done")


def watch(folder: str, _first: int, pipe: Connection) -> None:
    """Load until told to stop, and send every number in the order in which it was seen."""
    store = FileStore(folder, secret=SECRET)
    pipe.send("ready")
    pipe.recv()
    seen: list[int] = []
    while not pipe.poll():
        number = number_of(store)
        if not seen or seen[-1] != number:
            seen.append(number)
    seen.append(number_of(store))
    pipe.send(seen)


def die_while_writing(folder: str, moment: str) -> None:
    """Publish number 2, and be killed at *moment*."""

    def killed(*args: object, **kwargs: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    store = FileStore(folder, secret=SECRET)
    lease = store.lease(SOURCE, 3600)
    setattr(os, moment, killed)
    store.publish(SOURCE, snapshot(2), 2 if lease is None else lease.fence)


def take_lease(folder: str, _first: int, pipe: Connection) -> None:
    """Ask for the lease when told to, and say whether it was given."""
    store = FileStore(folder, secret=SECRET)
    pipe.send("ready")
    pipe.recv()
    pipe.send(store.lease(SOURCE, 3600) is not None)


def start(work: Callable[[str, int, Connection], None], folder: Path, first: int = 0) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    """Start *work* in a process of its own and wait until it is ready."""
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=work, args=(str(folder), first, theirs), daemon=True)
    process.start()
    theirs.close()
    assert "ready" == receive(ours)
    return process, ours


def receive(pipe: Connection) -> object:
    """Return what a process sends; fail loudly if it does not."""
    assert pipe.poll(PATIENCE), "a process does not answer"
    return pipe.recv()


def end(process: multiprocessing.process.BaseProcess) -> int | None:
    """Wait for the end of a process and return its exit code; kill it if it does not end."""
    process.join(PATIENCE)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError("a process did not end")
    return process.exitcode


def test_readers_see_old_or_new_while_two_processes_write(tmp_path: Path) -> None:
    """A reader sees whole documents alone and never an older one after a newer one; no writer loses a revocation (F79, F86)."""
    readers = [start(watch, tmp_path / "store") for _ in range(2)]
    writers = [start(write, tmp_path / "store", first) for first in (0, 1)]
    for _, pipe in readers + writers:
        pipe.send("start")
    assert ["done", "done"] == [receive(pipe) for _, pipe in writers]
    for _, pipe in readers:
        pipe.send("stop")
    views = [receive(pipe) for _, pipe in readers]
    assert [0, 0, 0, 0] == [end(process) for process, _ in readers + writers]
    for seen in views:
        assert isinstance(seen, list)
        assert sorted(seen) == seen
        assert 2 * ROUNDS - 1 == seen[-1]
    store = FileStore(tmp_path / "store", secret=SECRET)
    assert {f"key-{number}" for number in range(2 * ROUNDS)} == {entry.subject for entry in store.revocations(SOURCE)}


@posix
@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
def test_killed_writer_leaves_the_old_document_and_no_lock(tmp_path: Path, moment: str) -> None:
    """A process that is killed while it writes leaves the old document, a free lock and a lease that ends (F79, F87)."""
    store = FileStore(tmp_path / "store", secret=SECRET)
    store.publish(SOURCE, snapshot(1), 1)
    process = spawn.Process(target=die_while_writing, args=(str(tmp_path / "store"), moment), daemon=True)
    process.start()
    assert -signal.SIGKILL == end(process)
    assert (tmp_path / "store" / f"{SOURCE}.json.tmp").exists(), "killed too early or too late to show anything"
    assert 1 == number_of(FileStore(tmp_path / "store", secret=SECRET))
    assert store.lease(SOURCE, 5) is None
    assert store.publish(SOURCE, snapshot(3), 3)
    assert 3 == number_of(store)
    assert not (tmp_path / "store" / f"{SOURCE}.json.tmp").exists()


def test_one_of_several_processes_gets_the_lease(tmp_path: Path) -> None:
    """One process of a host asks the issuer, the others wait for what it publishes (F87)."""
    others = [start(take_lease, tmp_path / "store") for _ in range(4)]
    for _, pipe in others:
        pipe.send("start")
    assert [False, False, False, True] == sorted(bool(receive(pipe)) for _, pipe in others)
    assert [0, 0, 0, 0] == [end(process) for process, _ in others]


def publish_on_a_full_disk(folder: str, _first: int, pipe: Connection) -> None:
    """Publish where no file may grow beyond 1,000 bytes."""
    import resource

    store = FileStore(folder, secret=SECRET)
    pipe.send("ready")
    pipe.recv()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    pipe.send(_error_of(lambda: store.publish(SOURCE, snapshot(2), 2)))


def publish_into_a_folder_that_is_read_only(folder: str, _first: int, pipe: Connection) -> None:
    """Read and publish as a user who may not write there."""
    if os.geteuid() == 0:
        os.seteuid(Path(folder).stat().st_uid)
    store = FileStore(folder, secret=SECRET)
    pipe.send("ready")
    pipe.recv()
    pipe.send((number_of(store), _error_of(lambda: store.publish(SOURCE, snapshot(2), 2)), _error_of(lambda: store.lease(SOURCE, 5))))


def _error_of(call: Callable[[], object]) -> int | None:
    try:
        call()
    except OSError as error:
        return error.errno
    return None


@posix
def test_full_disk_leaves_the_old_document(tmp_path: Path) -> None:
    """A write that fails half-way is an error of the system, and takes its leftover along (F83)."""
    store = FileStore(tmp_path / "store", secret=SECRET)
    store.publish(SOURCE, snapshot(1), 1)
    process, pipe = start(publish_on_a_full_disk, tmp_path / "store")
    pipe.send("start")
    assert errno.EFBIG == receive(pipe)
    assert 0 == end(process)
    assert 1 == number_of(store)
    assert {f"{SOURCE}.json", f"{SOURCE}.lock"} == {file.name for file in (tmp_path / "store").iterdir()}


@posix
def test_read_only_folder_is_read() -> None:
    """A document that was shipped with the deployment is read from where nobody may write; writing says so (F83)."""
    with tempfile.TemporaryDirectory() as outer:
        folder = Path(outer) / "store"
        FileStore(folder, secret=SECRET).publish(SOURCE, snapshot(1), 1)
        (folder / f"{SOURCE}.lock").unlink()
        if os.geteuid() == 0:
            # Root may write anywhere, so the process gives that up, and must still be able to walk to the folder.
            for place in (folder, *folder.iterdir()):
                os.chown(place, 12345, -1)
            Path(outer).chmod(0o711)
        folder.chmod(0o500)
        process, pipe = start(publish_into_a_folder_that_is_read_only, folder)
        pipe.send("start")
        assert (1, errno.EACCES, errno.EACCES) == receive(pipe)
        assert 0 == end(process)
        folder.chmod(0o700)


def in_threads(work: Callable[[int], object], count: int = 4) -> None:
    """Run *work* in several threads that start together; raise what any of them raised."""
    barrier = threading.Barrier(count)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            barrier.wait(PATIENCE)
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "a thread did not end"
    if errors:
        raise errors[0]


@pytest.mark.parametrize("kernel_locks", [True, False])
def test_writers_of_one_folder_exclude_each_other(tmp_path: Path, kernel_locks: bool) -> None:
    """Reading, adding one and writing under the lock loses no addition, with either kind of lock."""
    folder = Folder(tmp_path / "store", kernel_locks=kernel_locks, lock_wait=PATIENCE)
    folder.prepare()

    def count(_number: int) -> None:
        for _ in range(ROUNDS):
            with folder.locked("count.lock"):
                folder.write("count", str(int(folder.read("count", 10) or 0) + 1).encode(), durable=False)

    in_threads(count)
    assert str(4 * ROUNDS).encode() == folder.read("count", 10)


@pytest.mark.parametrize("kind", ["memory", "files"])
def test_threads_share_one_store(tmp_path: Path, kind: str) -> None:
    """Threads lose no revocation, one of them gets the lease, and the newest document stays (F86)."""
    store: Store = MemoryStore() if kind == "memory" else patient_store(tmp_path / "store")
    leases: list[object] = []

    def use(number: int) -> None:
        leases.append(store.lease(SOURCE, 3600))
        for round_ in range(5):
            store.publish(SOURCE, snapshot(4 * round_ + number), 4 * round_ + number)
            store.record(SOURCE, Revocation("kid", f"{number}-{round_}", 1, "revoked"))
            assert store.load(SOURCE) is not None

    in_threads(use)
    loaded = store.load(SOURCE)
    assert loaded is not None
    assert (19, 20, 3) == (loaded.fence, len(store.revocations(SOURCE)), leases.count(None))


def fork(work: Callable[[], int]) -> int:
    """Run *work* in a forked child, which ends with its result; return the child's process id."""
    with warnings.catch_warnings():
        # Newer Pythons warn of forks beside threads, which is what these tests are about.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(int(PATIENCE))
            os._exit(work())
        finally:
            os._exit(99)
    return pid


def exit_code(pid: int) -> int:
    """Wait for a forked child and return its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@posix
def test_child_of_a_fork_is_not_held_up_by_a_thread_of_its_parent(tmp_path: Path) -> None:
    """A thread that is inside a memory store stops nobody in the child; one that is inside the folder, for a bounded time."""
    memory, files = MemoryStore(), FileStore(tmp_path / "store", secret=SECRET)
    files._folder = Folder(tmp_path / "store", lock_wait=0.01)
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with memory._lock(), files._folder.locked(f"{SOURCE}.lock"):
            inside.set()
            leave.wait(PATIENCE)

    def publish() -> int:
        memory.publish(SOURCE, snapshot(1), 1)
        try:
            files.publish(SOURCE, snapshot(1), 1)
        except TimeoutError:
            return 7
        return 1

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    assert inside.wait(PATIENCE)
    assert 7 == exit_code(fork(publish))
    leave.set()
    holder.join(PATIENCE)
    assert files.publish(SOURCE, snapshot(1), 1)


@posix
def test_child_of_a_fork_does_not_keep_a_lock_of_its_parent(tmp_path: Path) -> None:
    """A child that was forked inside the lock, and so has its descriptor, keeps it no longer than the parent does."""
    folder = Folder(tmp_path / "store", lock_wait=0)
    folder.prepare()
    reading, writing = os.pipe()
    with folder.locked("a.lock"):
        pid = fork(lambda: os.close(writing) or len(os.read(reading, 1)))
    with folder.locked("a.lock"):
        os.close(writing)
    assert 0 == exit_code(pid)
    os.close(reading)

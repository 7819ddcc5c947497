"""Processes of the tests' own: one that runs functions and says what they come to, and one whose children are killed while they write.

Rules of this file:

1. A process is spawned, not forked, because the tests run threads. What is killed is forked from a spawned one that runs none.
2. Every process is waited for, and ends when its pipe does.
3. Each serves many tests: to start one takes longer than most of them.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.contract.drivers import PATIENCE

from keyturn import FileStore
from keyturn.stores import folder
from keyturn.stores.store import Snapshot

STEPS = ("open", "fstat", "stat", "write", "fsync", "replace", "close", "unlink")
"""What a write asks of the system."""

PIECE = 2_000
"""Bytes that the system takes at a time, so that a file is written in several steps."""

_spawn = multiprocessing.get_context("spawn")


class Writing(NamedTuple):
    """One publication that is not to end.

    Attributes:
        step: The call of the system before which the writer is killed, counted from 0.
        folder: The folder of the store.
        secret: Its secret.
        source: Where it publishes.
        snapshot: What it publishes.
        fence: Under which fence.
    """

    step: int
    folder: str
    secret: str
    source: str
    snapshot: Snapshot
    fence: int


class _Process:
    """A process that answers what it is sent; a context manager."""

    def __init__(self, serve: Callable[[Connection], None]) -> None:
        self._pipe, self._theirs = _spawn.Pipe()
        self._process = _spawn.Process(target=serve, args=(self._theirs,), daemon=True)

    def ask(self, question: object) -> Any:
        """Send *question* and return the answer."""
        self._pipe.send(question)
        assert self._pipe.poll(3 * PATIENCE), "a process does not answer"
        return self._pipe.recv()

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._pipe.close()
        _end(self._process)


class Child(_Process):
    """A process for what binds a whole process, such as a limit or another user."""

    def __init__(self) -> None:
        super().__init__(_work)

    def run(self, work: Callable[..., None], *arguments: object) -> None:
        """Run *work* there; fail with the trace of what it raised."""
        trouble = self.ask((work, arguments))
        assert not trouble, trouble


class DyingWriters(_Process):
    """A process whose children publish into a file store and are killed at it."""

    def __init__(self) -> None:
        super().__init__(_writers)

    def write(self, writing: Writing) -> bool:
        """Have one writer die; return whether it came to its end instead, because it takes fewer steps than that."""
        status = self.ask(writing)
        assert status in {0, -signal.SIGKILL}, f"a writer ended with {status}"
        return bool(status == 0)


def _work(pipe: Connection) -> None:
    while True:
        try:
            work, arguments = pipe.recv()
        except EOFError:
            return
        try:
            work(*arguments)
        except BaseException:
            pipe.send(traceback.format_exc())
        else:
            pipe.send("")


def _end(process: multiprocessing.process.BaseProcess) -> None:
    process.join(PATIENCE)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError("a process did not end")


def _writers(pipe: Connection) -> None:
    while True:
        try:
            writing: Writing = pipe.recv()
        except EOFError:
            return
        store = FileStore(writing.folder, secret=writing.secret)
        pid = os.fork()
        if pid == 0:
            try:
                _die_at(writing.step)
                os._exit(0 if store.publish(writing.source, writing.snapshot, writing.fence) else 3)
            finally:
                os._exit(4)
        pipe.send(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _die_at(step: int) -> None:
    """Have this process killed before the given call of the system."""
    turn = itertools.count()

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*arguments: Any, **settings: Any) -> Any:
            if next(turn) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **settings)

        return stepping

    write = os.write
    os.write = lambda descriptor, data: write(descriptor, bytes(data[:PIECE]))
    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    folder.fcntl.flock = counted(folder.fcntl.flock)

"""A service that forks, for the tests of preforking servers; run as a script of its own.

Usage: `forking.py SCENARIO ISSUER [TOKEN]`. It speaks in lines: what it has done goes to standard output, what it waits for comes from
standard input. Its exit status is 0 if every child did what the scenario says.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

# Forking a process with threads is what these scenarios are about.
warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*multi-threaded.*fork.*")

if "without-hooks" in sys.argv[1]:
    # uWSGI forks without the interpreter's knowledge.
    os.register_at_fork = lambda **hooks: None

from keyturn import KeySetClient, RolloverPolicy, TokenValidator  # noqa: E402 - the hooks are taken away first

PATIENCE = 20.0


def say(text: str) -> None:
    """Tell the test."""
    os.write(1, text.encode() + b"\n")


def hear() -> str:
    """Wait for a line of the test, byte by byte, so that no child inherits what was read ahead."""
    line = b""
    while not line.endswith(b"\n"):
        read = os.read(0, 1)
        if not read:
            raise EOFError
        line += read
    return line.decode().strip()


def in_children(count: int, work: Callable[[], None]) -> int:
    """Run *work* in *count* children at once; return 0 if each of them succeeds."""
    children = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                work()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(pid)
    return sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0 for pid in children)


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait until *condition* holds."""
    turn = threading.Event()
    for _ in range(int(PATIENCE * 1000)):
        if condition():
            return
        turn.wait(0.001)
    raise AssertionError(f"expected {what} in time, it never came")


def sockets() -> list[str]:
    """Return the sockets that this process has open."""
    return [link for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink() and (link := str(entry.readlink())).startswith("socket:")]


class Service:
    """A validator and the client behind it."""

    def __init__(self, issuer: str, policy: RolloverPolicy) -> None:
        self.client = KeySetClient(issuer, policy=policy)
        self.validator = TokenValidator(self.client, audience="api://test")

    def accept(self, token: str) -> None:
        """Validate a good token."""
        if self.validator.validate(token).subject != "alice":
            raise AssertionError("expected the token of alice")


def preload(service: Service, token: str) -> int:
    """Build the client in the master, and read the keys in each worker."""
    return in_children(4, lambda: service.accept(token))


def workers(service: Service, token: str) -> int:
    """Warm up, fork four workers, roll over: each goes on with the keys of its master, and refreshes by itself."""
    service.accept(token)
    wait_until(service.client._is_idle, "the end of the refresh")
    if Path("/proc/self/fd").exists() and sockets():
        raise AssertionError("expected no socket that a child could share")
    say("warm")
    rolled = hear()

    def work() -> None:
        service.accept(token)
        service.accept(rolled)
        say(f"line {service.client._keeper.state.line!r}")

    return in_children(4, work)


def held_lock(service: Service, token: str) -> int:
    """Fork while another thread is inside the client's lock."""
    service.accept(token)
    say("warm")
    rolled = hear()
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with service.client._keeper._process().lock:
            inside.set()
            leave.wait(PATIENCE)

    threading.Thread(target=hold, daemon=True).start()
    inside.wait(PATIENCE)
    failed = in_children(1, lambda: (service.accept(token), service.accept(rolled)))
    leave.set()
    return failed


def running_refresh(service: Service, token: str) -> int:
    """Fork while a refresh runs: the child has none, and makes its own."""
    service.accept(token)
    say("warm")
    rolled = hear()
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            service.accept(rolled)
        except BaseException as error:
            errors.append(error)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    hear()

    def work() -> None:
        service.accept(token)
        say("child serves")
        service.accept(rolled)

    failed = in_children(1, work)
    waiting.join(PATIENCE)
    return failed + waiting.is_alive() + len(errors)


def keep_fresh(service: Service, token: str) -> int:
    """The refresher of the master runs in its child too, and reads the new key although no token comes."""
    with service.client.keep_fresh():
        service.accept(token)
        say("warm")
        hear()

        def work() -> None:
            say("child")
            wait_until(lambda: len(service.client.snapshot().keys) == 2, "a refresh without a token")

        return in_children(1, work)


def without_hooks(service: Service, token: str) -> int:
    """A child whose fork nobody announced, and whose first ten threads come at once."""
    service.accept(token)
    say("warm")
    rolled = hear()
    outcomes: list[object] = []

    def work() -> None:
        barrier = threading.Barrier(10)

        def call() -> None:
            barrier.wait(PATIENCE)
            try:
                outcomes.append(service.validator.validate(rolled).subject)
            except BaseException as error:
                outcomes.append(error)

        threads = [threading.Thread(target=call, daemon=True) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        if outcomes != ["alice"] * 10:
            raise AssertionError(f"expected ten tokens, got {outcomes}")

    return in_children(1, work)


if __name__ == "__main__":
    scenario = globals()[sys.argv[1].replace("-", "_")]
    # The refresher's schedule is the one thing here that waits for real time.
    numbers = RolloverPolicy(refresh_interval=1.0) if scenario is keep_fresh else RolloverPolicy(deadline=PATIENCE)
    sys.exit(scenario(Service(sys.argv[2], numbers), sys.argv[3]))

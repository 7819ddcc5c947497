"""The process of a service that is started for a scenario, and ended with everything that it started itself.

Rules of this file:

1. No shell: the words of the command are the process's arguments, placeholders replaced.
2. The process leads a group of its own. The group is asked to end, and after a while made to.
3. Its output is read all the time, so that it never blocks, and the end of it is kept.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self
from urllib.parse import SplitResult

from keyturn._masking import without_tokens
from keyturn.clock import Deadline
from keyturn.drill.target import Target
from keyturn.errors import ConfigurationError, quoted

KEPT_LINES: Final = 12
"""Lines of output that are kept."""

_LONGEST_LINE = 4_096
_FOLDED = 76
_POLITE_SECONDS = 5.0
_LOOK = 0.05


class NotStartedError(Exception):
    """The service did not start.

    Attributes:
        message: Why, in one line.
        output: The last lines that it wrote, printable.
    """

    def __init__(self, message: str, output: Sequence[str]) -> None:
        super().__init__(message)
        self.message = message
        self.output = tuple(output)


class StartedService:
    """A running service, ended with its context.

    Args:
        command: Its words; `{issuer}`, `{jwks_uri}`, `{audience}` and `{port}` in them are replaced.
        values: What the placeholders stand for, and the host; also handed over as `KEYTURN_DRILL_...`.

    Raises:
        ConfigurationError: The command cannot be run at all.
    """

    def __init__(self, command: Sequence[str], values: Mapping[str, str]) -> None:
        words = [filled(word, values) for word in command]
        environment = {**os.environ, **{f"KEYTURN_DRILL_{name.upper()}": value for name, value in values.items()}}
        try:
            self._process = subprocess.Popen(  # noqa: S603 - running this command is what the caller asked for
                words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ConfigurationError(f"cannot run {quoted(words[0])}: {reason} (setting: --start)") from error
        self._lines: deque[bytes] = deque(maxlen=KEPT_LINES)
        self._reader = threading.Thread(target=self._read, daemon=True, name="keyturn-drill-output")
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    @property
    def ended_with(self) -> int | None:
        """Exit code of the process, or None while it runs."""
        return self._process.poll()

    def wait_until_ready(self, target: Target, seconds: float) -> None:
        """Wait until the service answers with any status.

        Raises:
            NotStartedError: It ended, or did not answer within *seconds*.
        """
        deadline, last = Deadline(seconds), ""
        while not deadline.over():
            if self.ended_with is not None:
                stay = "" if self.ended_with else "; expected a command that stays in the foreground"
                raise NotStartedError(f"the service ended with exit code {self.ended_with} before it answered{stay}", self.output())
            answer = target.ask(None)
            if answer.status is not None:
                return
            last = answer.why
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LOOK)
        raise NotStartedError(f"the service did not answer within {seconds:g} s ({last}; setting: --ready-timeout)", self.output())

    def output(self) -> list[str]:
        """Return the last lines of the output, printable and cut."""
        if self.ended_with is not None:
            self._reader.join(1.0)
        return [part for line in list(self._lines) for part in shown(line)]

    def end(self) -> None:
        """End the process and everything that it started."""
        try:
            self._signal(force=False)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_POLITE_SECONDS)
        finally:
            # Also if the leader is gone: what it started may be left over. Also if somebody pressed Ctrl-C once more.
            self._signal(force=True)
        self._process.wait(_POLITE_SECONDS)
        self._reader.join(_POLITE_SECONDS)
        if self._process.stdout is not None and not self._reader.is_alive():
            self._process.stdout.close()

    def _signal(self, *, force: bool) -> None:
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                (self._process.kill if force else self._process.terminate)()
            else:
                os.killpg(self._process.pid, signal.SIGKILL if force else signal.SIGTERM)

    def _read(self) -> None:
        stream = self._process.stdout
        if stream is None:
            return
        with contextlib.suppress(OSError, ValueError):
            for line in iter(lambda: stream.readline(_LONGEST_LINE), b""):
                self._lines.append(line)


def shown(line: bytes) -> list[str]:
    """Return a line of output as it may stand in a report: without tokens, printable, and folded instead of cut."""
    text = without_tokens(line.decode("utf-8", "replace").rstrip().expandtabs(4))
    # Quotes would be escaped, and programs write many of them.
    text = text.replace('"', "'")
    return [quoted(text[start : start + _FOLDED])[1:-1] for start in range(0, len(text), _FOLDED)]


def filled(word: str, values: Mapping[str, str]) -> str:
    """Return *word* with its placeholders replaced; any other brace stays as it is."""
    for name, value in values.items():
        word = word.replace("{" + name + "}", value)
    return word


def free_port(place: SplitResult) -> int:
    """Return the port of a URL, or a free one if it is 0, on which nobody listens now.

    Raises:
        ConfigurationError: Somebody listens there, or the host is not of this machine.
    """
    host = place.hostname or ""
    port = {"http": 80, "https": 443}[place.scheme] if place.port is None else place.port
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        if port:
            _expect_nobody(family, address, f"{host}:{port}")
            return port
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        raise ConfigurationError(
            f"cannot use {quoted(host)} for the service: {error.strerror or type(error).__name__}", hint="--start needs a URL of this machine."
        ) from error


def _expect_nobody(family: socket.AddressFamily, address: tuple[object, ...], told: str) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        if probe.connect_ex(address) == 0:
            raise ConfigurationError(
                f"port in use: something listens at {quoted(told)} already, expected a free port for the service",
                hint="End it, or give port 0 in the URL: then the drill chooses a free one for each start.",
            )

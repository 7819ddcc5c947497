"""Processes of the drill: started without a shell, read all the time, and ended with everything that they started."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from keyturn.clock import Deadline
from keyturn.drill import starting
from keyturn.drill.observations import DEFAULT_ACCEPT
from keyturn.drill.starting import KEPT_LINES, NotStartedError, StartedService, free_port
from keyturn.drill.target import Target
from keyturn.errors import ConfigurationError

VALUES = {"issuer": "http://127.0.0.1:1", "port": "81"}
GRANDCHILD = """
import pathlib, subprocess, sys
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
child.stdout.readline()
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
child.wait()
"""


def python(code: str, *arguments: str) -> list[str]:
    """Return a command that runs some code."""
    return [sys.executable, "-c", code, *arguments]


def ended(service: StartedService) -> int | None:
    """Wait until the process of a service has ended; return its exit code."""
    deadline = Deadline(30)
    while service.ended_with is None and not deadline.over():
        service._process.poll()
    return service.ended_with


def lives(pid: int) -> bool:
    """Return whether a process is there and no zombie."""
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False


def test_a_service_gets_arguments_and_environment() -> None:
    """Placeholders of the command and `KEYTURN_DRILL_...` hold the same; a word with blanks stays one."""
    code = "import os, sys; print(sys.argv[1], os.environ['KEYTURN_DRILL_ISSUER'], os.environ['KEYTURN_DRILL_PORT'])"
    with StartedService(python(code, "a b {port} {other}"), VALUES) as service:
        assert 0 == ended(service)
        assert ["a b 81 {other} http://127.0.0.1:1 81"] == service.output()


def test_only_the_end_of_the_output_is_kept() -> None:
    """A service may write for as long as it runs."""
    with StartedService(python("for number in range(100_000): print('line', number)"), VALUES) as service:
        assert 0 == ended(service)
        assert [f"line {number}" for number in range(100_000 - KEPT_LINES, 100_000)] == service.output()


def test_a_service_that_never_answers_is_not_ready() -> None:
    """After the time that it has, the error names the setting."""
    port = free_port(urlsplit("http://127.0.0.1:0/"))
    with (
        Target(f"http://127.0.0.1:{port}/", method="GET", accept=DEFAULT_ACCEPT, timeout=1.0) as target,
        StartedService(python("import time; time.sleep(60)"), VALUES) as service,
        pytest.raises(NotStartedError, match="--ready-timeout") as refused,
    ):
        service.wait_until_ready(target, 0.5)
    assert f"did not answer within {0.5:g} s" in refused.value.message


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_what_a_service_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a grandchild that turns a deaf ear to SIGTERM."""
    monkeypatch.setattr(starting, "_POLITE_SECONDS", 1.0)
    noted = tmp_path / "pid"
    with StartedService(python(GRANDCHILD, str(noted)), VALUES):
        deadline = Deadline(30)
        while not (noted.exists() and noted.read_text()):
            assert not deadline.over()
        pid = int(noted.read_text())
        assert lives(pid)
    gone = Deadline(10)
    while lives(pid) and not gone.over():
        os.sched_yield()
    assert not lives(pid)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_second_interrupt_leaves_nothing_behind() -> None:
    """Whoever presses Ctrl-C again while a deaf service is asked to end interrupts the patience, not the end."""
    passes_on = "import os, signal, time; signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getppid(), signal.SIGINT)); print('up', flush=True)"
    service = StartedService(python(passes_on + "\nwhile True: time.sleep(60)"), VALUES)
    deadline = Deadline(30)
    while not service.output():
        assert not deadline.over()
    with pytest.raises(KeyboardInterrupt):
        service.end()
    assert -signal.SIGKILL == ended(service)
    service.end()


def test_a_command_that_goes_to_the_background_is_told() -> None:
    """It ended well before anything answered: the drill can end only what stays its child."""
    port = free_port(urlsplit("http://127.0.0.1:0/"))
    with (
        Target(f"http://127.0.0.1:{port}/", method="GET", accept=DEFAULT_ACCEPT, timeout=1.0) as target,
        StartedService(python("pass"), VALUES) as service,
        pytest.raises(NotStartedError, match="stays in the foreground"),
    ):
        service.wait_until_ready(target, 30.0)


def test_a_host_of_another_machine_cannot_be_started_on() -> None:
    """The URL of a service that is started here names this machine (192.0.2.1 belongs to nobody)."""
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1"):
        free_port(urlsplit("http://192.0.2.1:0/"))

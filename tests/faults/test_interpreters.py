"""Whole processes: their end, their flags, their greenlets, and what cannot travel between them (F65, F68, F76; driver, trap 27)."""

from __future__ import annotations

import ast
import copy
import importlib.util
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.contract.drivers import until

import keyturn
from keyturn import KeySetClient, KeysUnavailableError, TokenValidator
from keyturn.testing import FakeIssuer

PATIENCE = 60.0
PIPE = subprocess.PIPE
ROOT = Path(__file__).parents[2]


def python(code: str, *arguments: str, flags: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess[str]:
    """Run *code* in an interpreter of its own, with warnings as errors."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(keyturn.__file__).parents[1]), str(ROOT)]), **environment}
    command = [sys.executable, "-W", "error", *flags, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=variables, check=False)


@contextmanager
def running(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run *code* as `python()` does, and let the test talk to it."""
    environment = {**os.environ, "PYTHONPATH": str(Path(keyturn.__file__).parents[1])}
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


HANGING_ISSUER = """
import sys
from keyturn import KeySetClient
client = KeySetClient(sys.argv[1])
client.status()
sys.stdin.readline()
print(client.status().ready)
"""

HANGING_FETCHER = """
import threading
from keyturn import KeySetClient, KeysUnavailableError, RolloverPolicy

entered = threading.Event()

class Hanging:
    def fetch(self, url, **limits):
        entered.set()
        threading.Event().wait()

client = KeySetClient("https://issuer.test", fetcher=Hanging(), policy=RolloverPolicy(deadline=0.1))
try:
    client.refresh()
except KeysUnavailableError as error:
    print(entered.wait(60), error.http_status)
"""

LATE_CALL = """
import atexit, threading
from keyturn import TokenValidator
from keyturn.testing import FakeIssuer

issuer = FakeIssuer()
validator = TokenValidator(issuer.issuer, audience="api://test", fetcher=issuer.fetcher())
atexit.register(lambda: print(validator.validate(issuer.token()).subject))
"""

REFRESHER = """
import sys
from keyturn import KeySetClient
KeySetClient(sys.argv[1]).keep_fresh().__enter__()
sys.stdin.readline()
"""

ASYNC_REFRESHER = """
import asyncio, sys
from keyturn import KeySetClient
async def main():
    await KeySetClient(sys.argv[1]).keep_fresh().__aenter__()
    sys.stdin.readline()
asyncio.run(main())
"""

GREENLETS = """
from gevent import monkey
monkey.patch_all()
import sys
import gevent
from keyturn import RolloverPolicy, TokenValidator

validator = TokenValidator(sys.argv[1], audience="api://test", policy=RolloverPolicy(deadline=60.0))
for line in sys.stdin:
    callers = [gevent.spawn(validator.validate, line.strip()) for _ in range(20)]
    for _ in range(5):
        gevent.sleep(0)
    print("others turn", flush=True)
    gevent.joinall(callers)
    print([caller.value.subject for caller in callers].count("alice"), flush=True)
"""

CATALOGUE = """
from tests.unit.test_attack_classes import ALL, cases, fixed, following, verdict

lines = []
for name in ALL:
    issuer, attacks = cases(name)
    lines.append(f"{name} {fixed(issuer).validate(issuer.token()).subject}")
    for attack in attacks:
        for build in (fixed,) if attack.cheap else (fixed, following):
            error = verdict(build(issuer, **attack.settings), attack)
            lines.append(f"{name} {ascii(attack.label)} {error.code if error else 'accepted'}")
# The catalogue lists some of its cases in the order of a set.
print(*sorted(lines), sep="\\n")
"""

VERDICTS = """
import asyncio, sys
from keyturn import KeyturnError, TokenValidator
from keyturn.testing import FakeClock, FakeIssuer

clock = FakeClock()
issuer = FakeIssuer(clock=clock)
validator = TokenValidator(issuer.issuer, audience="api://test", fetcher=issuer.fetcher(), clock=clock)
good = issuer.token()
tokens = [
    good, issuer.forge(), issuer.forge(key="other"), issuer.token(lifetime=-3600), issuer.token(audience="other"),
    issuer.token(iss="https://other.test"), issuer.token(headers={"alg": "none"}), good[:-2], good + "=", "x", issuer.token(exp="never"),
]
for token in tokens:
    for validate in (validator.validate, lambda text: asyncio.run(validator.validate_async(text))):
        try:
            print(validate(token).subject)
        except KeyturnError as error:
            print(error.code)
"""


def test_f65_interpreter_that_ends_during_a_fetch() -> None:
    """A refresh is at the closed gate, and the process ends by itself, without a word on standard error."""
    issuer = FakeIssuer()
    with issuer.serve(), issuer.gate(document="both") as gate, running(HANGING_ISSUER, issuer.issuer) as process:
        assert gate.wait_for_arrival(PATIENCE)
        out, err = process.communicate("\n", timeout=PATIENCE)
        assert (process.returncode, out, err) == (0, "False\n", "")


@pytest.mark.parametrize("code", [REFRESHER, ASYNC_REFRESHER], ids=["with", "async with"])
@pytest.mark.parametrize("blocked", [False, True], ids=["idle", "during a fetch"])
def test_f65_interpreter_that_ends_with_a_refresher(code: str, blocked: bool) -> None:
    """`keep_fresh()` was entered and never left: its thread dies with the process, and does not keep it alive."""
    issuer = FakeIssuer()
    with issuer.serve(), issuer.gate() as gate, running(code, issuer.issuer) as process:
        assert gate.wait_for_arrival(PATIENCE)
        if not blocked:
            gate.open()
            until(lambda: issuer.fetches.requests[-1].outcome.startswith("200"), "the answer")
        out, err = process.communicate("\n", timeout=PATIENCE)
        assert (process.returncode, out, err) == (0, "", "")


def test_f65_interpreter_that_ends_beside_a_fetcher_that_hangs() -> None:
    """A thread that was left behind for ever is a daemon."""
    ended = python(HANGING_FETCHER)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "True 503\n", "")


def test_f65_call_at_the_end_of_the_interpreter() -> None:
    """Newer interpreters start no thread once they end: the caller then reads the keys itself."""
    ended = python(LATE_CALL)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "alice\n", "")


@pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not installed")
def test_f68_greenlets() -> None:
    """20 greenlets of a process that gevent patched share one refresh, cold and at a rollover, and others turn while they wait."""
    issuer = FakeIssuer()
    with issuer.serve(), running(GREENLETS, issuer.issuer) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(2):
            if number:
                issuer.cut_over("k2")
            with issuer.gate() as gate:
                process.stdin.write(issuer.token() + "\n")
                process.stdin.flush()
                assert process.stdout.readline() == "others turn\n"
                assert gate.wait_for_arrival(PATIENCE)
                gate.open()
                assert process.stdout.readline() == "20\n"
        _, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, err) == (0, "")
    issuer.fetches.expect(discovery=1, jwks=2)


@pytest.fixture(scope="module")
def plain() -> str:
    """The verdicts of an ordinary interpreter."""
    ended = python(VERDICTS)
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    # One good token, by both doors, and ten bad ones.
    assert lines[:2] == ["alice", "alice"]
    assert len(lines) == 22
    assert "alice" not in lines[2:]
    return ended.stdout


@pytest.mark.parametrize("flags", [("-OO",), ("-X", "dev"), ("-bb",)], ids=" ".join)
def test_f76_flags_change_no_verdict(plain: str, flags: tuple[str, ...]) -> None:
    """Without asserts and docstrings, in development mode, with strict bytes."""
    ended = python(VERDICTS, flags=flags)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, plain, "")


@pytest.fixture(scope="module")
def catalogue() -> str:
    """What an ordinary interpreter says to every token of the catalogue of attacks."""
    ended = python(CATALOGUE)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(ended.stdout.splitlines()) > 500
    assert {"accepted", "invalid_signature", "malformed_token", "unknown_key"} <= {line.split()[-1] for line in ended.stdout.splitlines()}
    return ended.stdout


@pytest.mark.parametrize(("flags", "seed"), [(("-O",), "0"), ((), "1"), ((), "4294967295")], ids=["-O and 0", "1", "4294967295"])
def test_f76_asserts_and_hash_seeds_change_no_verdict(catalogue: str, flags: tuple[str, ...], seed: str) -> None:
    """No check lives in an `assert`, and no order of a set or of a dictionary made from one decides."""
    ended = python(CATALOGUE, flags=flags, PYTHONHASHSEED=seed)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, catalogue, "")


def test_f76_no_check_lives_in_an_assert() -> None:
    """`python -O` leaves out every `assert`, and whatever asks `__debug__`: the library has neither."""
    files = sorted(Path(keyturn.__file__).parent.rglob("*.py"))
    assert len(files) > 30
    nodes = [(path.name, node) for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    assert [] == [(name, node.lineno) for name, node in nodes if isinstance(node, ast.Assert) or getattr(node, "id", "") == "__debug__"]


@pytest.mark.parametrize("travel", [pickle.dumps, copy.deepcopy], ids=["pickle", "deepcopy"])
@pytest.mark.parametrize("build", [KeySetClient, lambda issuer: TokenValidator(issuer, audience="api://test")], ids=["client", "validator"])
def test_clients_do_not_travel(build: Callable[[str], Any], travel: Callable[[Any], Any]) -> None:
    """Locks and threads stay in their process: the error says what to do instead."""
    with pytest.raises(TypeError, match="build one in each process"):
        travel(build("https://login.example.com"))


def test_errors_travel() -> None:
    """A worker process sends its error home whole."""
    error = KeysUnavailableError("text", hint="A hint.", retry_after=7)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.hint, again.retry_after) == (KeysUnavailableError, "text", "A hint.", 7)

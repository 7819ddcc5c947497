"""Whole processes: their end, their flags, and what cannot travel between them (F65, F76; driver, trap 27)."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import keyturn
from keyturn import KeySetClient, KeysUnavailableError, TokenValidator
from keyturn.testing import FakeIssuer

PATIENCE = 60.0


def python(code: str, *arguments: str, flags: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess[str]:
    """Run *code* in an interpreter of its own, with warnings as errors."""
    variables = {**os.environ, "PYTHONPATH": str(Path(keyturn.__file__).parents[1]), **environment}
    command = [sys.executable, "-W", "error", *flags, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=variables, check=False)


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
    print(entered.is_set(), error.code)
"""

LATE_CALL = """
import atexit, threading
from keyturn import TokenValidator
from keyturn.testing import FakeIssuer

issuer = FakeIssuer()
validator = TokenValidator(issuer.issuer, audience="api://test", fetcher=issuer.fetcher())
atexit.register(lambda: print(validator.validate(issuer.token()).subject))
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


class TestEnd:
    """The end of an interpreter is never held up."""

    def test_it_does_not_wait_for_an_issuer_that_hangs(self) -> None:
        """A refresh is at the closed gate, and the process ends by itself, without a word on standard error."""
        issuer = FakeIssuer()
        environment = {**os.environ, "PYTHONPATH": str(Path(keyturn.__file__).parents[1])}
        with issuer.serve(), issuer.gate(document="both") as gate:
            process = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", HANGING_ISSUER, issuer.issuer],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
            with process:
                try:
                    assert gate.wait_for_arrival(PATIENCE)
                    out, err = process.communicate("\n", timeout=PATIENCE)
                finally:
                    process.kill()
            assert (process.returncode, out, err) == (0, "False\n", "")

    def test_it_does_not_wait_for_a_fetcher_that_hangs(self) -> None:
        """A thread that was left behind for ever is a daemon."""
        ended = python(HANGING_FETCHER)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "True fetch_failed\n", "")

    def test_call_at_the_end_is_answered(self) -> None:
        """Newer interpreters start no thread once they end: the caller then reads the keys itself."""
        ended = python(LATE_CALL)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "alice\n", "")


@pytest.fixture(scope="module")
def plain() -> str:
    """The verdicts of an ordinary interpreter."""
    ended = python(VERDICTS)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


class TestFlags:
    """No check lives in an `assert`, and no order of a set decides (F76)."""

    def test_plain_verdicts_are_as_expected(self, plain: str) -> None:
        """One good token, by both doors, and ten bad ones."""
        lines = plain.splitlines()
        assert lines[:2] == ["alice", "alice"]
        assert len(lines) == 22
        assert "alice" not in lines[2:]

    @pytest.mark.parametrize("flags", [("-O",), ("-OO",), ("-X", "dev"), ("-bb",)], ids=" ".join)
    def test_flags_change_no_verdict(self, plain: str, flags: tuple[str, ...]) -> None:
        """Without asserts and docstrings, in development mode, with strict bytes."""
        ended = python(VERDICTS, flags=flags)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, plain, "")

    @pytest.mark.parametrize("seed", ["0", "1", "4294967295"])
    def test_hash_seeds_change_no_verdict(self, plain: str, seed: str) -> None:
        """The order of sets and of dictionaries made from them differs from seed to seed."""
        ended = python(VERDICTS, PYTHONHASHSEED=seed)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, plain, "")


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

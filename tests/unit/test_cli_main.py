"""The frame of the command line: arguments, exit codes, interrupts, broken pipes, tracebacks."""

from __future__ import annotations

import argparse
import io
import logging
from collections.abc import Callable

import pytest

from keyturn import cli
from keyturn.errors import (
    ConfigurationError,
    FetchError,
    InsufficientScopeError,
    InvalidRequestError,
    KeyturnError,
    MissingTokenError,
    UnknownKeyError,
)

TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], int]], None]:
    """Replace the commands by one that is called `act` and does what it is given."""

    def replace(act: Callable[[], int]) -> None:
        def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
            commands.add_parser("act").set_defaults(run=lambda _: act(), quiet=False, verbose=0)

        monkeypatch.setattr(cli, "_COMMANDS", (add,))

    return replace


def raising(error: BaseException) -> Callable[[], int]:
    """Return what raises *error*."""

    def act() -> int:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnknownKeyError("no key"), 1),
        (ConfigurationError("no audience"), 2),
        (InsufficientScopeError("no scope"), 2),
        (FetchError("no answer"), 3),
        (RuntimeError("a fault of ours"), 3),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 141),
    ],
)
def test_the_exit_code_says_whose_fault_it_was(command: Callable[..., None], error: BaseException, code: int) -> None:
    """1 and 3 differ as 401 and 503 do; a fault of ours never looks like a finding."""
    command(raising(error))
    assert code == cli.main(["act"])


class Unread(io.StringIO):
    """A stream whose reader went away."""

    def write(self, _: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize(("error", "code"), [(UnknownKeyError("no key"), 1), (ConfigurationError("no audience"), 2), (KeyboardInterrupt(), 130)])
def test_the_exit_code_stays_where_nobody_reads_the_words(
    command: Callable[..., None], error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parent process that closed our standard error is told by the exit code, and no interrupt looks like a finding."""
    command(raising(error))
    monkeypatch.setattr("sys.stderr", Unread())
    assert code == cli.main(["act"])


def test_a_command_s_own_code_is_passed_on(command: Callable[..., None]) -> None:
    """What a command found is the exit code of the program."""
    command(lambda: 1)
    assert 1 == cli.main(["act"])


def test_an_error_tells_message_and_hint_without_traceback(command: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    """Words go to standard error: what went wrong, and what to do."""
    command(raising(FetchError("no answer", hint="Check the network.")))
    cli.main(["act"])
    assert ("", "keyturn: error: no answer\nhint: Check the network.\n") == tuple(capsys.readouterr())


@pytest.mark.parametrize(("verbose", "shown"), [([], False), (["-v"], False), (["-vv"], True)])
def test_a_traceback_is_for_those_who_ask_twice(verbose: list[str], shown: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Only -vv shows where an error was raised."""
    cli.main(["keys", "nowhere", *verbose])
    assert shown is ("Traceback" in capsys.readouterr().err)


def test_the_log_is_given_back(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever calls main() in a process of their own finds the library's logger as it was."""
    logger = logging.getLogger("keyturn")
    before = (list(logger.handlers), logger.level, logger.propagate)
    cli.main(["keys", "nowhere", "-v"])
    assert before == (list(logger.handlers), logger.level, logger.propagate)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["keys"],
        ["keys", "a", "b"],
        ["keys", "a", "--unknown"],
        ["keys", "a", "--timeout", "0"],
        ["keys", "a", "--timeout", "61"],
        ["keys", "a", "--timeout", "nan"],
        ["keys", "a", "--timeout", "soon"],
        ["keys", "a", "--time", "5"],
        ["token", "https://issuer.test"],
        ["token", "https://issuer.test", "--audience", "a", "--token-type", "refresh"],
        ["token", "https://issuer.test", "--audience", "a", "--keys", "f", "--jwks-url", "https://issuer.test/keys"],
        ["demo", "--seed", "one"],
        ["demo", "extra"],
    ],
)
def test_a_wrong_call_is_told_as_one(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong arguments end with 2, words on standard error and a way to help; an abbreviation is no option."""
    assert 2 == cli.main(arguments)
    out, err = capsys.readouterr()
    assert "" == out
    assert "error: " in err
    assert "--help` shows" in err


@pytest.mark.parametrize(
    "arguments",
    [
        [TOKEN],
        ["token", TOKEN, "--audience", "a"],
        ["token", "https://issuer.test", "--audience", "a", TOKEN],
        ["token", "https://issuer.test", "--audience", "a", f"--tok={TOKEN}"],
        ["token", "https://issuer.test", "--audience", "a", "--file", TOKEN],
        ["keys", TOKEN],
    ],
)
def test_a_token_on_the_command_line_is_never_repeated(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A token that stands where none belongs is complained about without being shown."""
    assert 2 == cli.main(arguments)
    out, err = capsys.readouterr()
    assert "eyJ" not in out + err


@pytest.mark.parametrize("arguments", [["--help"], ["keys", "--help"], ["token", "--help"], ["demo", "--help"]])
def test_help_is_complete(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Each help text has the exit codes and an example that starts with the program's name."""
    assert 0 == cli.main(arguments)
    out, err = capsys.readouterr()
    assert "" == err
    assert "exit codes: 0 " in out
    assert f"\n  keyturn {arguments[0] if len(arguments) > 1 else ''}" in out


def test_the_version_is_data(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the program's name on standard output, and nothing else happens."""
    assert 0 == cli.main(["--version"])
    out, err = capsys.readouterr()
    assert out.startswith("keyturn ")
    assert "" == err


def test_an_output_that_cannot_show_a_letter_shows_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of one script alone gets escapes instead of an error."""
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stderr", io.TextIOWrapper(raw, encoding="ascii", errors="strict", write_through=True))
    assert 2 == cli.main(["keys", "nowhere-é"])
    assert b"nowhere-\\xe9" in raw.getvalue()


def test_exit_codes_cover_every_error() -> None:
    """An error class of its own ends with one of the documented codes; no command meets those that are about an HTTP request."""

    def all_kinds(kind: type[KeyturnError]) -> set[type[KeyturnError]]:
        return {kind}.union(*(all_kinds(child) for child in kind.__subclasses__()))

    kinds = all_kinds(KeyturnError) - {MissingTokenError, InvalidRequestError}
    codes = {kind.http_status: set() for kind in kinds}
    for kind in kinds:
        codes[kind.http_status].add(cli.exit_code(kind.__new__(kind, "message")))
    assert {500: {2}, 503: {3}, 403: {2}, 401: {1}} == codes

"""The command line: `keyturn demo`, `keyturn drill`, `keyturn keys`, `keyturn serve`, `keyturn simulate`, `keyturn token`.

Rules of this package:

1. Exit codes: 0 fine; 1 findings, or the token is bad; 2 usage; 3 could not know; 130 interrupted. The difference between 1 and 3
   is the difference between 401 and 503. Whoever closes our output early ends us with 141, as the signal for it would.
2. Data goes to standard output, words to standard error. Tokens are read from standard input or a file, never from an argument,
   which the list of processes shows.
3. Colour and progress are for terminals (`output.py`).
4. A command is a file with `add_parser()` and `run(args) -> int`; what is slow to load is imported inside `run`.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import NoReturn

from keyturn._masking import without_tokens
from keyturn.cli.demo import add_parser as add_demo
from keyturn.cli.drill import add_parser as add_drill
from keyturn.cli.keys import add_parser as add_keys
from keyturn.cli.output import Console
from keyturn.cli.serve import add_parser as add_serve
from keyturn.cli.simulate import add_parser as add_simulate
from keyturn.cli.token import add_parser as add_token
from keyturn.errors import InvalidTokenError, KeysUnavailableError, KeyturnError, quoted

FINE = 0
"""Nothing was found to be wrong."""

FINDINGS = 1
"""Something was found to be wrong, or the token is bad."""

USAGE = 2
"""The call itself is wrong."""

UNKNOWN = 3
"""Nobody can know: network, time-out, issuer down."""

INTERRUPTED = 130
"""A person pressed Ctrl-C: 128 and the number of the signal."""

BROKEN_PIPE = 141
"""Whoever read our output went away: 128 and the number of the signal."""

_COMMANDS = (add_demo, add_drill, add_keys, add_serve, add_simulate, add_token)
_TRACEBACKS = 2
"""How often -v must be given for tracebacks."""

_EPILOG = """\
exit codes: 0 fine; 1 findings, or the token is bad; 2 usage; 3 could not know (network, time-out, issuer down); 130 interrupted

example:
  keyturn keys https://login.example.com
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (1).

    Args:
        argv: Arguments without the program's name; those of the process unless given.
    """
    for stream in (sys.stdout, sys.stderr):
        # A kid may be written in any script, and a terminal may know one alone.
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a stream of another kind is left as it is
    try:
        args = _parsed(argv)
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else USAGE
    return _run(args, Console.of(args))


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser, commands = _parser()
    args, extra = parser.parse_known_args(argv)
    if extra:
        # Not quoted whole: what stands too much may be a token.
        options = [quoted(word.partition("=")[0]) for word in extra if word.startswith("-")]
        hint = "" if args.command != "token" else "; a token is read from standard input or --file, never from the command line"
        commands[args.command].error(f"unexpected {'options ' + ', '.join(options) if options else 'arguments'}{hint}")
    return args


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints hold no argument that could be a token."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and where help is; exit with 2."""
        self.exit(USAGE, f"{self.prog}: error: {without_tokens(message)}\nhint: `{self.prog} --help` shows what is expected.\n")


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = _Parser(
        prog="keyturn",
        description="See what an issuer publishes, why a token passes or fails, and how a service lives through a rollover of signing keys.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    for add in _COMMANDS:
        add(commands)
    return parser, dict(commands.choices)


class _Version(argparse.Action):
    """Prints the version, which is looked up only now because that is slow."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - slow to load

        try:
            print("keyturn", version("keyturn"))
        except PackageNotFoundError:
            print("keyturn (not installed)")
        parser.exit()


def _run(args: argparse.Namespace, console: Console) -> int:
    try:
        with _logging(args.verbose):
            code: int = args.run(args)
            sys.stdout.flush()
            return code
    except KeyboardInterrupt:
        console.error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes once more at exit, and would complain there.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyturnError as error:
        _show_traceback(args.verbose)
        console.error(error.message, error.hint)
        return exit_code(error)
    except Exception as error:  # noqa: BLE001 - Python's own exit code for it is 1, which would say that something was found
        _show_traceback(args.verbose)
        console.error(f"unexpected {type(error).__name__}: {quoted(str(error))}", "This is a fault of keyturn; -vv shows where it happened.")
        return UNKNOWN


def exit_code(error: KeyturnError) -> int:
    """Return the exit code that tells whose fault *error* is."""
    if isinstance(error, KeysUnavailableError):
        return UNKNOWN
    return FINDINGS if isinstance(error, InvalidTokenError) else USAGE


def _show_traceback(verbose: int) -> None:
    if verbose >= _TRACEBACKS:
        traceback.print_exc()


@contextlib.contextmanager
def _logging(verbose: int) -> Iterator[None]:
    """Show the library's log on standard error while a command runs, if -v asks for it."""
    logger = logging.getLogger("keyturn")
    handler, level, propagate = logging.StreamHandler(sys.stderr), logger.level, logger.propagate
    if verbose:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG if verbose >= _TRACEBACKS else logging.INFO)
        logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate

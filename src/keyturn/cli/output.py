"""What commands write, and how: data to standard output, words to standard error.

Rules of this file:

1. Colour: never with NO_COLOR, always with FORCE_COLOR, never with TERM=dumb, otherwise on a terminal. The first that applies decides,
   and an empty variable is none.
2. Progress, a line that is written over, is for a terminal that can (not TERM=dumb), whatever the colours.
3. JSON is one object per line, in ASCII, so that no kid can break a line or a terminal.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

from keyturn._masking import without_tokens

SCHEMA = 1
"""Version of every JSON object; a field that changes its meaning raises it."""

_STYLES = {"bold": "1", "red": "31", "green": "32", "yellow": "33", "dim": "2"}
_CLEAR_LINE = "\r\x1b[K"


def wants_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether to colour what goes to *stream* (1)."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return environ.get("TERM") != "dumb" and stream.isatty()


def wants_progress(out: TextIO, err: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether a line may be written over: both streams are shown to a person, on a terminal that can (2)."""
    return environ.get("TERM") != "dumb" and out.isatty() and err.isatty()


@dataclass
class Console:
    """Where a command writes.

    Attributes:
        out: Standard output, for data.
        err: Standard error, for words.
        colour: Whether data is coloured.
        colour_words: Whether words are.
        live: Whether progress is shown.
        quiet: Whether words are left out, errors apart.
        verbose: How many details are asked for.
    """

    out: TextIO
    err: TextIO
    colour: bool = False
    colour_words: bool = False
    live: bool = False
    quiet: bool = False
    verbose: int = 0

    @classmethod
    def of(cls, args: argparse.Namespace) -> Console:
        """Return the console of this process, as the command's options want it."""
        out, err, environ = sys.stdout, sys.stderr, os.environ
        live = not args.quiet and wants_progress(out, err, environ)
        return cls(out, err, wants_colour(out, environ), wants_colour(err, environ), live, args.quiet, args.verbose)

    def line(self, text: str = "") -> None:
        """Write a line of data at once, so that whoever reads along sees it."""
        self.clear()
        print(text, file=self.out, flush=True)

    def json(self, record: Mapping[str, Any]) -> None:
        """Write an object of data on one line (3)."""
        self.line(json.dumps({"schema": SCHEMA, **record}, allow_nan=False))

    def paint(self, text: str, style: str) -> str:
        """Return *text* in a style, for `line()`."""
        return _painted(text, style) if self.colour else text

    def note(self, text: str) -> None:
        """Write a line of words, unless asked to be quiet."""
        if not self.quiet:
            self.clear()
            print(text, file=self.err, flush=True)

    def detail(self, text: str) -> None:
        """Write a line of words that only -v asks for."""
        if self.verbose:
            self.note(text)

    def error(self, message: str, hint: str = "") -> None:
        """Write what went wrong, and what can be done about it; being quiet does not silence it."""
        label = _painted("error:", "red") if self.colour_words else "error:"
        # Where nobody reads it, the exit code has to tell it all the same.
        with contextlib.suppress(BrokenPipeError):
            self.clear()
            print(f"keyturn: {label} {without_tokens(message)}", file=self.err)
            if hint:
                print(f"hint: {hint}", file=self.err)
            self.err.flush()

    def progress(self, text: str) -> None:
        """Write over the last line of progress, on a terminal only (2)."""
        if self.live:
            print(_CLEAR_LINE + text, end="", file=self.err, flush=True)

    def clear(self) -> None:
        """Take the line of progress away."""
        if self.live:
            print(_CLEAR_LINE, end="", file=self.err, flush=True)


def _painted(text: str, style: str) -> str:
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Return the lines of a table: columns two blanks apart, as wide as their widest entry.

    Args:
        head: Names of the columns.
        rows: Entries, as many as there are names.
        right: Columns whose entries stand at their right edge.
    """
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return ["  ".join(_padded(row, widths, right)).rstrip() for row in (head, *rows)]


def _padded(row: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> list[str]:
    return [entry.rjust(width) if column in right else entry.ljust(width) for column, (entry, width) in enumerate(zip(row, widths, strict=True))]


def day(seconds: float) -> str:
    """Return the date, in UTC, of an instant in seconds since the epoch."""
    try:
        return datetime.fromtimestamp(seconds, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return f"second {seconds:.0f}"

"""What the command line writes where: colour, progress, tables, and nothing that looks like a token."""

from __future__ import annotations

import io
import json

import pytest

from keyturn._masking import without_tokens
from keyturn.cli.output import Console, day, table, wants_colour, wants_progress


class Terminal(io.StringIO):
    """A stream that a person looks at."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "expected"),
    [
        (Terminal(), {}, True),
        (io.StringIO(), {}, False),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (io.StringIO(), {"FORCE_COLOR": ""}, False),
        (io.StringIO(), {"FORCE_COLOR": "1", "TERM": "dumb"}, True),
        (Terminal(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colour_follows_the_environment(stream: io.StringIO, environ: dict[str, str], expected: bool) -> None:
    """NO_COLOR, FORCE_COLOR, TERM=dumb, terminal: the first that applies decides, and an empty variable is none (1)."""
    assert expected is wants_colour(stream, environ)


@pytest.mark.parametrize(
    ("out", "err", "environ", "expected"),
    [
        (Terminal(), Terminal(), {}, True),
        (io.StringIO(), Terminal(), {}, False),
        (Terminal(), io.StringIO(), {}, False),
        (Terminal(), Terminal(), {"TERM": "dumb"}, False),
        (Terminal(), Terminal(), {"NO_COLOR": "1"}, True),
        (io.StringIO(), io.StringIO(), {"FORCE_COLOR": "1"}, False),
    ],
)
def test_progress_is_for_terminals(out: io.StringIO, err: io.StringIO, environ: dict[str, str], expected: bool) -> None:
    """Progress needs two terminals that can write over a line, whatever the colours (2)."""
    assert expected is wants_progress(out, err, environ)


def test_progress_is_not_written_into_a_file() -> None:
    """A console that is not live writes no progress and no control character."""
    console = Console(io.StringIO(), io.StringIO())
    console.progress("100 tokens")
    console.line("done")
    assert ("done\n", "") == (console.out.getvalue(), console.err.getvalue())


def test_progress_is_taken_away_before_a_line() -> None:
    """On a terminal the line of progress is cleared, so that it never mixes with data."""
    console = Console(io.StringIO(), io.StringIO(), live=True)
    console.progress("100 tokens")
    console.line("done")
    assert ("done\n", "\r\x1b[K100 tokens\r\x1b[K") == (console.out.getvalue(), console.err.getvalue())


def test_a_quiet_console_still_tells_errors() -> None:
    """-q silences words, and neither data nor errors."""
    console = Console(io.StringIO(), io.StringIO(), quiet=True, verbose=1)
    console.note("a note")
    console.detail("a detail")
    console.line("data")
    console.error("it failed", "Do this.")
    assert ("data\n", "keyturn: error: it failed\nhint: Do this.\n") == (console.out.getvalue(), console.err.getvalue())


def test_details_are_for_the_verbose() -> None:
    """Without -v a detail is not written."""
    silent, talking = Console(io.StringIO(), io.StringIO()), Console(io.StringIO(), io.StringIO(), verbose=1)
    silent.detail("asking")
    talking.detail("asking")
    assert ("", "asking\n") == (silent.err.getvalue(), talking.err.getvalue())


def test_data_and_words_are_coloured_apart() -> None:
    """A coloured standard output does not colour errors that go into a file."""
    console = Console(io.StringIO(), io.StringIO(), colour=True)
    console.line(console.paint("kept", "green"))
    console.error("it failed")
    assert ("\x1b[32mkept\x1b[0m\n", "keyturn: error: it failed\n") == (console.out.getvalue(), console.err.getvalue())


def test_json_is_one_ascii_line_with_its_schema() -> None:
    """No kid can break a line or a terminal (3)."""
    console = Console(io.StringIO(), io.StringIO())
    console.json({"kid": "é\n\x1b[31m"})
    (line,) = console.out.getvalue().splitlines()
    assert line.isascii()
    assert {"schema": 1, "kid": "é\n\x1b[31m"} == json.loads(line)


def test_a_table_has_columns_as_wide_as_their_widest_entry() -> None:
    """Entries stand left or right, and no line ends with blanks."""
    assert ["NAME  COUNT", "a         1", "long  1,000"] == table(("NAME", "COUNT"), [("a", "1"), ("long", "1,000")], right=(1,))
    assert ["A     B", "long"] == table(("A", "B"), [("long", "")])


def test_a_date_that_no_calendar_has_is_told_in_seconds() -> None:
    """A certificate may name a time beyond the calendar."""
    assert ("2027-01-15", "second 99999999999999") == (day(1_800_000_000), day(99_999_999_999_999))


@pytest.mark.parametrize("text", ["issuer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln", "issuer eyJhbGciOiJFUzI1NiJ9"])
def test_what_begins_like_a_token_is_left_out(text: str) -> None:
    """A token that was given in the wrong place is not repeated in the complaint."""
    assert "issuer (a token)" == without_tokens(text)

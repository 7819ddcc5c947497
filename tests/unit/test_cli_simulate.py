"""`keyturn simulate`: tables, JSON and pictures of histories, and a message for every wrong call."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from tests.unit.histories import document

from keyturn.cli import main
from keyturn.simulation.policies import NAMED
from keyturn.simulation.synthetic import SYNTHETIC

CALM = document((0, "a"), (48, "a"), issuer="https://login.example.com")
GAP = document((0, "ab"), (20, "a"), (40, "ab"), (48, "ab"))


def written(folder: Path, **histories: dict[str, Any]) -> str:
    """Write each history into a file of its name; return the folder."""
    for name, content in histories.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return str(folder)


def records(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the JSON objects on standard output."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_policies_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A heading for the history, and a row for each policy in the order in which they were asked for."""
    folder = written(tmp_path, gap=GAP)
    assert 1 == main(["simulate", f"{folder}/gap.json", "--policy", "removed_key_grace=0", "--policy", "entra", "--phases", "1"])
    title, head, none, entra = capsys.readouterr().out.splitlines()
    assert "gap: 2.0 days, 2 keys, 0 of them removed for good" == title
    assert head.split()[:3] == ["POLICY", "REFUSED", "SHARE"]
    assert none.split()[0] == "removed_key_grace=0"
    assert entra.split()[0] == "entra"


def test_the_default_policy_is_replayed_if_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever names no policy learns what the defaults make of the history; a calm one ends with 0."""
    folder = written(tmp_path, calm=CALM)
    assert 0 == main(["simulate", f"{folder}/calm.json", "--json"])
    (record,) = records(capsys)
    assert (1, "result", "calm", "default", 5, 60.0, 1) == tuple(
        record[name] for name in ("schema", "type", "history", "policy", "phases", "step", "seed")
    )
    assert {"mean": 0, "least": 0, "most": 0} == record["figures"]["refused"]


def test_a_refused_token_is_a_finding(tmp_path: Path) -> None:
    """One policy under which good tokens are refused makes the exit code 1, whatever the others do."""
    folder = written(tmp_path, gap=GAP)
    assert 1 == main(["simulate", folder, "--json", "--policy", "removed_key_grace=0", "--policy", "removed_key_grace=100000"])
    assert 0 == main(["simulate", folder, "--json", "--policy", "removed_key_grace=100000"])


def test_a_folder_is_every_history_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each *.json, by name; other files are left alone. Several places may be named."""
    folder = written(tmp_path, second=CALM, first=CALM)
    (tmp_path / "notes.txt").write_text("no history", encoding="utf-8")
    assert 0 == main(["simulate", folder, "synthetic:planned", "--phases", "1", "--step", "3600", "--json"])
    assert ["first", "second", "synthetic:planned"] == [record["history"] for record in records(capsys)]


def test_seed_step_and_phases_are_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another seed is another schedule, a longer step fewer tokens, and one phase has no spread."""
    folder = written(tmp_path, gap=GAP)
    for options in (["--seed", "1"], ["--seed", "2"], ["--seed", "1"], ["--step", "600"], ["--phases", "1"]):
        main(["simulate", folder, "--json", *options])
    first, other, again, coarse, single = (record["figures"] for record in records(capsys))
    assert first == again != other
    assert first["tokens"]["mean"] == 10 * coarse["tokens"]["mean"]
    assert single["fetches_per_day"]["least"] == single["fetches_per_day"]["most"]


def test_what_can_be_named_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """`--list` names made-up histories and policies, as a table and as JSON, and replays nothing."""
    names = [*(f"synthetic:{name}" for name in SYNTHETIC), *NAMED]
    assert 0 == main(["simulate", "--list"])
    head, *lines = capsys.readouterr().out.splitlines()
    assert ["KIND", "NAME", "WHAT", "IT", "IS"] == head.split()
    assert names == [line.split()[1] for line in lines]
    assert 0 == main(["simulate", "--list", "--json"])
    listed = records(capsys)
    assert names == [record["name"] for record in listed]
    assert {"schema", "type", "name", "summary"} == {member for record in listed for member in record}


def test_a_picture_is_drawn_beside_the_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--svg` draws a panel for each policy, of the first phase."""
    folder, picture = written(tmp_path, gap=GAP), tmp_path / "timeline.svg"
    main(["simulate", f"{folder}/gap.json", "--policy", "default", "--policy", "strict", "--phases", "2", "--step", "600", "--svg", str(picture)])
    assert f'drew "{picture.as_posix()[:20]}' in capsys.readouterr().err
    words = [element.text or "" for element in ET.parse(picture).getroot().iter("{http://www.w3.org/2000/svg}text")]
    assert ["default", "strict"] == [text.split()[1].rstrip(":") for text in words if text.startswith("policy ")]


class Terminal(io.StringIO):
    """A stream that a person looks at."""

    def isatty(self) -> bool:
        return True


def test_progress_is_for_terminals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person sees which phase of which policy is replayed; a pipe does not."""
    folder = written(tmp_path, calm=CALM)
    out, err = Terminal(), Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    assert 0 == main(["simulate", f"{folder}/calm.json", "--phases", "2"])
    assert '"calm", "default": phase 2 of 2' in err.getvalue()
    monkeypatch.setattr("sys.stdout", io.StringIO())
    monkeypatch.setattr("sys.stderr", piped := io.StringIO())
    assert 0 == main(["simulate", f"{folder}/calm.json", "--phases", "2"])
    assert "" == piped.getvalue()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected a history, a folder or synthetic:NAME, got none"),
        (["gone.json"], 'cannot read the file "gone.json": No such file'),
        (["empty"], 'the folder "empty" holds no *.json, expected key histories'),
        (["synthetic:daily"], 'synthetic history is "daily", expected one of planned'),
        (["calm.json", "--policy", "lax"], 'policy is "lax", expected default'),
        (["bad.json"], 'key history "bad": expected the member observations'),
        (["calm.json", "calm.json", "--svg", "x.svg"], "--svg draws one history, got 2 (setting: --svg)"),
        (["calm.json", "--svg", "gone/x.svg"], 'cannot write the file "gone/x.svg": No such file'),
        (["calm.json", "--step", "0"], 'expected seconds from 1 to 3600, got "0"'),
        (["calm.json", "--step", "soon"], 'expected seconds from 1 to 3600, got "soon"'),
        (["calm.json", "--phases", "0"], 'expected a whole number from 1 to 10000, got "0"'),
        (["calm.json", "--phases", "many"], 'expected a whole number from 1 to 10000, got "many"'),
        (["calm.json", "--seed", "one"], "argument --seed: invalid int value"),
    ],
)
def test_a_wrong_call_says_what_was_expected(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong arguments and files that are no histories end with 2, and with words that help."""
    written(tmp_path, calm=CALM, bad={})
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert 2 == main(["simulate", *arguments])
    assert message in capsys.readouterr().err


def test_a_token_is_never_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    """A token that stands where a history belongs is complained about without being shown."""
    assert 2 == main(["simulate", "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"])
    assert "eyJ" not in capsys.readouterr().err


def test_help_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    """The help text has the exit codes and an example that starts with the program's name."""
    assert 0 == main(["simulate", "--help"])
    out = capsys.readouterr().out
    assert "exit codes: 0 " in out
    assert "\n  keyturn simulate " in out

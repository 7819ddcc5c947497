"""Results are told as rows that round and as JSON that does not."""

from __future__ import annotations

import json

import pytest
from tests.unit.histories import HOUR, history, moment

from keyturn._core.policy import RolloverPolicy
from keyturn.simulation.figures import Figures, figures_of, replay_of, spreads
from keyturn.simulation.report import HEAD, Result, Setting, duration, record, row, title

HISTORY = history((0, "ab"), (24, "a"), (48, "a"), issuer="https://login.example.com")
NONE = Figures(2_880, 0, 0.0, 0.0, 0.0, 0, 0.0, None, 1.0, 2)
SOME = Figures(2_880, 1_440, 0.5, 86_400.0, 43_200.0, 30, 1_800.0, 93_600.0, 288.5, 289)


def result(*figures: Figures) -> Result:
    """Return what these figures come to."""
    return Result(HISTORY, "default", RolloverPolicy(), spreads(figures))


def test_a_row_has_a_cell_for_every_column() -> None:
    """One phase, or phases that agree: each figure once, in a unit that is easy to read."""
    assert ("default", "0", "0", "0", "0", "0", "0", "-", "1", "2") == row(result(NONE))
    assert ("default", "1,440", "50.00 %", "24.0 h", "12.0 h", "30", "30 min", "26.0 h", "288", "289") == row(result(SOME, SOME))
    assert len(HEAD) == len(row(result(NONE)))


def test_phases_that_differ_show_their_spread() -> None:
    """Average, and least to most behind it."""
    cells = row(Result(HISTORY, "default", RolloverPolicy(), spreads([SOME, Figures(2_880, 0, 0.0, 0.0, 0.0, 0, 0.0, 0.0, 1.25, 10)])))
    assert "720 (0 to 1,440)" == cells[1]
    assert "25.00 % (0 to 50.00 %)" == cells[2]
    assert "13.0 h (0 to 26.0 h)" == cells[7]
    assert "145 (1.25 to 288)" == cells[8]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0"), (1, "1 s"), (599, "599 s"), (600, "10 min"), (7_199, "120 min"), (7_200, "2.0 h"), (93_600, "26.0 h")],
)
def test_durations_are_told_in_the_unit_that_fits(seconds: float, text: str) -> None:
    """Seconds up to ten minutes, minutes up to two hours, hours above."""
    assert text == duration(seconds)


@pytest.mark.parametrize(("figures", "served"), [((NONE,), True), ((NONE, SOME), False), ((SOME,), False)])
def test_one_refusal_in_one_phase_is_a_finding(figures: tuple[Figures, ...], served: bool) -> None:
    """Every phase counts: a service has the schedule that chance gave it."""
    assert served is result(*figures).served_all


def test_the_title_says_how_long_and_how_many() -> None:
    """Outages are named where there are any."""
    assert "test: 2.0 days, 2 keys, 1 of them removed for good" == title(HISTORY)
    assert title(history((0, "a"), (9, "a"), outages=[[moment(1), moment(2), 0]])).endswith(", 1 outages")


def test_json_has_a_stable_shape() -> None:
    """Names, settings and every figure with its spread, in seconds and counts."""
    figures = [figures_of(replay_of(HISTORY, RolloverPolicy(), phase=phase), HISTORY) for phase in range(2)]
    written = json.loads(json.dumps(record(result(*figures), Setting(60.0, 2, 7)), allow_nan=False))
    members = ["type", "history", "issuer", "seconds", "keys", "removed", "policy", "settings", "step", "phases", "seed", "figures"]
    assert members == list(written)
    assert ("result", "test", "https://login.example.com", 48 * HOUR) == tuple(written[name] for name in members[:4])
    assert (2, 1, "default", 60.0, 2, 7) == tuple(written[name] for name in ("keys", "removed", "policy", "step", "phases", "seed"))
    assert {"refresh_interval": 86_400.0, "removed_key_grace": 7_200.0}.items() <= written["settings"].items()
    assert list(Figures.__dataclass_fields__) == list(written["figures"])
    assert ["mean", "least", "most"] == list(written["figures"]["longest_trust"])
    assert record(result(NONE), Setting(60.0, 1, 1))["figures"]["longest_trust"] is None

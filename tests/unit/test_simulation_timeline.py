"""The timeline is XML that shows every stretch and every request once, in words too."""

from __future__ import annotations

from collections import Counter
from xml.etree import ElementTree as ET

from tests.unit.histories import MINUTE, START, history, moment

from keyturn._core.policy import RolloverPolicy
from keyturn.simulation.figures import figures_of
from keyturn.simulation.history import History
from keyturn.simulation.replay import Fetch, Replay, Span
from keyturn.simulation.timeline import WORDS, Bar, Panel, svg

SVG = "{http://www.w3.org/2000/svg}"
GAP = history((0, "ab"), (23, "a"), (25.5, "ab"), (30, "ab"))
HOUR_OF_GRACE = RolloverPolicy(removed_key_grace=3_600.0)


def panel_of(history: History, policy: RolloverPolicy, name: str = "default") -> Panel:
    """Return the panel of a replay without chance."""
    replay, panel = Replay(history, policy), Panel(name, 60.0)
    figures_of(replay, history, panel.add)
    panel.finish(replay.fetches)
    return panel


def drawn(history: History, *panels: Panel) -> ET.Element:
    """Return the root of the picture, parsed."""
    return ET.fromstring(svg(history, panels))


def marks(root: ET.Element) -> Counter[str]:
    """Count what is drawn, by kind, without the legend."""
    return Counter(element.get("class", "") for element in root.iter() if element.tag in {f"{SVG}rect", f"{SVG}path"} and len(element))


def titles(root: ET.Element, kind: str) -> list[str]:
    """Return the words of everything of one kind."""
    return [element[0].text or "" for element in root.iter() if element.get("class") == kind and len(element)]


def test_stretches_are_collected_as_they_happen() -> None:
    """What is alike and touches is one bar; refused beats held, grace is told from held."""
    panel = panel_of(GAP, HOUR_OF_GRACE)
    shown = [(bar.state, (bar.start - START) / MINUTE, (bar.end - START) / MINUTE) for bar in panel.bars if bar.kid == "b"]
    assert [("held", 0, 1_440), ("grace", 1_440, 1_500), ("refused", 1_500, 1_530), ("held", 1_530, 1_800)] == shown
    assert [("held", 0, 1_800)] == [(bar.state, (bar.start - START) / MINUTE, (bar.end - START) / MINUTE) for bar in panel.bars if bar.kid == "a"]


def test_a_key_that_is_nothing_any_more_ends_its_bar() -> None:
    """A key that is neither trusted nor in use leaves its row empty."""
    panel = Panel("default", 60.0)
    panel.add(Span(START, 2, {"a": "accepted"}, frozenset("ab"), frozenset()))
    panel.add(Span(START + 120, 1, {"a": "unavailable"}, frozenset(), frozenset()))
    panel.finish([])
    expected = {Bar("a", "held", START, START + 120), Bar("b", "held", START, START + 120), Bar("a", "unavailable", START + 120, START + 180)}
    assert expected == set(panel.bars)


def test_every_stretch_and_every_request_is_drawn() -> None:
    """Two rows: three publications, five states, and a mark for each request that is not on top of another."""
    panel = panel_of(GAP, HOUR_OF_GRACE)
    root = drawn(GAP, panel)
    assert f"{SVG}svg" == root.tag
    minutes = {fetch.at for fetch in panel.fetches}
    assert {"published": 3, "held": 3, "grace": 1, "refused": 1, "fetch": len(minutes)} == marks(root)


def test_every_policy_has_a_panel() -> None:
    """Panels stand below each other, each under its name."""
    one, two = panel_of(GAP, HOUR_OF_GRACE, "first"), panel_of(GAP, RolloverPolicy(), "second")
    both, single = drawn(GAP, one, two), drawn(GAP, one)
    assert 2 * marks(single)["published"] == marks(both)["published"]
    assert float(both.get("height", 0)) > float(single.get("height", 0))
    words = [element.text or "" for element in both.iter(f"{SVG}text")]
    heads = [text for text in words if text.startswith("policy ")]
    assert [f"policy first: {len(one.fetches)} requests", f"policy second: {len(two.fetches)} requests"] == heads


def test_the_picture_says_in_words_what_it_shows() -> None:
    """A title for screen readers, labels for rows, times at the axis, and a legend of every kind of mark."""
    root = drawn(GAP, panel_of(GAP, HOUR_OF_GRACE))
    assert "img" == root.get("role")
    assert "test: 1.2 days, 2 keys, 0 of them removed for good" == root[0].text
    words = [element.text for element in root.iter(f"{SVG}text")]
    assert {"a", "b", "requests", "01-01 00:00", "01-02 06:00", *WORDS.values()} <= set(words)
    assert ["b: good tokens refused (401), 2027-01-02 01:00 UTC to 2027-01-02 01:30 UTC, 30 min"] == titles(root, "refused")


def test_a_long_history_has_dates_at_its_axis() -> None:
    """Two weeks and more are told by the day, with the year; every label lies within the picture."""
    long = history((0, "a"), (24 * 60, "a"))
    root = drawn(long, panel_of(long, RolloverPolicy()))
    labels = {element.text: float(element.get("x", 0)) for element in root.iter(f"{SVG}text") if element.get("text-anchor") == "middle"}
    assert ["2027-01-01", "2027-01-11", "2027-01-21", "2027-01-31", "2027-02-10", "2027-02-20", "2027-03-02"] == list(labels)
    assert max(labels.values()) + 40 <= float(root.get("width", 0))


def test_it_follows_light_and_dark() -> None:
    """The background is the picture's own, and both schemes give every colour that is filled with."""
    text = svg(GAP, [panel_of(GAP, HOUR_OF_GRACE)])
    assert "@media (prefers-color-scheme: dark)" in text
    assert 'class="page"' in text


def test_outages_and_failures_are_shown() -> None:
    """An outage is a field behind the rows with its status; requests that failed hang lower than those that did not."""
    down = history((0, "a"), (30, "a"), outages=[[moment(23), moment(26), 503], [moment(27), moment(28), 0]])
    root = drawn(down, panel_of(down, RolloverPolicy()))
    assert [
        "issuer cannot be asked (status 503), 2027-01-01 23:00 UTC to 2027-01-02 02:00 UTC",
        "issuer cannot be asked (no answer), 2027-01-02 03:00 UTC to 2027-01-02 04:00 UTC",
    ] == titles(root, "outage")
    assert 120 == marks(root)["failed"]
    heights = {
        kind: {element.get("d", "").split()[1] for element in root.iter() if element.get("class") == kind and len(element)}
        for kind in ("fetch", "failed")
    }
    assert not heights["fetch"] & heights["failed"]


def test_marks_on_top_of_each_other_are_one() -> None:
    """A picture has a largest size, however many requests there were."""
    panel = Panel("default", 60.0)
    panel.finish([Fetch(START + number / 1_000, "schedule", succeeded=True) for number in range(500)])
    assert 1 == marks(drawn(GAP, panel))["fetch"]


def test_what_a_history_says_is_no_markup() -> None:
    """A kid may hold anything that JSON may; a long one is cut."""
    odd = ["<script>&\"'", "\x07\u202e", "a" * 200]
    document = history((0, "a"), (1, "a"))
    read = History("<name>&", tuple(type(each)(each.time, frozenset(odd)) for each in document.observations))
    root = drawn(read, panel_of(read, RolloverPolicy(), 'x"<y>'))
    words = [element.text or "" for element in root.iter(f"{SVG}text")]
    assert "<script>&\\\"'" in words
    assert "\\x07\\u202e" in words
    assert "a" * 27 + "…" in words

"""A drill as text, JSON and HTML: everything is there, nothing of it is markup, and nobody needs colours or pictures."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

from keyturn.drill.html_report import page
from keyturn.drill.observations import Answer, Ask, IssuerRequest, Played, Step
from keyturn.drill.picture import picture
from keyturn.drill.report import duration, record, scenario_lines, total
from keyturn.drill.results import DrillResult, Result
from keyturn.drill.scenarios import chosen
from keyturn.drill.settings import Settings
from keyturn.drill.verdict import Finding, Level, Verdict

EVIL = '"><script>alert(1)</script>&\x1b[31m'
VOID = {"meta", "path"}


def played(asks: int = 3) -> Played:
    """Return what a scenario saw, with every kind of answer."""
    outcomes = (("accepted", 200), ("refused", 401), ("unavailable", 503), ("error", 500), ("other", 404), ("no answer", None))
    seen = [Ask("new key", number * 0.1, Answer(*outcomes[number % 6], 0.01, "ReadTimeout"), f"label {number}") for number in range(asks)]
    return Played(tuple(seen), (Step(0.05, f"a step {EVIL}"),), (IssuerRequest(0.2, "jwks", "200, 400 bytes"),), seconds=2.0, facts={"label 0": EVIL})


def result(name: str = "cut-over", level: Level = "fail", **more: Any) -> Result:
    """Return a result whose words are hostile."""
    scenario = next(each for each in chosen([name]) if each.name == name)
    findings = (Finding(level, f"it was seen {EVIL}"), Finding("note", "beside it"), Finding("pass", "and this"))
    return Result(scenario, Verdict(level, f"it was seen {EVIL}", findings), more.pop("played", played()), 2.5, ("last words", EVIL), **more)


def drill(*results: Result, **more: Any) -> DrillResult:
    """Return a drill of some results."""
    settings = more.pop("settings", Settings(url="http://127.0.0.1:0/orders", start=("python", "app.py")))
    return DrillResult(settings, f"service {EVIL}", results or (result(),), "findings", "failed: cut-over", 130.0, ("no-alg",), **more)


class Reader(HTMLParser):
    """Reads a page; every element must end, and scripts must not be there."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of every element of a kind."""
        return [attributes for name, attributes in self.seen if name == tag]


def test_json_holds_every_figure() -> None:
    """The names of the schema are stable, and the whole is one line of plain JSON."""
    written = json.loads(json.dumps(record(drill()), allow_nan=False))
    assert {
        *("type", "name", "target", "method", "started", "audience", "algorithm", "watch", "pause", "seconds", "conclusion", "why", "counts"),
        *("left_out", "promises", "scenarios"),
    } == set(written)
    (scenario,) = written["scenarios"]
    assert {
        *("name", "promise", "plays", "expects", "why", "verdict", "reason", "findings", "seconds", "issuer_requests", "steps", "tokens", "output"),
    } == set(scenario)
    assert {"total": 1, "jwks": 1, "discovery": 0} == scenario["issuer_requests"]
    (tokens,) = scenario["tokens"]
    assert (3, 1, 1, 1, 0, 0, 0) == tuple(tokens[name] for name in ("asked", "accepted", "refused", "unavailable", "error", "other", "no_answer"))
    assert ([200, 401, 503], 0.0, {"label 0": EVIL}) == (tokens["statuses"], tokens["first_accepted_seconds"], tokens["accepted_labels"])
    assert {"pass": 0, "note": 0, "unknown": 0, "fail": 1} == written["counts"]
    assert None is written["pause"]


def test_json_tells_the_pause_of_a_service_that_runs_on() -> None:
    """Only there is one."""
    assert 310.0 == record(drill(settings=Settings(url="http://127.0.0.1:1/")))["pause"]


def test_text_tells_the_reason_and_what_stands_beside_it() -> None:
    """Findings of other levels follow, passes apart; so does what a service wrote at last."""
    lines = scenario_lines(result())
    assert [f"it was seen {EVIL}", "note: beside it", "the service wrote at last:", "  last words", f"  {EVIL}"] == lines
    assert "1 scenarios in 2 min: 1 failed." == total(drill())
    assert ["0 s", "119 s", "2 min"] == [duration(seconds) for seconds in (0, 119, 121)]


def test_the_page_is_whole_and_escaped() -> None:
    """Every element ends; no foreign word is markup; no control character is left."""
    text = page(drill(result("cut-over"), result("no-alg", "pass"), result("reordered-set", "unknown", played=Played())))
    reader = Reader(text)
    assert [] == reader.open
    assert [] == reader.all("script")
    assert "alert(1)" in reader.text
    assert "\x1b" not in text


def test_the_page_needs_nothing_else() -> None:
    """No element loads anything, and the page says so to the browser."""
    reader = Reader(page(drill()))
    assert [] == [name for name, attributes in reader.seen if "src" in attributes or name in {"link", "img", "iframe"}]
    assert {None} | {"#scenario-1"} == {None} | {attributes["href"] for attributes in reader.all("a")}
    assert any("default-src 'none'" in (attributes.get("content") or "") for attributes in reader.all("meta"))


def test_the_page_can_be_heard() -> None:
    """A language, headings, captions, scopes, named pictures; a verdict is a word, and every id is there once."""
    reader = Reader(page(drill(result("cut-over"), result("no-alg", "pass"))))
    assert [{"lang": "en"}] == reader.all("html")
    assert len(reader.all("table")) == len(reader.all("caption"))
    assert all("scope" in attributes for attributes in reader.all("th"))
    assert all(attributes["role"] == "img" and ("aria-label" in attributes or "aria-labelledby" in attributes) for attributes in reader.all("svg"))
    ids = [attributes["id"] for _, attributes in reader.seen if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["aria-labelledby"] for _, attributes in reader.seen if "aria-labelledby" in attributes} <= set(ids)
    assert "FAILED" in reader.text
    assert "passed" in reader.text


def test_a_picture_tells_outcomes_by_their_shape() -> None:
    """Six outcomes have six shapes, each with words of its own."""
    text = picture(played(6), 1, "all")
    shapes = re.findall(r'<path class="(?:accepted|refused|unavailable|error|other|no-answer)" d="M\d+ \d+(m[^"]+)">', text)
    assert 6 == len(set(shapes))
    assert "label 5: no answer: ReadTimeout, at 0.5 s" in text


def test_a_picture_has_a_bound() -> None:
    """Marks at the same place are drawn once, so that a flood does not make a page of megabytes."""
    flood = tuple(Ask("made-up keys", number / 1_000, Answer("refused", 401, 0.01)) for number in range(10_000))
    assert len(picture(Played(flood, seconds=10.0), 1, "flood")) < 200_000


def test_a_scenario_that_was_not_played_has_no_picture() -> None:
    """Its words are there all the same."""
    reader = Reader(page(drill(result(played=Played()))))
    assert 1 == len(reader.all("svg"))  # The legend.
    assert "last words" in reader.text

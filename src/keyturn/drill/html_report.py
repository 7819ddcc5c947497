"""A drill as one page of HTML that needs nothing else: no script, no font, no picture from elsewhere.

Rules of this file:

1. Everything that is not written in this file is escaped, control characters included; foreign text was cut before.
2. Whoever cannot see the pictures reads the same in tables: headings, captions and scopes are there for screen readers.
3. The page says of itself that it loads nothing (Content-Security-Policy).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from keyturn.drill.observations import OUTCOMES, tally
from keyturn.drill.picture import STYLE, legend, picture
from keyturn.drill.report import WORDS, duration, printable, requests_told, total
from keyturn.drill.results import DrillResult, Result
from keyturn.drill.scenarios import PROMISES

_MARKS: Final = {"pass": "✓", "note": "●", "unknown": "?", "fail": "✗"}

_STYLE: Final = """\
  :root { color-scheme: light dark }
  body { font: 16px/1.5 sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; color: #1f2328; background: #ffffff }
  table { border-collapse: collapse; width: 100%; margin: 1rem 0 } caption { text-align: left; font-weight: bold; padding: 0.3rem 0 }
  th, td { text-align: left; vertical-align: top; padding: 0.3rem 0.6rem; border-bottom: 1px solid #d1d9e0 }
  section { border-top: 2px solid #d1d9e0; margin-top: 2rem } svg { width: 100%; height: auto } dt { font-weight: bold }
  pre { overflow-x: auto; padding: 0.6rem; border: 1px solid #d1d9e0; font-size: 0.9em }
  .verdict { font-weight: bold; white-space: nowrap } .pass { color: #1a7f37 } .note, .unknown { color: #9a6700 } .fail { color: #cf222e }
  @media (prefers-color-scheme: dark) {
    body { color: #e6edf3; background: #0d1117 } th, td, section, pre { border-color: #3d444d }
    .pass { color: #3fb950 } .note, .unknown { color: #d29922 } .fail { color: #f85149 }
  }
"""


def page(drill: DrillResult) -> str:
    """Return the page of a drill."""
    name = _words(printable(drill.name))
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<title>Drill of {name}</title>",
            f"<style>\n{_STYLE}{STYLE}</style>",
            "</head>",
            "<body>",
            "<main>",
            f"<h1>Drill of {name}</h1>",
            *_summary(drill),
            *_overview(drill),
            "<h2>What the marks mean</h2>",
            legend(),
            *(line for number, result in enumerate(drill.results, 1) for line in _scenario(number, result)),
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _summary(drill: DrillResult) -> Iterable[str]:
    settings = drill.settings
    state = "started anew for each scenario" if settings.start else f"running on, with a pause of {settings.pause:g} s before a refresh"
    yield f"<p><strong>{_words(drill.conclusion)}</strong>: {_words(drill.why)}.</p>"
    yield f"<p>{_words(total(drill))}</p>"
    yield "<dl>"
    for term, words in (
        ("Endpoint", f"{settings.method} {printable(settings.url)}"),
        ("Service", state),
        ("Tokens", f"{settings.algorithm}, audience {printable(settings.audience)}"),
        ("Times", f"watched up to {settings.watch:g} s"),
        ("Not played", ", ".join(drill.left_out)),
    ):
        if words:
            yield f"<dt>{term}</dt><dd>{_words(words)}</dd>"
    yield "</dl>"


def _overview(drill: DrillResult) -> Iterable[str]:
    rows = [
        [
            f'<a href="#scenario-{number}">{_words(result.scenario.name)}</a>',
            _words(PROMISES[result.scenario.promise]),
            _verdict(result),
            _escaped_reason(result),
        ]
        for number, result in enumerate(drill.results, 1)
    ]
    yield from _table("Scenarios", ("Scenario", "Promise", "Verdict", "What was seen"), rows)


def _scenario(number: int, result: Result) -> Iterable[str]:
    scenario, played = result.scenario, result.played
    yield f'<section aria-labelledby="scenario-{number}">'
    yield f'<h2 id="scenario-{number}">{number}. {_words(scenario.name)}</h2>'
    yield f"<p>{_verdict(result)}: {_escaped_reason(result)}</p>"
    yield "<dl>"
    for term, words in (("Played", scenario.plays), ("Expected", scenario.expects), ("Why", scenario.why)):
        yield f"<dt>{term}</dt><dd>{_words(words)}</dd>"
    yield "</dl>"
    findings = [each for each in result.verdict.findings if each.level != result.verdict.level]
    if findings:
        yield "<ul>"
        yield from (f'<li><span class="{each.level}">{WORDS[each.level]}</span>: {_words(each.text)}</li>' for each in findings)
        yield "</ul>"
    if played.asks:
        yield picture(played, number, f"{scenario.name}: answers by sort of token over {played.seconds:.1f} s")
        yield from _tokens(result)
    named = [(ask.label, played.facts[ask.label]) for ask in played.asks if ask.accepted and ask.label in played.facts]
    if named:
        yield from _table("Bad tokens that were accepted", ("Name", "What is wrong with it"), [(_words(name), _words(why)) for name, why in named])
    if played.steps:
        yield "<h3>What the issuer did</h3>"
        yield "<ol>"
        yield from (f"<li>after {step.at:.1f} s: {_words(step.what)}</li>" for step in played.steps)
        yield "</ol>"
    yield f"<p>{_words(requests_told(result))}; {_words(duration(result.seconds))} in all.</p>"
    if result.output:
        yield "<h3>What the service wrote at last</h3>"
        yield "<pre>" + "\n".join(_words(line) for line in result.output) + "</pre>"
    yield "</section>"


def _tokens(result: Result) -> Iterable[str]:
    shown = [outcome for outcome in OUTCOMES if any(ask.answer.outcome == outcome for ask in result.played.asks)]
    rows = []
    for track in result.played.tracks:
        seen = tally(result.played.track(track))
        first = "never" if seen.first_accepted is None else f"{seen.first_accepted:.1f} s"
        rows.append([_words(track), str(seen.asked), *(str(seen.outcomes.get(outcome, 0)) for outcome in shown), first, f"{seen.slowest:.2f} s"])
    yield from _table("Tokens that were sent", ("Sort", "Sent", *shown, "First accepted after", "Slowest answer"), rows)


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    """Yield a table whose cells are markup already."""
    yield f"<table><caption>{_words(caption)}</caption>"
    yield "<thead><tr>" + "".join(f'<th scope="col">{_words(name)}</th>' for name in head) + "</tr></thead><tbody>"
    for first, *others in rows:
        yield f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in others) + "</tr>"
    yield "</tbody></table>"


def _verdict(result: Result) -> str:
    level = result.verdict.level
    return f'<span class="verdict {level}"><span aria-hidden="true">{_MARKS[level]}</span> {WORDS[level]}</span>'


def _escaped_reason(result: Result) -> str:
    return _words(result.verdict.reason)


def _words(text: str) -> str:
    """Return *text* as markup that shows it, control characters as escapes (1)."""
    return escape("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text))

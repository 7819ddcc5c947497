"""A history and what policies made of it, drawn as SVG: a panel for each policy, a row for each key, a mark for each request.

Rules of this file:

1. What is shown differs in place, height or pattern, too, never in colour alone; every bar tells itself in words (its `title`).
2. The picture brings its own background, light or dark as its reader's screen is, so that it can stand on any page.
3. Text of a history is escaped twice: so that it prints, and so that it is no markup.
4. Marks that would fall onto each other are drawn once, so that the size of a picture has a bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from typing import Final, Literal

from keyturn.errors import quoted
from keyturn.simulation.history import History
from keyturn.simulation.replay import Fetch, Span
from keyturn.simulation.report import duration, title

State = Literal["held", "grace", "refused", "unavailable"]
"""What a client makes of a key: serves it, serves it in its grace, answers 401, answers 503."""

WORDS: Final[Mapping[str, str]] = {
    "published": "published by the issuer",
    "held": "accepted",
    "grace": "accepted in its grace",
    "refused": "good tokens refused (401)",
    "unavailable": "nobody can know (503)",
    "outage": "issuer cannot be asked",
    "fetch": "request for the keys",
    "failed": "request that failed",
}
"""What each kind of mark means."""

_WIDTH, _LEFT, _RIGHT = 1000.0, 200.0, 40.0
_PLOT = _WIDTH - _LEFT - _RIGHT
_TOP, _HEADING, _FETCHES, _ROW, _GAP, _AXIS, _LEGEND = 40.0, 24.0, 18.0, 22.0, 16.0, 24.0, 56.0
_LEAST_BAR = 1.0
_LONGEST_LABEL = 28
_LABELS = 7
_DATES_FROM = 14 * 86_400.0
# Offset from the top of a row, and height: what the issuer does above, what the client makes of it below.
_PLACES: Final[Mapping[str, tuple[float, float]]] = {
    "published": (2, 6),
    "held": (12, 2),
    "grace": (10, 6),
    "refused": (9, 10),
    "unavailable": (9, 10),
}

_STYLE = """\
  .page { fill: #ffffff } text { fill: #1f2328; font: 12px sans-serif } .head { font-weight: bold } .small { font-size: 11px }
  .axis { stroke: #8c959f; stroke-width: 1 } .published { fill: #0969da } .held { fill: #57606a } .grace { fill: url(#stripes) }
  .stripe { stroke: #9a6700; stroke-width: 4 } .refused { fill: #cf222e } .unavailable { fill: #ffffff; stroke: #cf222e; stroke-width: 1.5 }
  .outage { fill: #8c959f; fill-opacity: 0.25 } .fetch { stroke: #1f2328; stroke-width: 1 } .failed { stroke: #cf222e; stroke-width: 1 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } text { fill: #e6edf3 } .published { fill: #4493f8 } .held { fill: #9198a1 } .stripe { stroke: #d29922 }
    .refused { fill: #f85149 } .unavailable { fill: #0d1117; stroke: #f85149 } .fetch { stroke: #e6edf3 } .failed { stroke: #f85149 }
  }
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of one state of one key.

    Attributes:
        kid: The key.
        state: What the client makes of it.
        start: Seconds since the epoch.
        end: The second at which it is over.
    """

    kid: str
    state: State
    start: float
    end: float


@dataclass
class Panel:
    """What one policy makes of a history, collected span by span.

    Attributes:
        name: The policy as it was asked for.
        step: Seconds between two tokens of one key.
        bars: What was collected; bars that touch and are alike are one.
        fetches: Requests, once the replay is over.
    """

    name: str
    step: float
    bars: list[Bar] = field(default_factory=list)
    fetches: list[Fetch] = field(default_factory=list)
    _open: dict[str, Bar] = field(default_factory=dict)

    def add(self, span: Span) -> None:
        """Take in what happened next."""
        states: dict[str, State] = {kid: "grace" if kid in span.in_grace else "held" for kid in span.trusted}
        states |= {kid: verdict for kid, verdict in span.verdicts.items() if verdict != "accepted"}
        end = span.start + span.steps * self.step
        for kid in self._open.keys() - states.keys():
            self.bars.append(self._open.pop(kid))
        for kid, state in states.items():
            earlier = self._open.get(kid)
            if earlier is not None and earlier.state == state:
                self._open[kid] = Bar(kid, state, earlier.start, end)
                continue
            if earlier is not None:
                self.bars.append(earlier)
            self._open[kid] = Bar(kid, state, span.start, end)

    def finish(self, fetches: Iterable[Fetch]) -> None:
        """Close what is open, and take in the requests."""
        self.bars += self._open.values()
        self._open.clear()
        self.fetches += fetches


def svg(history: History, panels: Iterable[Panel]) -> str:
    """Return the picture of *history* under the policies of *panels*."""
    drawing = _Drawing(history)
    for panel in panels:
        drawing.panel(panel)
    return drawing.text()


class _Drawing:
    """Puts one picture together, from top to bottom."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._y = _TOP
        self._parts: list[str] = []
        self._say(_LEFT, _TOP - 16, _printable(title(history)), "head")

    def panel(self, panel: Panel) -> None:
        """Draw the panel of one policy."""
        self._say(_LEFT, self._y + _HEADING - 10, f"policy {_printable(panel.name)}: {len(panel.fetches)} requests", "head")
        self._y += _HEADING
        self._outages(_FETCHES + _ROW * len(self._history.kids))
        self._say(_LEFT - 8, self._y + 12, "requests", "small", end=True)
        self._marks(panel.fetches)
        self._y += _FETCHES
        for kid in self._history.kids:
            self._key(kid, [bar for bar in panel.bars if bar.kid == kid])
        self._axis()

    def text(self) -> str:
        """Return the whole picture."""
        self._legend()
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:.0f} {self._y:.0f}" width="{_WIDTH:.0f}" height="{self._y:.0f}" '
            f'role="img" aria-labelledby="title">\n<title id="title">{escape(_printable(title(self._history)))}</title>\n'
        )
        stripes = '<pattern id="stripes" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        shared = f'<style>\n{_STYLE}</style>\n<defs>{stripes}<path class="stripe" d="M0 0v6"/></pattern></defs>\n'
        page = f'<rect class="page" width="{_WIDTH:.0f}" height="{self._y:.0f}"/>\n'
        return head + shared + page + "\n".join(self._parts) + "\n</svg>\n"

    def _key(self, kid: str, bars: list[Bar]) -> None:
        self._say(_LEFT - 8, self._y + 13, _label(kid), "small", end=True)
        for start, end in self._history.published(kid):
            self._bar(kid, "published", start, end)
        for bar in bars:
            self._bar(kid, bar.state, bar.start, min(bar.end, self._history.end))
        self._y += _ROW

    def _bar(self, kid: str, kind: str, start: float, end: float) -> None:
        top, height = _PLACES[kind]
        words = f"{_label(kid)}: {WORDS[kind]}, {_moment(start)} to {_moment(end)}, {duration(end - start)}"
        self._rect(kind, (self._x(start), self._y + top, max(_LEAST_BAR, self._x(end) - self._x(start)), height), words)

    def _outages(self, height: float) -> None:
        for outage in self._history.outages:
            answer = f"status {outage.status}" if outage.status else "no answer"
            words = f"{WORDS['outage']} ({answer}), {_moment(outage.start)} to {_moment(outage.end)}"
            x = self._x(outage.start)
            self._rect("outage", (x, self._y, max(_LEAST_BAR, self._x(outage.end) - x), height), words)

    def _marks(self, fetches: Iterable[Fetch]) -> None:
        seen: set[tuple[str, str]] = set()
        for fetch in fetches:
            kind, x = "fetch" if fetch.succeeded else "failed", f"{self._x(fetch.at):.1f}"
            if (kind, x) in seen:
                continue
            seen.add((kind, x))
            # One that failed hangs lower, so that it is told without its colour.
            top = self._y + (2 if fetch.succeeded else 7)
            words = escape(f"{WORDS[kind]}: {fetch.reason}, {_moment(fetch.at)}")
            self._parts.append(f'<path class="{kind}" d="M{x} {top:.1f}v9"><title>{words}</title></path>')

    def _axis(self) -> None:
        self._parts.append(f'<path class="axis" d="M{_LEFT:.1f} {self._y:.1f}h{_PLOT:.1f}"/>')
        span = self._history.end - self._history.start
        form = "%Y-%m-%d" if span > _DATES_FROM else "%m-%d %H:%M"
        for number in range(_LABELS):
            instant = self._history.start + span * number / (_LABELS - 1)
            x = self._x(instant)
            self._parts.append(f'<path class="axis" d="M{x:.1f} {self._y:.1f}v4"/>')
            self._say(x, self._y + 16, datetime.fromtimestamp(instant, UTC).strftime(form), "small", middle=True)
        self._y += _AXIS + _GAP

    def _legend(self) -> None:
        for number, (kind, words) in enumerate(WORDS.items()):
            x, y = _LEFT + number % 3 * 250, self._y + number // 3 * 18
            if kind in {"fetch", "failed"}:
                self._parts.append(f'<path class="{kind} key" d="M{x + 9:.1f} {y:.1f}v9"/>')
            else:
                height = _PLACES.get(kind, (0, 10))[1]
                self._parts.append(f'<rect class="{kind} key" x="{x:.1f}" y="{y + 5 - height / 2:.1f}" width="18" height="{height:.1f}"/>')
            self._say(x + 24, y + 9, words, "small")
        self._y += _LEGEND

    def _rect(self, kind: str, place: tuple[float, float, float, float], words: str) -> None:
        x, y, width, height = place
        shape = f'x="{x:.2f}" y="{y:.1f}" width="{width:.2f}" height="{height:.1f}"'
        self._parts.append(f'<rect class="{kind}" {shape}><title>{escape(words)}</title></rect>')

    def _say(self, x: float, y: float, words: str, kind: str, *, end: bool = False, middle: bool = False) -> None:
        anchor = ' text-anchor="end"' if end else ' text-anchor="middle"' if middle else ""
        self._parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{anchor}>{escape(words)}</text>')

    def _x(self, instant: float) -> float:
        return _LEFT + _PLOT * (instant - self._history.start) / (self._history.end - self._history.start)


def _label(kid: str) -> str:
    text = _printable(kid)
    return text if len(text) <= _LONGEST_LABEL else text[: _LONGEST_LABEL - 1] + "…"


def _printable(text: str) -> str:
    return quoted(text)[1:-1]


def _moment(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%d %H:%M UTC")

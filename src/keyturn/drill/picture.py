"""A scenario drawn as inline SVG: a row for each sort of token, a mark for each request, and what the issuer did and was asked.

Rules of this file:

1. Outcomes differ in shape and place, never in colour alone.
2. Marks that would fall onto each other are drawn once, so that the size of a picture has a bound.
3. Words are escaped twice: so that they print, and so that they are no markup.
"""

from __future__ import annotations

from html import escape
from typing import Final

from keyturn.drill.observations import Outcome, Played
from keyturn.errors import quoted

WORDS: Final[dict[Outcome, str]] = {
    "accepted": "accepted",
    "refused": "refused (401, 403)",
    "unavailable": "unavailable (503)",
    "error": "server error",
    "other": "another status",
    "no answer": "no answer",
}
"""What each mark means."""

_WIDTH, _LEFT, _RIGHT = 860.0, 170.0, 20.0
_PLOT = _WIDTH - _LEFT - _RIGHT
_ROW, _TOP, _AXIS = 26.0, 8.0, 26.0
_LABELS = 5
_LONGEST_LABEL = 24
# Drawn around the middle of a row: a bar above, a cross below, a ring, a box, a diamond, a dot.
_SHAPES: Final[dict[Outcome, str]] = {
    "accepted": "m0 -9v9",
    "refused": "m-3 2l6 6m0 -6l-6 6",
    "unavailable": "m-3.5 4a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z",
    "error": "m-3 1h6v6h-6z",
    "other": "m0 0l4 4l-4 4l-4 -4z",
    "no answer": "m-4 4h8",
}
_CLASSES: Final[dict[Outcome, str]] = {name: name.replace(" ", "-") for name in WORDS}

STYLE: Final = """\
  svg text { fill: currentColor; font: 12px sans-serif }
  svg .rule { stroke: #8c959f; stroke-width: 1; fill: none } svg .step { stroke: #8c959f; stroke-dasharray: 3 3; fill: none }
  svg .accepted { stroke: #0969da; stroke-width: 2; fill: none } svg .refused { stroke: #cf222e; stroke-width: 1.5; fill: none }
  svg .unavailable { stroke: #9a6700; stroke-width: 1.5; fill: none } svg .error { fill: #cf222e } svg .other { fill: #8250df }
  svg .no-answer { stroke: #cf222e; stroke-width: 3; fill: none } svg .request { stroke: currentColor; stroke-width: 1.5; fill: none }
  @media (prefers-color-scheme: dark) {
    svg .accepted { stroke: #4493f8 } svg .refused, svg .no-answer { stroke: #f85149 } svg .unavailable { stroke: #d29922 }
    svg .error { fill: #f85149 } svg .other { fill: #ab7df8 }
  }
"""
"""What a page with pictures needs in its style sheet."""


def picture(played: Played, number: int, title: str) -> str:
    """Return the picture of one scenario.

    Args:
        played: What was seen.
        number: Its number on the page, for ids.
        title: What screen readers call it.
    """
    span = max(played.seconds, 0.1)
    rows = [*played.tracks, "issuer asked"]
    bottom = _TOP + _ROW * len(rows)
    parts = [f'<path class="step" d="M{_x(step.at, span)} {_TOP:g}V{bottom:g}"><title>{_text(step.what)}</title></path>' for step in played.steps]
    for place, row in enumerate(rows):
        middle = _TOP + _ROW * place + _ROW / 2
        parts.append(f'<text x="{_LEFT - 8:g}" y="{middle + 4:g}" text-anchor="end">{_text(row[:_LONGEST_LABEL])}</text>')
        parts.append(f'<path class="rule" d="M{_LEFT:g} {middle:g}h{_PLOT:g}"/>')
        parts += _requests(played, span, middle) if row == "issuer asked" else _asks(played, row, span, middle)
    parts += [
        f'<text x="{_x(span * label / (_LABELS - 1), span)}" y="{bottom + 16:g}" text-anchor="middle">{span * label / (_LABELS - 1):.1f} s</text>'
        for label in range(_LABELS)
    ]
    height = bottom + _AXIS
    head = f'<svg viewBox="0 0 {_WIDTH:g} {height:g}" role="img" aria-labelledby="picture-{number}">'
    return f'{head}<title id="picture-{number}">{_text(title)}</title>{"".join(parts)}</svg>'


def legend() -> str:
    """Return what each mark means, as one picture."""
    parts = []
    for place, (outcome, words) in enumerate(WORDS.items()):
        x, y = 10 + place % 3 * 250, 14 + place // 3 * 24
        parts.append(f'<path class="{_CLASSES[outcome]}" d="M{x} {y}{_SHAPES[outcome]}"/><text x="{x + 14}" y="{y + 8}">{words}</text>')
    return f'<svg viewBox="0 0 760 52" role="img" aria-label="What the marks mean">{"".join(parts)}</svg>'


def _asks(played: Played, track: str, span: float, middle: float) -> list[str]:
    drawn: dict[tuple[str, Outcome], str] = {}
    for ask in played.track(track):
        outcome, x = ask.answer.outcome, _x(ask.at, span)
        words = f"{ask.label or track}: {ask.answer.told}, at {ask.at:.1f} s"
        shape = f'<path class="{_CLASSES[outcome]}" d="M{x} {middle:g}{_SHAPES[outcome]}"><title>{_text(words)}</title></path>'
        drawn.setdefault((x, outcome), shape)
    return list(drawn.values())


def _requests(played: Played, span: float, middle: float) -> list[str]:
    drawn: dict[str, str] = {}
    for request in played.requests:
        x = _x(request.at, span)
        words = f"{request.document} at {request.at:.1f} s: {request.outcome}"
        drawn.setdefault(x, f'<path class="request" d="M{x} {middle - 7:g}v14"><title>{_text(words)}</title></path>')
    return list(drawn.values())


def _x(at: float, span: float) -> str:
    return f"{_LEFT + _PLOT * min(max(at, 0.0), span) / span:.0f}"


def _text(words: str) -> str:
    return escape(quoted(words)[1:-1])

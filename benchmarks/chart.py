"""The bar chart of the documentation: the price of one validation as a ratio to a bare verify, by library and algorithm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from benchmarks.validation import USUAL, Row

WIDTH, LEFT, RIGHT, BAR, GAP, GROUP, HEAD = 900, 190, 60, 15, 4, 26, 64
LONGEST = 10.0
"""Ratio at the right edge; a longer bar is cut there, and its figure says how long it is."""

_OURS = {"keyturn": "#1d6fb8", "keyturn[speed]": "#0b3d66"}
_THEIRS = "#b9bec4"


def draw(rows: Sequence[Row], machine: str) -> str:
    """Return an SVG of the rows with tokens of the usual length."""
    groups = [(row.name, _bars(row.ratios)) for row in rows if abs(row.token_bytes - USUAL) < USUAL // 10]
    height = HEAD + sum(GROUP + len(bars) * (BAR + GAP) for _, bars in groups) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12" role="img">',
        "<title>One validation, as a ratio to a bare verify of the same signature</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="24" font-size="16" font-weight="bold">One validation of a {USUAL:,} byte token, to a bare verify</text>',
        f'<text x="16" y="44" fill="#555555">{escape(machine)}</text>',
    ]
    top = HEAD
    for name, bars in groups:
        parts.append(f'<text x="16" y="{top + 14}" font-weight="bold">{escape(name)}</text>')
        top += GROUP - 4
        for library, ratio in bars:
            parts += _bar(library, ratio, top)
            top += BAR + GAP
        top += 4
    one = LEFT + _length(1.0)
    parts.append(f'<line x1="{one:.1f}" y1="{HEAD}" x2="{one:.1f}" y2="{top}" stroke="#c0392b" stroke-dasharray="3 3"/>')
    parts.append(f'<text x="{one:.1f}" y="{HEAD - 4}" text-anchor="middle" fill="#c0392b" font-size="11">bare verify</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bars(ratios: Mapping[str, float]) -> list[tuple[str, float]]:
    shown = {name: ratio for name, ratio in ratios.items() if "cached" not in name}
    return sorted(shown.items(), key=lambda bar: bar[1])


def _bar(library: str, ratio: float, top: float) -> list[str]:
    length = _length(min(ratio, LONGEST))
    colour = _OURS.get(library, _THEIRS)
    return [
        f'<text x="{LEFT - 8}" y="{top + 12}" text-anchor="end">{escape(library)}</text>',
        f'<rect x="{LEFT}" y="{top}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>',
        f'<text x="{LEFT + length + 6:.1f}" y="{top + 12}">{ratio:.2f}</text>',
    ]


def _length(ratio: float) -> float:
    return ratio / LONGEST * (WIDTH - LEFT - RIGHT)

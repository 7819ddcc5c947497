"""Changes of XML that leave its tags in pairs: whole elements are taken out, repeated and moved, attributes and texts are replaced."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

_PIECE = re.compile(r"<!--.*?-->|<[^>]*>|[^<]+", re.DOTALL)
_ATTRIBUTE = re.compile(r'([\w:.-]+)="([^"]*)"')


def edited(text: str, chance: random.Random, words: Sequence[str], fragments: Sequence[str]) -> str:
    """Return *text* with one change.

    Args:
        text: A document.
        chance: Where and what.
        words: Names and values of the format at hand.
        fragments: Whole elements of it.
    """
    pieces = _PIECE.findall(text)
    opening = [number for number, piece in enumerate(pieces) if re.match(r"<[A-Za-z]", piece)]
    if not opening:
        return text + chance.choice(fragments)
    start = chance.choice(opening)
    end = _end(pieces, start)
    before, found, after = pieces[:start], pieces[start:end], pieces[end:]
    target = chance.choice(opening)
    ways: tuple[Callable[[], list[str]], ...] = (
        lambda: [*before, *after],
        lambda: [*before, *found, *found, *after],
        lambda: _inserted([*before, *after], target, found),
        lambda: _inserted(pieces, target, found),
        lambda: _inserted(pieces, target, [chance.choice(fragments)]),
        lambda: _inserted(pieces, target, [chance.choice(words)]),
        lambda: [*before, _with_attribute(pieces[start], chance, words), *found[1:], *after],
        lambda: [*before, _with_attribute(pieces[start], chance, words), *found[1:], *after],
    )
    return "".join(chance.choice(ways)())


def _end(pieces: Sequence[str], start: int) -> int:
    """Return the place behind the element that begins at *start*; where tags are not in pairs, the end of the text."""
    depth = 0
    for number in range(start, len(pieces)):
        piece = pieces[number]
        if piece.startswith("</"):
            depth -= 1
        elif re.match(r"<[A-Za-z]", piece) and not piece.endswith("/>"):
            depth += 1
        if depth <= 0:
            return number + 1
    return len(pieces)


def _inserted(pieces: Sequence[str], place: int, more: Sequence[str]) -> list[str]:
    return [*pieces[: place + 1], *more, *pieces[place + 1 :]]


def _with_attribute(tag: str, chance: random.Random, words: Sequence[str]) -> str:
    """Return an opening tag with an attribute changed, taken out or put in."""
    found = list(_ATTRIBUTE.finditer(tag))
    word = chance.choice(words).replace('"', "")
    if found and chance.random() < 0.7:
        match = chance.choice(found)
        new = chance.choice((f'{match[1]}="{word}"', "", f'{word}="{match[2]}"'))
        return tag[: match.start()] + new + tag[match.end() :]
    head = re.match(r"<[^\s/>]+", tag)
    cut = head.end() if head else len(tag)
    return f'{tag[:cut]} {chance.choice(words)}="{word}"{tag[cut:]}'

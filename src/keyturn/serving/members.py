"""Bodies of the control API: one JSON object, every member known and of its kind.

Rules of this file:

1. A member that nobody asks for is refused with the names of those that there are: a misspelt setting must not pass as the default.
2. `null` means the default, like a member that is left out.
3. JSON is read as strictly as a token's is; a repeated member is refused.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from keyturn._core.strict_json import NotStrictJSONError, parse_token_part
from keyturn.errors import quoted
from keyturn.serving.exchange import RefusedError

LONGEST_TEXT = 2048
"""Characters of a text: those of the longest URL that keyturn takes."""

LONGEST_KID = 256
"""Characters of a kid: the most that keyturn accepts in one."""

LARGEST_NUMBER = 1e9
"""Largest number either way: thirty years in seconds."""

_MOST_TEXTS = 100


def read_members(body: bytes) -> dict[str, Any]:
    """Return the members of a JSON object; an empty body has none.

    Raises:
        RefusedError: It is no JSON object.
    """
    if not body.strip():
        return {}
    try:
        value = parse_token_part(body)
    except NotStrictJSONError as error:
        raise bad(f"body is {error}, expected a JSON object") from None
    if not isinstance(value, dict):
        raise bad(f"body is {quoted(value)}, expected a JSON object")
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        # Such as 1e400, which is read as infinity, and which no answer and no token could say again.
        raise bad("body has a number beyond all numbers, expected one that a double can hold") from None
    return value


def bad(message: str) -> RefusedError:
    """Return the refusal of a body that says something wrong."""
    return RefusedError(400, "invalid_request", message)


class Members:
    """The members of a body, taken out one by one; `finish()` refuses what is left.

    Args:
        values: The members.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = {name: value for name, value in values.items() if value is not None}
        self._known: list[str] = []

    def finish(self) -> None:
        """Refuse what nobody took (1).

        Raises:
            RefusedError: A member is unknown.
        """
        if self._values:
            expected = f"one of {', '.join(self._known)}" if self._known else "none"
            raise bad(f"member {quoted(next(iter(self._values)))} is unknown, expected {expected}")

    def text(self, name: str, *, longest: int = LONGEST_TEXT) -> str | None:
        """Take a text of 1 to *longest* characters, or None where there is none."""
        value = self._take(name)
        if value is None:
            return None
        if not isinstance(value, str) or not 0 < len(value) <= longest:
            raise bad(f"{name} is {quoted(value)}, expected a text of 1 to {longest} characters")
        return value

    def kid(self) -> str | None:
        """Take `kid`."""
        return self.text("kid", longest=LONGEST_KID)

    def needed_kid(self) -> str:
        """Take `kid`, which must be there."""
        kid = self.kid()
        if kid is None:
            raise bad("kid is missing, expected the kid of a key")
        return kid

    def one_of(self, name: str, choices: Collection[str]) -> str | None:
        """Take one of *choices*."""
        value = self._take(name)
        if value is not None and (not isinstance(value, str) or value not in choices):
            raise bad(f"{name} is {quoted(value)}, expected one of {', '.join(choices)}")
        return value

    def number(self, name: str, *, low: float = 0, high: float = LARGEST_NUMBER) -> float | None:
        """Take a number from *low* to *high*."""
        value = self._take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise bad(f"{name} is {quoted(value)}, expected a number from {low:g} to {high:g}")
        return value

    def integer(self, name: str, default: int, *, low: int, high: int) -> int:
        """Take a whole number from *low* to *high*."""
        value = self.number(name, low=low, high=high)
        if value is None:
            return default
        if value != int(value):
            raise bad(f"{name} is {quoted(value)}, expected a whole number")
        return int(value)

    def object(self, name: str) -> dict[str, Any]:
        """Take an object; an empty one where there is none."""
        value = self._take(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise bad(f"{name} is {quoted(value)}, expected an object")
        return value

    def texts(self, name: str) -> str | list[str] | None:
        """Take a text, or a list of them."""
        value = self._take(name)
        several = value if isinstance(value, list) else [] if value is None else [value]
        if len(several) > _MOST_TEXTS or not all(isinstance(item, str) and len(item) <= LONGEST_TEXT for item in several):
            raise bad(f"{name} is {quoted(value)}, expected a text of at most {LONGEST_TEXT} characters, or at most {_MOST_TEXTS} of them")
        return several if isinstance(value, list) else next(iter(several), None)

    def _take(self, name: str) -> Any:
        self._known.append(name)
        return self._values.pop(name, None)

"""Tokens that were accepted, so that the same one again is spared its parsing and its signature.

Rules of this file:

1. An entry is found by the SHA-256 of the whole token, signature included, and holds no text of a token: the payload's bytes, the
   header, the key, and the instants between which the token is good.
2. Only an accepted token enters. A refusal is never remembered.
3. An entry is no verdict: whoever finds one still asks whether its key is held and whether its instants hold now.
4. What is handed out is parsed anew each time, when it is first looked at, so nobody can alter what the next one gets.
5. Two halves: what is used moves to the younger one, and when that is full the older one is dropped. So it is bounded, and needs no
   lock: a thread that finds an entry gone validates the token like a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from math import inf
from typing import Any, Final

from keyturn._core import base64url
from keyturn._core.jwk import SigningKey
from keyturn._core.strict_json import reader_of
from keyturn._core.token import UnverifiedToken
from keyturn._keeper import Keeper
from keyturn.validated_token import ValidatedToken, set_parts

MOST_TOKENS: Final = 1_000_000
"""Tokens that may be remembered: of usual ones about a gigabyte."""


class Accepted:
    """One token that was accepted.

    Attributes:
        payload: The claims as JSON.
        read: Reads them.
        header: The header as parsed; text alone, so that nobody can alter it.
        key: The key that verified the signature.
        start: Instant from which the token is good, leeway included; seconds since the epoch.
        end: Instant from which it is not, leeway included.
        memory: The generation of the key set in which the key was last seen to serve.
    """

    __slots__ = ("end", "header", "key", "memory", "payload", "read", "start")

    def __init__(self, payload: bytes, header: Mapping[str, Any], key: SigningKey, start: float, end: float) -> None:
        self.payload = payload
        self.read: Callable[[bytes], dict[str, Any]] = reader_of(payload)
        self.header = header
        self.key = key
        self.start = start
        self.end = end
        self.memory: object = None

    def claims(self) -> dict[str, Any]:
        """Return the claims, parsed anew."""
        return self.read(self.payload)


class RememberedToken(ValidatedToken):
    """A token that was accepted before; its claims are parsed when one of them is first asked for, and many callers ask for none."""

    __slots__ = ("_accepted",)

    _accepted: Accepted

    def __init__(self, accepted: Accepted) -> None:
        _set_accepted(self, accepted)

    def __getattr__(self, name: str) -> Any:
        """Fill the one slot that is empty at first."""
        if name != "_parts":
            raise AttributeError(f"a ValidatedToken has no attribute {name!r}")
        accepted = self._accepted
        set_parts(self, parts := (accepted.claims(), accepted.header, accepted.key.id))
        return parts


_set_accepted = vars(RememberedToken)["_accepted"].__set__


class TokenCache:
    """The accepted tokens of one validator.

    Args:
        size: How many at most; an odd number counts as the even one above it.
        keeper: Says whether a key serves now.
        wall: Returns the seconds since the epoch.
        leeway: Seconds by which clocks may differ.
        make: Makes what is handed out; it may still refuse.
        longest: Characters above which a text is not even looked for, since none that long was accepted.
    """

    def __init__(
        self,
        size: int,
        keeper: Keeper,
        wall: Callable[[], float],
        leeway: float,
        make: Callable[[Accepted], ValidatedToken],
        *,
        longest: int,
    ) -> None:
        self._half = (size + 1) // 2
        self._longest = longest
        self._keeper = keeper
        self._wall = wall
        self._leeway = leeway
        self._make = make
        self._young: dict[bytes, Accepted] = {}
        self._old: dict[bytes, Accepted] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def again(self, token: str) -> ValidatedToken | None:
        """Return a token that was accepted before and is good now, under a key that serves now; else None: validate it."""
        if not isinstance(token, str) or len(token) > self._longest or not token.isascii():
            return None
        name = _name_of(token)
        found = self._young.get(name) or self._rejuvenated(name)
        if found is None or not found.start <= self._wall() < found.end or not self._serves(found):
            return None
        return self._make(found)

    def enter(self, token: str, unverified: UnverifiedToken, key: SigningKey) -> None:
        """Remember a token that was just accepted."""
        header, claims, _, signing_input, _, _ = unverified
        if not all(isinstance(value, str) for value in header.values()):
            return
        payload = base64url.decode(signing_input.partition(b".")[2])
        start = max(claims.get("nbf", -inf), claims.get("iat", -inf)) - self._leeway
        self._put(_name_of(token), Accepted(payload, header, key, start, claims["exp"] + self._leeway))

    def _rejuvenated(self, name: bytes) -> Accepted | None:
        found = self._old.pop(name, None)
        if found is not None:
            self._put(name, found)
        return found

    def _put(self, name: bytes, entry: Accepted) -> None:
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[name] = entry

    def _serves(self, found: Accepted) -> bool:
        """Return whether the key serves, by the decision that is due to any use of a key (R3, R9, R10, R11)."""
        keeper, memory = self._keeper, self._keeper.memory
        if found.memory is not memory or keeper.is_due():
            if not keeper.holds(found.key):
                return False
            found.memory = memory
        keeper.used(found.key)
        return True


def _name_of(token: str) -> bytes:
    return sha256(token.encode("ascii")).digest()

"""Whether the price of a validation depends on how many keys, issuers and remembered tokens there are, and what each of them takes."""

from __future__ import annotations

import gc
import os
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.measuring import Contestant, interleaved
from benchmarks.validation import AUDIENCE, USUAL, token_of
from keyturn import IssuerRouter, KeySet, TokenValidator
from keyturn._core import base64url
from keyturn.testing import FakeIssuer

KEYS = (1, 10, 100, 500)
BUILT = (10, 100, 500)
ISSUERS = (1, 10, 100, 1_000)
TOKENS = (100, 10_000, 100_000)
FLAT = 1.25
"""Upper bound of the ratio of the largest to the smallest: what caches of the processor alone may make of it."""

TOKEN_BYTES_GOAL = 1_000
"""Bytes that one remembered token of 1.3 kB may take."""


@dataclass(frozen=True)
class Growth:
    """Ratios to the smallest number in each row, and what one takes.

    Attributes:
        keys: One validation, by keys in the set.
        issuers: One validation through an `IssuerRouter`, by issuers.
        tokens: One hit of the token cache, by tokens in it.
        build: `KeySet.from_jwks()`, seconds by keys.
        key_bytes: Memory of one RSA key of a set.
        token_bytes: Memory of one remembered token.
    """

    keys: dict[int, float]
    issuers: dict[int, float]
    tokens: dict[int, float]
    build: dict[int, float]
    key_bytes: float
    token_bytes: float

    @property
    def missed(self) -> tuple[str, ...]:
        """The goals that were missed, in words."""
        rows = {"keys": self.keys, "issuers": self.issuers, "remembered tokens": self.tokens}
        found = [
            f"growth with {name}: {ratios[max(ratios)]:.2f}x at {max(ratios):,}, goal {FLAT}"
            for name, ratios in rows.items()
            if ratios[max(ratios)] > FLAT
        ]
        if self.token_bytes > TOKEN_BYTES_GOAL:
            found.append(f"a remembered token takes {self.token_bytes:.0f} bytes, goal {TOKEN_BYTES_GOAL}")
        return tuple(found)


def measure(rounds: int) -> Growth:
    """Measure everything."""
    sets = {count: _issuer(count) for count in KEYS}
    documents = {count: sets[count].jwks() for count in BUILT}
    built = interleaved({str(count): partial(KeySet.from_jwks, documents[count]) for count in BUILT}, max(15, rounds // 8))
    return Growth(
        keys=_ratios({count: _validation(issuer) for count, issuer in sets.items()}, rounds),
        issuers=_ratios({count: _routed(count) for count in ISSUERS}, rounds),
        tokens=_ratios({count: _hit(sets[1], count) for count in TOKENS}, rounds),
        build={count: built[str(count)].quick for count in BUILT},
        key_bytes=_bytes(lambda: KeySet.from_jwks(documents[500])) / 500,
        token_bytes=_token_bytes(sets[1]),
    )


def _issuer(keys: int) -> FakeIssuer:
    """Return an issuer of so many keys; all but the first are copies of a few under other kids, since keys are slow to make."""
    issuer = FakeIssuer("https://issuer.test", algorithm="RS256", audience=AUDIENCE)
    for number in range(1, keys):
        # Another modulus under another kid: odd and of full length is all that a public key is judged by.
        issuer.add_entry(_entry(number))
    return issuer


def _entry(number: int) -> dict[str, Any]:
    modulus = int.from_bytes(os.urandom(256)) | 1 | 1 << 2047
    return {"kty": "RSA", "kid": f"spare-{number}", "use": "sig", "alg": "RS256", "e": "AQAB", "n": base64url.encode(modulus.to_bytes(256))}


def _validation(issuer: FakeIssuer) -> Callable[[], object]:
    validator, token = TokenValidator(issuer.issuer, audience=AUDIENCE, fetcher=issuer.fetcher()), token_of(issuer, USUAL)
    validator.validate(token)
    return partial(validator.validate, token)


def _routed(count: int) -> Callable[[], object]:
    issuers = [FakeIssuer(f"https://issuer{number}.test", audience=AUDIENCE) for number in range(count)]
    router = IssuerRouter(*(TokenValidator(issuer.issuer, audience=AUDIENCE, fetcher=issuer.fetcher()) for issuer in issuers))
    token = issuers[-1].token()
    router.validate(token)
    return partial(router.validate, token)


def _hit(issuer: FakeIssuer, count: int) -> Callable[[], object]:
    validator = TokenValidator(issuer.issuer, audience=AUDIENCE, fetcher=issuer.fetcher(), token_cache_size=2 * count)
    token = token_of(issuer, USUAL)
    validator.validate(token)
    _fill(validator, token, count)
    return partial(validator.validate, token)


def _fill(validator: TokenValidator, token: str, count: int) -> None:
    """Remember as many tokens as if each had been signed and accepted: only their names differ, and the bytes of each are its own."""
    cache: Any = validator._tokens  # noqa: SLF001 - signing a hundred thousand tokens would take minutes and add nothing
    (entry,) = cache._young.values()  # noqa: SLF001
    kind = type(entry)
    for _ in range(count):
        copy = kind(bytes(bytearray(entry.payload)), entry.header, entry.key, entry.start, entry.end)
        cache._put(os.urandom(32), copy)  # noqa: SLF001
    validator.validate(token)


def _ratios(calls: dict[int, Callable[[], object]], rounds: int) -> dict[int, float]:
    series = interleaved({str(count): Contestant(call) for count, call in calls.items()}, rounds)
    smallest = series[str(min(calls))]
    return {count: series[str(count)].ratio_to(smallest) for count in calls}


def _token_bytes(issuer: FakeIssuer) -> float:
    validator = TokenValidator(issuer.issuer, audience=AUDIENCE, fetcher=issuer.fetcher(), token_cache_size=20_000)
    token = token_of(issuer, USUAL)
    validator.validate(token)
    return _bytes(lambda: _fill(validator, token, 5_000)) / 5_000


def _bytes(call: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = call()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before + 0 * (kept is None)
    finally:
        tracemalloc.stop()

"""A hundred thousand mutated tokens: only the unmodified text is accepted, and nothing but our errors comes out.

The seed is fixed, so that a find can be found again. Ed25519 signs in one way only, so that no changed text can be good by chance.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator

from tests.unit.material import AUDIENCE

from keyturn import InvalidTokenError, StaticKeySet, TokenValidator
from keyturn.testing import FakeClock, FakeIssuer

COUNT = 100_000
SEED = 20_261_121
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
ODD = '.=+/ \n\0\x7f"{}[]:,\\%\u00e9\u20ac\ud800\U0001f511'


def _place(text: str, chance: random.Random) -> int:
    return int(chance.random() * len(text))


def _changed(text: str, chance: random.Random) -> str:
    place = _place(text, chance)
    return text[:place] + chance.choice(ALPHABET) + text[place + 1 :]


def _odd(text: str, chance: random.Random) -> str:
    place = _place(text, chance)
    return text[:place] + chance.choice(ODD) + text[place + 1 :]


def _inserted(text: str, chance: random.Random) -> str:
    place = _place(text, chance)
    return text[:place] + chance.choice(ALPHABET + ODD) + text[place:]


def _removed(text: str, chance: random.Random) -> str:
    place = _place(text, chance)
    return text[:place] + text[place + 1 + int(chance.random() * 4) :]


def _doubled(text: str, chance: random.Random) -> str:
    first, second = sorted((_place(text, chance), _place(text, chance)))
    return text[:second] + text[first:]


def _swapped(text: str, chance: random.Random) -> str:
    first, second = _place(text, chance), _place(text, chance)
    letters = list(text)
    letters[first], letters[second] = letters[second], letters[first]
    return "".join(letters)


def _bit(text: str, chance: random.Random) -> str:
    """Change one bit of one sextet, the unused ones among them."""
    place = _place(text, chance)
    if text[place] not in ALPHABET:
        return text[:place] + text[place + 1 :]
    return text[:place] + ALPHABET[ALPHABET.index(text[place]) ^ (1 << int(chance.random() * 6))] + text[place + 1 :]


MUTATIONS: tuple[Callable[[str, random.Random], str], ...] = (_changed, _bit, _odd, _inserted, _removed, _doubled, _swapped)


def mutants(bases: list[str], chance: random.Random) -> Iterator[str]:
    """Yield texts made of *bases*: mutated once, twice, or put together from the segments of two."""
    segments = [base.split(".") for base in bases]
    for number in range(COUNT):
        if number % 10 == 0:
            yield ".".join(chance.choice(segments)[part] for part in range(3))
            continue
        text = chance.choice(bases)
        for _ in range(1 + (number % 2 == 0)):
            text = chance.choice(MUTATIONS)(text, chance) or "."
        yield text


def test_only_the_unmodified_text_is_accepted() -> None:
    """Every accepted text is one that was signed, and every refusal is one of 401 (I1, I5)."""
    clock = FakeClock()
    issuer = FakeIssuer(clock=clock, algorithm="Ed25519")
    issuer.publish("k2")
    bases = [
        issuer.token(),
        issuer.token(subject="bob", key="k2"),
        issuer.token(headers={"kid": None}),
        issuer.token(scopes="a b", roles=["r"], nbf=1, jti="j"),
    ]
    validator = TokenValidator(StaticKeySet.from_jwks(issuer.jwks()), audience=AUDIENCE, issuer=issuer.issuer, clock=clock)
    verdicts: Counter[str] = Counter()
    accepted: set[str] = set()
    for text in mutants(bases, random.Random(SEED)):
        try:
            validator.validate(text)
        except InvalidTokenError as error:
            verdicts[error.code] += 1
        else:
            verdicts["accepted"] += 1
            accepted.add(text)
    assert COUNT == verdicts.total()
    assert set(bases) == accepted
    # The mutations reach every stage: form, algorithm, claims, key and signature.
    assert {"malformed_token", "invalid_signature", "unknown_key", "disallowed_algorithm", "invalid_issuer", "invalid_audience", "accepted"} <= set(
        verdicts
    )

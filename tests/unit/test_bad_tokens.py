"""The catalogue of bad tokens that `keyturn.testing` offers: complete, exact, and each token bad in one way only.

1. A validator with default settings refuses each with exactly the error that the catalogue names, cold and warm.
2. Every class of attacks on tokens is in it, or it says where else that class is tested.
3. Each would be good but for its one fault, and the good token is accepted beside it.
"""

from __future__ import annotations

import base64
import functools
import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from keyturn import InvalidTokenError, KeyturnError, TokenValidator
from keyturn.testing import BAD_TOKENS, BadToken, FakeClock, FakeIssuer
from keyturn.testing.attacks.catalogue import CASES, ELSEWHERE

AUDIENCE = "api://test"
ALGORITHMS = ("ES256", "RS256", "PS256", "Ed25519", "ES512")
CLASSES = 53
"""How many classes of attacks on tokens there are."""

SEVERAL = {
    "no-signature": {"signature"},
    "alg-none": {"header.alg", "signature"},
    "alg-none-spelled": {"header.alg", "signature"},
    "alg-none-left-over": {"header.alg", "signature"},
}
"""Bad tokens of three readable segments that differ from the good one in the signature on purpose."""


@functools.cache
def issuer_of(algorithm: str) -> FakeIssuer:
    """Return an issuer that signs with *algorithm*; nobody changes it once its catalogue was made."""
    return FakeIssuer(clock=FakeClock(), algorithm=algorithm)


@functools.cache
def catalogue(algorithm: str) -> dict[str, BadToken]:
    """Return the catalogue of that issuer, by name."""
    return {bad.name: bad for bad in issuer_of(algorithm).bad_tokens()}


def validator_of(issuer: FakeIssuer) -> TokenValidator:
    """Return a validator as a user would build it."""
    return TokenValidator(issuer.issuer, audience=AUDIENCE, fetcher=issuer.fetcher(), clock=issuer.clock)


def verdict(validator: TokenValidator, token: str) -> type[KeyturnError] | None:
    """Return the class of error that a token meets, or None if it was accepted."""
    try:
        validator.validate(token)
    except KeyturnError as error:
        return type(error)
    return None


def read(token: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return header and claims, or None for a token that has no three segments with objects in them."""
    segments = token.split(".")
    if len(segments) != 3:
        return None
    try:
        header, claims = (json.loads(base64.b64decode(s + "=" * (-len(s) % 4), altchars=b"-_", validate=True)) for s in segments[:2])
    except (ValueError, RecursionError):
        return None
    return (header, claims) if isinstance(header, dict) and isinstance(claims, dict) else None


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", BAD_TOKENS)
def test_refused_cold_and_warm(name: str, algorithm: str) -> None:
    """Each is refused with exactly its error by the first and by a later call, and the good token passes beside it (1, 3)."""
    issuer, bad = issuer_of(algorithm), catalogue(algorithm)[name]
    validator = validator_of(issuer)
    assert bad.error is verdict(validator, bad.token)
    assert verdict(validator, issuer.token()) is None
    assert bad.error is verdict(validator, bad.token)


@pytest.mark.parametrize("publish", [True, False])
def test_whole_catalogue_against_one_validator(publish: bool) -> None:
    """One long-lived validator refuses all of them one after the other, whatever came before, and stays ready."""
    issuer = FakeIssuer(clock=FakeClock())
    bad_tokens = issuer.bad_tokens(publish=publish)
    validator = validator_of(issuer)
    wrong = {bad.name: got for bad in bad_tokens if (got := verdict(validator, bad.token)) is not bad.error}
    assert ({}, None) == (wrong, verdict(validator, issuer.token()))


def test_without_publishing_nothing_is_published() -> None:
    """`publish=False` leaves the key set alone, and the tokens out that need an entry; otherwise they are published once."""
    issuer = FakeIssuer(clock=FakeClock())
    before = issuer.jwks()
    names = {bad.name for bad in issuer.bad_tokens(publish=False)}
    assert before == issuer.jwks()
    needing = {case.name for case in CASES if case.needs_entry}
    assert (needing, set()) == (set(BAD_TOKENS) - names, needing & names)

    everything = issuer.bad_tokens()
    published = issuer.jwks()
    assert ([], len(published["keys"])) == ([bad.name for bad in everything if bad.needs_entry is not (bad.name in needing)], len(before["keys"]) + 7)
    issuer.bad_tokens()
    assert published == issuer.jwks()


def test_entries_are_published_again_after_a_cut_over() -> None:
    """A cut-over clears the set; the catalogue that is asked for next is complete again, with the new key."""
    issuer = FakeIssuer(clock=FakeClock())
    issuer.bad_tokens()
    issuer.cut_over("k2")
    bad = issuer.bad_token("pss-mask")
    assert (8, bad.error) == (len(issuer.jwks()["keys"]), verdict(validator_of(issuer), bad.token))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_bad_in_one_way(algorithm: str) -> None:
    """A bad token that can be read differs from the good one in the header, in the claims, or in the signature, not in several (3)."""
    issuer = issuer_of(algorithm)
    good = read(issuer.token())
    assert good is not None
    for bad in catalogue(algorithm).values():
        parts = read(bad.token)
        if parts is None or bad.name in SEVERAL:
            continue
        places = [index for index in range(2) if parts[index] != good[index]]
        assert len(places) <= 1, bad.name


def named_alike() -> FakeIssuer:
    """Return an issuer with two keys whose kids differ by case."""
    issuer = FakeIssuer(clock=FakeClock())
    issuer.publish("K1")
    return issuer


def without_kid() -> FakeIssuer:
    """Return an issuer whose one key has no kid."""
    issuer = FakeIssuer(clock=FakeClock())
    issuer.cut_over("k2", kid=None)
    return issuer


UNLUCKY: dict[str, Callable[[], FakeIssuer]] = {
    "an audience of digits": lambda: FakeIssuer(clock=FakeClock(), audience="281474976710656"),
    "the other audience": lambda: FakeIssuer(clock=FakeClock(), audience="api://other.test"),
    "a star": lambda: FakeIssuer(clock=FakeClock(), audience="*"),
    "audiences that begin alike": lambda: FakeIssuer(clock=FakeClock(), audience=["api://test", "api://tes"]),
    "audiences in two cases": lambda: FakeIssuer(clock=FakeClock(), audience=["api://test", "API://TEST"]),
    "the other issuer": lambda: FakeIssuer("https://other.test", clock=FakeClock()),
    "an issuer in capitals": lambda: FakeIssuer("HTTPS://ISSUER.TEST", clock=FakeClock()),
    "nobody": lambda: FakeIssuer(clock=FakeClock(), kid="nobody"),
    "attacker": lambda: FakeIssuer(clock=FakeClock(), kid="attacker"),
    "kids in two cases": named_alike,
    "no kid": without_kid,
}
"""Issuers whose names the catalogue might take for those of others."""


@pytest.mark.parametrize("name", UNLUCKY)
def test_a_wrong_name_is_wrong_at_every_issuer(name: str) -> None:
    """Whatever an issuer, its audiences and its keys are called, no bad token of it is a good one (1, 3)."""
    issuer = UNLUCKY[name]()
    bad_tokens = issuer.bad_tokens()
    validator = TokenValidator(issuer.issuer, audience=issuer.audience, fetcher=issuer.fetcher(), clock=issuer.clock)
    wrong = {bad.name: got for bad in bad_tokens if (got := verdict(validator, bad.token)) is not bad.error}
    assert ({}, None) == (wrong, verdict(validator, issuer.token()))


def test_made_in_one_instant() -> None:
    """A step of the rollover on another thread waits until the catalogue is made, so that all of it is for one key."""
    held: list[bool] = []

    class Busy(FakeClock):
        def wall(self) -> float:
            if threads and threads[0].ident is None:
                threads[0].start()
                threads[0].join(0.05)
                held.append(threads[0].is_alive())
            return super().wall()

    threads: list[threading.Thread] = []
    issuer = FakeIssuer(clock=Busy())
    threads.append(threading.Thread(target=issuer.cut_over, args=("k2",)))
    issuer.bad_tokens()
    threads[0].join()
    assert ([True], ("k2",)) == (held, issuer.published_kids)


def test_entries_are_published_once_whoever_asks() -> None:
    """Callers on several threads publish the entries once, and all of their tokens are bad for what they name."""
    issuer = FakeIssuer(clock=FakeClock())
    with ThreadPoolExecutor(8) as pool:
        everything = [bad for bad_tokens in pool.map(lambda _: issuer.bad_tokens(), range(8)) for bad in bad_tokens]
    validator = validator_of(issuer)
    assert ([], 8) == ([bad.name for bad in everything if verdict(validator, bad.token) is not bad.error], len(issuer.jwks()["keys"]))


def test_every_class_is_represented() -> None:
    """Each class of attacks on tokens has its bad tokens, or a place where it is tested instead, and never both (2)."""
    named = {name for case in CASES for name in case.classes}
    assert {f"AT{number}" for number in range(1, CLASSES + 1)} == named | set(ELSEWHERE)
    assert set() == named & set(ELSEWHERE)


def test_places_elsewhere_exist() -> None:
    """A file that is named as the place of a test is there."""
    root = Path(__file__).parent.parent.parent
    places = [re.search(r"tests/\S+\.py", where) for where in ELSEWHERE.values()]
    assert [] == [where for where in places if where is None or not (root / where[0]).exists()]


def test_names_are_names() -> None:
    """Names are unique, and short enough for the id of a test; `str()` of a bad token gives its name."""
    assert len(BAD_TOKENS) == len(set(BAD_TOKENS)) == len(catalogue("ES256"))
    assert [] == [name for name in BAD_TOKENS if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) or len(name) > 30]
    assert BAD_TOKENS == tuple(map(str, catalogue("ES256").values()))


def test_what_a_bad_token_says() -> None:
    """Each says why in a sentence, fits into a header field, and shows its token nowhere."""
    for bad in catalogue("ES256").values():
        assert re.fullmatch(r"[A-Z][^\n]+\.", bad.why), bad.name
        assert issubclass(bad.error, InvalidTokenError), bad.name
        assert bad.token.isascii(), bad.name
        assert bad.token.isprintable(), bad.name
        assert bad.token not in repr(bad), bad.name
        assert bad.token[:20] not in repr(bad), bad.name


def test_universal_ones_are_many() -> None:
    """Both kinds are there, so that a service in another language can be judged by the ones that every standard refuses."""
    universal = [bad.name for bad in catalogue("ES256").values() if bad.universal]
    assert {"alg-none", "hmac-pem", "expired", "forged", "other-audience", "other-issuer"} <= set(universal)
    assert {"exp-twice", "too-long", "bound-to-a-key"} <= set(BAD_TOKENS) - set(universal)
    # Whoever supports nested tokens goes on with the inner one (RFC 7519, section 7.2); the salt has one length (RFC 7518, section 3.5).
    assert (False, True) == ("nested" in universal, "pss-salt" in universal)


def test_one_by_name() -> None:
    """One bad token is had by its name, and a name that nobody has is told."""
    issuer = FakeIssuer(clock=FakeClock())
    assert ("expired", True) == attrgetter("name", "universal")(issuer.bad_token("expired"))
    with pytest.raises(ValueError, match='there is no bad token "nonsense"'):
        issuer.bad_token("nonsense")


def test_signing_key_must_be_published() -> None:
    """With a signing key that nobody can find every token would be bad, the good ones too; so that is told (3)."""
    issuer = FakeIssuer(clock=FakeClock())
    issuer.sign_unpublished("k2")
    with pytest.raises(ValueError, match='kid "k2" signs and is not published'):
        issuer.bad_tokens()


def test_times_come_from_the_clock() -> None:
    """The catalogue is made for the time of the issuer's clock."""
    clock = FakeClock()
    issuer = FakeIssuer(clock=clock)
    clock.advance(days=400)
    assert verdict(validator_of(issuer), issuer.bad_token("expired").token) is issuer.bad_token("expired").error

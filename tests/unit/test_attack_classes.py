"""Every class of hostile token against a validator as it is built by default, with nothing switched on.

1. The exact class of error comes out, whether the keys are cold, held, or fixed.
2. What can be told without a key costs no request (R6); anything else costs one refresh, and no other place is asked.
3. Neither message, hint, repr nor pickle of an error holds text of the token, its claims or its signature.
"""

from __future__ import annotations

import functools
import pickle
import re
from typing import Any

import pytest
from tests.unit.attacks import Attack, Attacks
from tests.unit.attacks_on_claims import CLAIMS, junk
from tests.unit.attacks_on_form import FORM
from tests.unit.attacks_on_json import JSON
from tests.unit.attacks_on_signatures import SIGNATURES
from tests.unit.attacks_on_trust import TRUST
from tests.unit.material import AUDIENCE

from keyturn import ClaimError, InvalidTokenError, KeyturnError, StaticKeySet, TokenValidator
from keyturn.errors import LONGEST_QUOTE
from keyturn.testing import FakeClock, FakeIssuer

ALL: dict[str, Attacks] = {**FORM, **JSON, **TRUST, **SIGNATURES, **CLAIMS}

# What the catalogue leaves to other files: classes that need two issuers, a preset, or that are about all the others.
ELSEWHERE = {"AT31": "test_router.py", "AT50": "the Entra preset", "AT51": "below", "AT52": "below"}

LONGEST_ECHO = 16
"""Characters of a token that may stand in an error: fewer than any segment that says something has."""

LONGEST_READ = 20_000
"""Characters of a token that are searched for echoes: more than any token that is read at all."""


@functools.cache
def cases(name: str) -> tuple[FakeIssuer, list[Attack]]:
    """Return an issuer and the cases of one class against it; nobody changes it afterwards, so one does for all tests."""
    issuer = FakeIssuer(clock=FakeClock())
    return issuer, list(ALL[name](issuer))


def following(issuer: FakeIssuer, **settings: Any) -> TokenValidator:
    """Return a validator as a user would build it."""
    return TokenValidator(issuer.issuer, audience=AUDIENCE, fetcher=issuer.fetcher(), clock=issuer.clock, **settings)


def fixed(issuer: FakeIssuer, **settings: Any) -> TokenValidator:
    """Return a validator over the keys that are published now."""
    return TokenValidator(StaticKeySet.from_jwks(issuer.jwks()), audience=AUDIENCE, issuer=issuer.issuer, clock=issuer.clock, **settings)


def verdict(validator: TokenValidator, attack: Attack) -> KeyturnError | None:
    """Return the error that *attack* meets, or None if it was accepted; anything but a KeyturnError escapes and fails the test."""
    try:
        validator.validate(attack.token)
    except KeyturnError as error:
        return error
    return None


def texts(error: KeyturnError) -> list[str]:
    """Return every text that a log, an answer or an error tracker could take from *error*."""
    return [str(error), repr(error), error.hint, repr(vars(error)), pickle.dumps(error).decode("latin-1")]


def echoes(text: str, token: object) -> list[str]:
    """Return the pieces of *token* that stand in *text*."""
    if not isinstance(token, str):
        return []
    begun = token[:LONGEST_READ]
    words = re.findall(rf"[A-Za-z0-9_.-]{{{LONGEST_ECHO},}}", text)
    pieces = (word[place : place + LONGEST_ECHO] for word in words for place in range(len(word) - LONGEST_ECHO + 1))
    return [piece for piece in pieces if piece in begun and len(set(piece)) > 2]


def check(attack: Attack, error: KeyturnError | None, expected: type[KeyturnError] | None) -> None:
    """Assert that *error* is what *attack* asks for, and tells nothing."""
    __tracebackhide__ = True
    assert expected is (error and type(error)), f"{attack.label}: {error!r}"
    if error is not None:
        assert isinstance(error, InvalidTokenError)
        assert attack.says in f"{error} {error.hint}", f"{attack.label}: {error!r}"
        *plain, pickled = texts(error)
        assert [] == [echo for text in (*plain, pickled) for echo in echoes(text, attack.token)], attack.label
        assert "".join(plain).isprintable(), attack.label


@pytest.mark.parametrize("name", ALL)
def test_a_cold_validator_refuses_it(name: str) -> None:
    """The first token of a process meets the right error, and costs a request only if a key had to be asked for (R6)."""
    issuer, attacks = cases(name)
    for attack in attacks:
        issuer.fetches.clear()
        check(attack, verdict(following(issuer, **attack.settings), attack), attack.error)
        if attack.cheap:
            assert () == issuer.fetches.requests, attack.label
        else:
            assert (1, 1) == (issuer.fetches.discovery, issuer.fetches.jwks), attack.label
            assert {"discovery", "jwks"} == {request.document for request in issuer.fetches.requests}, attack.label


@pytest.mark.parametrize("name", ALL)
def test_a_validator_with_keys_refuses_it(name: str) -> None:
    """The same error comes out where the keys are held, whatever came before it (R7); at most one refresh is spent (R5)."""
    issuer, attacks = cases(name)
    validators: dict[str, TokenValidator] = {}
    for attack in attacks:
        validator = validators.get(repr(attack.settings)) or following(issuer, **attack.settings)
        if not attack.cheap or repr(attack.settings) not in validators:
            validator.client.refresh()  # type: ignore[attr-defined]
        validators[repr(attack.settings)] = validator
        issuer.fetches.clear()
        check(attack, verdict(validator, attack), attack.error)
        assert 0 == issuer.fetches.discovery, attack.label
        assert issuer.fetches.jwks <= (0 if attack.cheap or attack.error is None else 1), attack.label


@pytest.mark.parametrize("name", ALL)
def test_fixed_keys_refuse_it(name: str) -> None:
    """What is no question of rollover is answered alike where nothing rolls over."""
    issuer, attacks = cases(name)
    issuer.fetches.clear()
    for attack in attacks:
        check(attack, verdict(fixed(issuer, **attack.settings), attack), attack.static or attack.error)
    assert () == issuer.fetches.requests


def test_every_class_is_in_the_catalogue() -> None:
    """No class of token is missing, and none is empty (AT1 to AT53)."""
    named = {part for name in ALL for part in name.split(", ")} | set(ELSEWHERE)
    assert set() == {f"AT{number}" for number in range(1, 54)} - named
    assert {} == {name: len(found) for name in ALL if len(found := cases(name)[1]) < 2}


def test_junk_never_costs_a_request() -> None:
    """AT51: 10,000 tokens that fail a cheap check leave the issuer alone, cold and with keys (R6)."""
    issuer = FakeIssuer(clock=FakeClock())
    validator = following(issuer)
    for token in junk(issuer, 10_000):
        with pytest.raises(InvalidTokenError) as caught:
            validator.validate(token)
        assert 401 == caught.value.http_status
    assert () == issuer.fetches.requests

    validator.validate(issuer.token())
    issuer.fetches.clear()
    for token in junk(issuer, 100):
        with pytest.raises(InvalidTokenError):
            validator.validate(token)
    assert () == issuer.fetches.requests


@pytest.mark.parametrize("name", ALL)
def test_an_error_holds_no_claims(name: str) -> None:
    """AT52: whoever catches the error finds texts and numbers in it, and at most 80 characters of the one value that it is about."""
    issuer, attacks = cases(name)
    for attack in attacks:
        error = verdict(fixed(issuer, **attack.settings), attack)
        if error is None:
            continue
        assert {str, int, type(None)} >= {type(value) for value in vars(error).values()}, attack.label
        assert all(isinstance(argument, str) for argument in error.args), attack.label
        if isinstance(error, ClaimError):
            assert len(error.actual) <= LONGEST_QUOTE, attack.label


def test_the_echo_check_sees_an_echo() -> None:
    """The check of rule 3 would notice a piece of a token in a text."""
    token = FakeIssuer(clock=FakeClock()).token()
    assert echoes(f"the token {token[40:70]} is bad", token)
    assert [] == echoes("the token is bad", token)

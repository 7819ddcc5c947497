"""What a validator remembers of headers: after a good signature alone, for one generation, 64 at most."""

from __future__ import annotations

import pytest
from tests.unit.material import AUDIENCE

from keyturn import InvalidSignatureError, KeyturnError, TokenValidator
from keyturn._core.jwk import SigningKey
from keyturn._core.signatures import Verify
from keyturn._headers import MOST_HEADERS, Headers
from keyturn.testing import FakeClock, FakeIssuer

TEXT = {"alg": "ES256"}


def known(validator: TokenValidator) -> int:
    """Return how many headers *validator* knows of its keys as they are."""
    return len(validator._headers.known(validator._keeper.memory))


def judge(issuer: FakeIssuer) -> TokenValidator:
    """Return a validator that has accepted one token."""
    validator = TokenValidator(issuer.issuer, audience=AUDIENCE, fetcher=issuer.fetcher(), clock=issuer.clock)
    validator.validate(issuer.token())
    return validator


def test_the_least_recently_used_leaves_first() -> None:
    """At most 64 are kept, and what was used a moment ago stays."""
    headers, memory = Headers(), object()
    for number in range(MOST_HEADERS):
        headers.remember(b"%d" % number, TEXT, (), memory)
    headers.touch(headers.known(memory)[b"0"])
    headers.remember(b"one more", TEXT, (), memory)
    assert MOST_HEADERS == len(headers.known(memory))
    assert {b"0", b"2", b"one more"} <= set(headers.known(memory))
    assert b"1" not in headers.known(memory)


def test_another_generation_knows_nothing() -> None:
    """What was learned of one key set is not used with another (R12)."""
    headers, memory = Headers(), object()
    headers.remember(b"a", TEXT, (), memory)
    assert {} == headers.known(object())
    headers.remember(b"b", TEXT, (), other := object())
    assert [b"b"] == list(headers.known(other))
    assert {} == headers.known(memory)


def test_a_header_that_could_be_altered_is_not_kept() -> None:
    """A list inside would be shared with whoever got the token before."""
    headers, memory = Headers(), object()
    headers.remember(b"a", {"alg": "ES256", "x": ["y"]}, (), memory)
    assert {} == headers.known(memory)


def test_a_forged_token_enters_nothing() -> None:
    """Only a good signature lets a header in, so that no attacker fills the memory."""
    issuer = FakeIssuer(clock=FakeClock())
    validator = judge(issuer)
    for number in range(5):
        with pytest.raises(KeyturnError):
            validator.validate(issuer.forge(headers={"x": str(number)}))
    assert 1 == known(validator)


@pytest.mark.parametrize("headers", [{}, {"kid": None}, {"x": "y"}], ids=["kid", "no kid", "another member"])
def test_a_known_header_is_parsed_once(headers: dict[str, str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The second token with the same header is spared its parsing, with a kid and without."""
    issuer = FakeIssuer(clock=FakeClock())
    validator = judge(issuer)
    validator.validate(issuer.token(headers=headers))
    read = []
    monkeypatch.setattr("keyturn._core.token.check_header", lambda *parts: read.append(parts))
    validator.validate(issuer.token(headers=headers, subject="bob"))
    assert [] == read


@pytest.mark.parametrize("change", ["publish", "revoke", "reinstate"])
def test_every_change_of_the_set_empties_it(change: str) -> None:
    """A new key, a revocation and its withdrawal each begin a generation."""
    issuer = FakeIssuer(clock=FakeClock())
    issuer.publish("spare")
    validator = judge(issuer)
    if change == "reinstate":
        validator.client.revoke(kid="spare")
        validator.validate(issuer.token())
    assert 1 == known(validator)
    if change == "publish":
        issuer.publish("k2")
        validator.client.refresh()
    else:
        getattr(validator.client, change)(kid="spare")
    assert 0 == known(validator)
    validator.validate(issuer.token())
    assert 1 == known(validator)


def test_a_forged_token_is_tried_once_under_each_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a held key refused is not asked again before the answer: a flood of forged tokens costs one verification each (C38)."""
    issuer = FakeIssuer(clock=FakeClock())
    tried = []
    bind = SigningKey.verifier

    def counting(key: SigningKey, algorithm: str) -> Verify:
        verify = bind(key, algorithm)

        def verify_and_count(signature: bytes, signing_input: bytes) -> bool:
            tried.append(key)
            return verify(signature, signing_input)

        return verify_and_count

    monkeypatch.setattr(SigningKey, "verifier", counting)
    validator = judge(issuer)
    with pytest.raises(InvalidSignatureError):
        validator.validate(issuer.forge())
    tried.clear()
    with pytest.raises(InvalidSignatureError):
        validator.validate(issuer.forge())
    assert 1 == len(tried)


def test_issuers_with_equal_kids_share_nothing() -> None:
    """What was learned of one issuer's key vouches for nobody else, although both publish it under one name (R15)."""
    clock = FakeClock()
    ours, theirs = (FakeIssuer(f"https://{name}.test", clock=clock) for name in ("ours", "theirs"))
    ours.publish("other")
    ours.promote("other")
    ours_judge, theirs_judge = judge(ours), judge(theirs)
    theirs_judge.validate(theirs.token())
    for _ in range(2):
        with pytest.raises(InvalidSignatureError):
            ours_judge.validate(theirs.token(iss=ours.issuer))

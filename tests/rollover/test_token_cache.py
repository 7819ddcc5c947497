"""The token cache: it spares a signature, and nothing else. A hit is judged like any other use of its key."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
from dataclasses import replace
from typing import Any

import pytest
from tests.rollover.helpers import DAY, HOUR, World

from keyturn import (
    ConfigurationError,
    ExpiredTokenError,
    InvalidAudienceError,
    InvalidSignatureError,
    KeysUnavailableError,
    NotYetValidError,
    RevokedKeyError,
    StaticKeySet,
    TokenValidator,
    UnknownKeyError,
)
from keyturn._core.jwk import SigningKey

AUDIENCE = "api://test"


class Counted:
    """A world whose validator has a token cache, and a count of the signatures that were verified."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, size: int = 100, **settings: Any) -> None:
        self.world = World(draw=1.0)
        self.world.validator = TokenValidator(self.world.client, audience=AUDIENCE, token_cache_size=size, **settings)
        self.verified = 0
        bind = SigningKey.verifier

        def counting(key: SigningKey, algorithm: str) -> Any:
            verify = bind(key, algorithm)

            def verify_and_count(signature: bytes, signing_input: bytes) -> bool:
                self.verified += 1
                return verify(signature, signing_input)

            return verify_and_count

        monkeypatch.setattr(SigningKey, "verifier", counting)
        checked = SigningKey.verifies

        def verifies(key: SigningKey, algorithm: str, signature: bytes, signing_input: bytes) -> bool:
            self.verified += 1
            return checked(key, algorithm, signature, signing_input)

        monkeypatch.setattr(SigningKey, "verifies", verifies)

    def again(self, token: str) -> int:
        """Validate a good token; return how many signatures that took."""
        before = self.verified
        self.world.accept(token)
        return self.verified - before


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """A world with a cache of a hundred tokens."""
    return Counted(monkeypatch)


@pytest.mark.parametrize("headers", [{}, {"kid": None}], ids=["kid", "no kid"])
def test_the_same_token_again_is_spared_its_signature(counted: Counted, headers: dict[str, Any]) -> None:
    """One signature for any number of uses; the verdicts are equal."""
    token = counted.world.issuer.token(headers=headers, groups=["a"])
    first = counted.world.accept(token)
    assert 0 == counted.again(token) == counted.again(token)
    assert first == counted.world.accept(token)


def test_without_the_setting_nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is off by default."""
    counted = Counted(monkeypatch, size=0)
    token = counted.world.issuer.token()
    counted.world.accept(token)
    assert 1 == counted.again(token)
    assert World().validator._tokens is None


def test_another_token_is_another_one(counted: Counted) -> None:
    """A token is found by all of it: one changed character of claims or signature is another token."""
    token = counted.world.issuer.token()
    counted.world.accept(token)
    assert 1 == counted.again(counted.world.issuer.token(subject="bob"))
    head, _, signature = token.rpartition(".")
    other = ("B" if signature[0] == "A" else "A") + signature[1:]
    assert isinstance(counted.world.refusal(f"{head}.{other}"), InvalidSignatureError)


def test_a_refusal_is_never_remembered(counted: Counted) -> None:
    """A forged token costs its signature each time, and enters nothing."""
    forged = counted.world.issuer.forge()
    counted.world.accept(counted.world.issuer.token())
    for _ in range(3):
        before = counted.verified
        counted.world.refusal(forged)
        assert counted.verified > before
    assert 1 == len(counted.world.validator._tokens)


def test_two_validators_of_one_client_judge_apart(counted: Counted) -> None:
    """What one accepted says nothing to another with a different audience."""
    token = counted.world.issuer.token()
    counted.world.accept(token)
    other = TokenValidator(counted.world.client, audience="api://other", token_cache_size=10)
    for _ in range(2):
        with pytest.raises(InvalidAudienceError):
            other.validate(token)
    assert 0 == counted.again(token)


def test_expiry_ends_it_to_the_instant(counted: Counted) -> None:
    """`exp` and leeway are judged with every use (RFC 7519, section 4.1.4)."""
    world = counted.world
    token = world.issuer.token(lifetime=30)
    world.accept(token)
    world.clock.advance(90 - 2**-10)
    assert 0 == counted.again(token)
    world.clock.advance(2**-10)
    assert isinstance(world.refusal(token), ExpiredTokenError)


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_a_clock_set_back_makes_it_not_yet_valid(counted: Counted, claim: str) -> None:
    """`nbf` and `iat` are judged with every use, whatever the clock did meanwhile (RFC 7519, section 4.1.5)."""
    world = counted.world
    token = world.issuer.token(**{"iat": None, claim: int(world.clock.wall()) + 60})
    world.accept(token)
    world.clock.step_wall(-1)
    assert isinstance(world.refusal(token), NotYetValidError)


def test_it_hits_from_the_first_instant_on(counted: Counted) -> None:
    """A token is good from `nbf` less the leeway on, that instant included, and one without `iat` is good from `nbf` on."""
    world = counted.world
    token = world.issuer.token(iat=None, nbf=int(world.clock.wall()) + 60)
    world.clock.advance(1)
    world.accept(token)
    world.clock.step_wall(-1)
    assert 0 == counted.again(token)
    neither = world.issuer.token(iat=None, nbf=None)
    assert [1, 0] == [counted.again(neither), counted.again(neither)]


@pytest.mark.parametrize(("size", "kept"), [(1, 2), (2, 2), (3, 4), (4, 4)])
def test_an_odd_size_counts_as_the_even_one_above(monkeypatch: pytest.MonkeyPatch, size: int, kept: int) -> None:
    """Each half holds as many, so that the size that was asked for is always there."""
    counted = Counted(monkeypatch, size=size)
    for number in range(10):
        counted.world.accept(counted.world.issuer.token(subject=f"{number}"))
    assert kept == len(counted.world.validator._tokens)


def test_the_longest_token_is_remembered_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may be validated may be remembered, to the last character."""
    longest = len(World().issuer.token())
    counted = Counted(monkeypatch, max_token_bytes=longest)
    token = counted.world.issuer.token()
    assert longest == len(token)
    counted.world.accept(token)
    assert 0 == counted.again(token)


def test_a_revoked_key_is_refused_at_once(counted: Counted) -> None:
    """The operator's word ends every hit (R11), and taking it back lets the token in again."""
    token = counted.world.issuer.token()
    counted.world.accept(token)
    counted.world.client.revoke(kid="k1")
    assert isinstance(counted.world.refusal(token), RevokedKeyError)
    counted.world.client.reinstate(kid="k1")
    counted.world.accept(token)


def test_a_revoked_key_is_refused_after_another_token_was_served(counted: Counted) -> None:
    """A decision that was made for somebody else's key says nothing of this one: each change of the set is a new generation (R11)."""
    world = counted.world
    token = world.issuer.token()
    world.issuer.publish("k2")
    other = world.issuer.token(key="k2")
    world.accept(token)
    world.accept(other)
    assert 0 == counted.again(token)
    world.client.revoke(kid="k1")
    world.accept(other)
    assert isinstance(world.refusal(token), RevokedKeyError)


def test_a_removed_key_ends_with_its_grace(counted: Counted) -> None:
    """A hit holds no longer than its key does (R10)."""
    world = counted.world
    token = world.issuer.token(lifetime=10 * DAY)
    world.accept(token)
    world.issuer.cut_over("k2")
    world.client.refresh()
    world.idle()
    assert 0 == counted.again(token)
    world.clock.advance(2 * HOUR)
    assert isinstance(world.refusal(token), UnknownKeyError)


def test_the_use_of_a_vanished_key_asks_for_it(counted: Counted) -> None:
    """A hit under a key that an answer left out asks in the background, like any verified use (R10)."""
    world = counted.world
    token = world.issuer.token(lifetime=10 * DAY)
    world.accept(token)
    world.issuer.cut_over("k2")
    world.client.refresh()
    world.forget()
    assert 0 == counted.again(token)
    assert 1 == world.requests


def test_hits_alone_keep_the_schedule(counted: Counted) -> None:
    """A day of nothing but hits refreshes on time (R3)."""
    world = counted.world
    token = world.issuer.token(lifetime=10 * DAY)
    world.accept(token)
    world.forget()
    for _ in range(24):
        world.clock.advance(HOUR)
        assert 0 == counted.again(token)
    assert 1 == world.requests


def test_hits_alone_through_an_outage_end_with_the_set(counted: Counted) -> None:
    """Nothing but hits while the issuer is down: served to the last instant of R9, then 503, and nobody asks more than R8 lets."""
    world = counted.world
    token = world.issuer.token(lifetime=10 * DAY)
    world.accept(token)
    world.forget()
    with world.issuer.down(document="both"):
        for _ in range(47):
            world.clock.advance(HOUR)
            assert 0 == counted.again(token)
        world.clock.advance(HOUR - 2**-10)
        assert 0 == counted.again(token)
        world.clock.advance(2**-10)
        assert isinstance(world.refusal(token), KeysUnavailableError)
    assert world.requests <= 30
    world.clock.advance(HOUR)
    world.accept(token)


def test_an_hour_of_hits_in_an_outage_is_served(counted: Counted) -> None:
    """A held key serves through an outage, with the cache as without (I2)."""
    world = counted.world
    token = world.issuer.token(lifetime=DAY)
    world.accept(token)
    with world.issuer.down(document="both"):
        for _ in range(60):
            world.clock.advance(60)
            assert 0 == counted.again(token)


def test_a_key_with_the_same_name_and_other_rules_is_asked_again(counted: Counted) -> None:
    """The same material that is now published for another algorithm no longer vouches for the token (RFC 8725, section 3.1)."""
    world = counted.world
    world.accept(world.issuer.token())
    (held,) = world.client.snapshot().keys
    assert world.client._keeper.holds(held)
    assert not world.client._keeper.holds(replace(held, algorithms=frozenset({"ES384"})))
    assert not world.client._keeper.holds(replace(held, issuer="https://other.test"))


def test_a_result_that_was_altered_alters_no_other(counted: Counted) -> None:
    """Claims are read anew for each caller."""
    token = counted.world.issuer.token(groups=["a"])
    for _ in range(3):
        validated = counted.world.accept(token)
        assert ["a"] == validated.claims["groups"]
        validated.claims["groups"].append("admin")
        with pytest.raises(TypeError):
            validated.claims["sub"] = "root"  # type: ignore[index]


def test_what_is_handed_out_again_is_a_token_like_any_other(counted: Counted) -> None:
    """Its claims are parsed when one is asked for; it compares, prints and travels between processes as the first one does."""
    token = counted.world.issuer.token(groups=["a"])
    first, again = counted.world.accept(token), counted.world.accept(token)
    assert first == again
    assert hash(first) == hash(again)
    assert repr(first) == repr(again)
    assert first == pickle.loads(pickle.dumps(again)) == copy.deepcopy(again)
    assert ["a"] == again.claims["groups"]
    with pytest.raises(AttributeError, match="tenant"):
        _ = again.tenant
    with pytest.raises(AttributeError, match="cannot be changed"):
        again._parts = first._parts


def test_a_header_that_could_be_altered_is_not_kept(counted: Counted) -> None:
    """A list in a header would be shared, so such a token is validated each time."""
    token = counted.world.issuer.token(headers={"x": ["y"]})
    counted.world.accept(token)
    assert 1 == counted.again(token)


def test_a_nonce_is_compared_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A nonce belongs to one login: a token that comes with one passes the cache by."""
    counted = Counted(monkeypatch, token_type="id")
    token = counted.world.issuer.token(nonce="n")
    for _ in range(2):
        counted.world.validator.validate(token, nonce="n")
        with pytest.raises(Exception, match="nonce"):
            counted.world.validator.validate(token, nonce="m")
    assert 0 == len(counted.world.validator._tokens)


def test_it_is_bounded_and_keeps_what_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most so many tokens; one that is used all the time stays."""
    counted = Counted(monkeypatch, size=10)
    kept = counted.world.issuer.token()
    counted.world.accept(kept)
    for number in range(40):
        counted.world.accept(counted.world.issuer.token(subject=str(number)))
        assert 0 == counted.again(kept)
        assert len(counted.world.validator._tokens) <= 10


def test_it_holds_no_text_of_a_token(counted: Counted) -> None:
    """Neither names nor entries hold the token or its signature."""
    token = counted.world.issuer.token()
    counted.world.accept(token)
    signature = token.rpartition(".")[2]
    tokens = counted.world.validator._tokens
    held = [*tokens._young, *(getattr(entry, name) for entry in tokens._young.values() for name in entry.__slots__)]
    assert not [value for value in map(repr, held) if signature in value or token in value]


def test_an_entry_of_a_usual_token_takes_less_than_a_kilobyte(counted: Counted) -> None:
    """What one more token of 1.3 kB adds: its name, its payload, its entry and its place in the table."""
    issuer = counted.world.issuer
    note = "n" * 450
    token = issuer.token(note=note)
    counted.world.accept(token)
    entry = next(iter(counted.world.validator._tokens._young.values()))
    table = (sys.getsizeof(dict.fromkeys(range(1000))) - sys.getsizeof({})) / 1000
    name = sys.getsizeof(b"n" * 32)
    own = sys.getsizeof(entry) + sys.getsizeof(entry.payload) + sys.getsizeof(entry.start) + sys.getsizeof(entry.end)
    assert 800 <= len(token)
    assert name + own + table + 16 <= 1_000


@pytest.mark.parametrize("size", [-1, 1_000_001, "many", True, None])
def test_a_size_that_is_none_is_refused(size: Any) -> None:
    """The setting is judged at construction."""
    with pytest.raises(ConfigurationError, match="setting: token_cache_size"):
        TokenValidator("https://issuer.test", audience=AUDIENCE, token_cache_size=size)


def test_a_source_that_is_asked_each_time_has_none() -> None:
    """Fixed keys and sources of the user's are asked with every token: there a cache would be an option that does nothing."""
    world = World()
    with pytest.raises(ConfigurationError, match="expected a KeySetClient"):
        TokenValidator(StaticKeySet.from_jwks(world.issuer.jwks()), issuer=world.issuer.issuer, audience=AUDIENCE, token_cache_size=1)


@pytest.mark.parametrize("odd", [None, 3, b"x", "\u00e9", "", "a.b.c", "\ud800"])
def test_what_is_no_token_is_refused_as_ever(counted: Counted, odd: Any) -> None:
    """The cache leaves every refusal to the reading."""
    plain = World()
    assert plain.refusal(odd).code == counted.world.refusal(odd).code


def test_threads_share_it(counted: Counted) -> None:
    """Many threads with many tokens, while keys change: every verdict is right, and the bound holds."""
    world = counted.world
    tokens = [world.issuer.token(subject=str(number)) for number in range(150)]
    world.accept(tokens[0])
    wrong: list[object] = []

    def work(offset: int) -> None:
        for number in range(300):
            mine = (number * 7 + offset) % 150
            if world.validator.validate(tokens[mine]).subject != str(mine):
                wrong.append(mine)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == wrong
    # A thread that comes between another's look and its entry may add one.
    assert len(world.validator._tokens) <= 100 + len(threads)

"""The memories of the token path when others come between: a revocation and a new generation, a set past due, a text without end."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable

import pytest
from tests.rollover.helpers import DAY, World
from tests.unit.material import AUDIENCE

from keyturn import MalformedTokenError, RevokedKeyError, RolloverPolicy, TokenValidator, UnknownKeyError
from keyturn._core.strict_json import MAX_DEPTH, NotStrictJSONError, parse_token_part
from keyturn._headers import MOST_HEADERS, Headers, _Generation
from keyturn.testing import FakeClock, FakeIssuer


class Overtaken(Headers):
    """Headers whose generation is read while another thread is at work: it comes in just before a given read."""

    def __init__(self) -> None:
        self.reads_left = -1
        self.comes_in: Callable[[], None] = lambda: None
        super().__init__()

    @property
    def _generation(self) -> _Generation:
        self.reads_left -= 1
        if self.reads_left == 0:
            self.comes_in()
        return self._now

    @_generation.setter
    def _generation(self, generation: _Generation) -> None:
        self._now = generation


@pytest.mark.parametrize("read", [1, 2, 3, 4, 5])
def test_a_header_that_was_overtaken_by_a_revocation_vouches_for_nothing(read: int) -> None:
    """A key that is revoked while its header is being remembered stays refused, wherever another thread's token begins the new generation (R11)."""
    issuer = FakeIssuer(clock=FakeClock())
    issuer.publish("spare")
    validator = TokenValidator(issuer.issuer, audience=AUDIENCE, fetcher=issuer.fetcher(), clock=issuer.clock)
    validator.validate(issuer.token())
    revoked = issuer.token(headers={"x": "y"})
    issuer.promote("spare")
    good = issuer.token()
    validator._headers = headers = Overtaken()

    def comes_in() -> None:
        validator.client.revoke(kid="k1")
        validator.validate(good)

    headers.comes_in, headers.reads_left = comes_in, read
    try:
        validator.validate(revoked)
    except RevokedKeyError:
        assert read <= 2, "what was held when its signature was checked is served"
    if headers.reads_left > 0:
        comes_in()
    for _ in range(2):
        with pytest.raises(RevokedKeyError):
            validator.validate(revoked)


def deep() -> bytes:
    """Return an object that is nested deeper than anything is read."""
    return b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1)


@pytest.mark.parametrize("data", [b'{"a":1.5}', b'{"a":[1.5]}', deep(), deep().replace(b'{"a":', b"[").replace(b"}", b"]")], ids=repr)
def test_what_is_left_to_the_strict_parser_is_not_kept(data: bytes) -> None:
    """Nothing of a text outlives its reading: an error that is raised anew keeps the frames of each time, and their payloads (I5)."""

    def read_many() -> int:
        gc.collect()
        before = len(gc.get_objects())
        for number in range(200):
            with contextlib.suppress(NotStrictJSONError):
                parse_token_part(b'{"n":%d,"x":%b}' % (number, data))
        gc.collect()
        return len(gc.get_objects()) - before

    read_many()
    assert read_many() < 100


@pytest.mark.parametrize("size", [0, 10])
def test_a_cached_token_whose_key_is_gone_costs_one_refresh(size: int) -> None:
    """The refresh of a set past due answers for an unknown key as well, with the cache as without: no second request follows (R3, R4)."""
    world = World(policy=RolloverPolicy(removed_key_grace=0), draw=1.0)
    world.validator = TokenValidator(world.client, audience="api://test", token_cache_size=size)
    token = world.issuer.token(lifetime=10 * DAY)
    world.accept(token)
    world.issuer.cut_over("k2")
    world.forget()
    world.clock.advance(2 * DAY)
    assert isinstance(world.refusal(token), UnknownKeyError)
    assert 1 == world.requests


def test_a_text_that_is_too_long_is_not_even_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Size comes before everything else, the cache among it (C4)."""
    world = World()
    world.validator = TokenValidator(world.client, audience="api://test", token_cache_size=10)
    hashed: list[bytes] = []
    monkeypatch.setattr("keyturn._token_cache.sha256", hashed.append)
    assert isinstance(world.refusal("a" * (world.validator.max_token_bytes + 1)), MalformedTokenError)
    assert [] == hashed


def test_the_bound_of_headers_holds_after_threads_came_between() -> None:
    """Entries over the bound, left by threads that dropped the same oldest one, leave with the next header."""
    headers, memory = Headers(), object()
    headers.remember(b"first", {"alg": "ES256"}, (), memory)
    known = headers._generation.known
    known.update({b"%d" % number: known[b"first"] for number in range(MOST_HEADERS + 5)})
    headers.remember(b"last", {"alg": "ES256"}, (), memory)
    assert MOST_HEADERS == len(known)
    assert b"last" in known

"""The table of verdicts, row by row: what a token gets and what it costs the issuer, by the state of the set.

Each row asserts the error's class, its code, its `retry_after` and the requests for the key set. `retry_after` is in whole seconds,
rounded up, at least 1.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
from tests.rollover.helpers import DAY, TICK, Caller, World, wait_for_callers
from tests.rollover.verdicts import Refused, check, cold, fresh, overdue, stale, too_old

from keyturn import (
    DisallowedAlgorithmError,
    ExpiredTokenError,
    FetchError,
    FetchSucceeded,
    InvalidAudienceError,
    InvalidIssuerError,
    InvalidKeySetError,
    InvalidSignatureError,
    KeysUnavailableError,
    KeyturnError,
    MalformedTokenError,
    MissingClaimError,
    NotYetValidError,
    RevokedKeyError,
    RolloverPolicy,
    TokenTypeError,
    UnknownKeyError,
)
from keyturn.clock import Deadline

ANY = [fresh, stale, overdue, cold, too_old]
UNKNOWN = Refused(UnknownKeyError, "unknown_key")
CHEAP: list[tuple[Callable[[World], str], type[KeyturnError], str]] = [
    (lambda w: "x.y.z", MalformedTokenError, "malformed_token"),
    (lambda w: "", MalformedTokenError, "malformed_token"),
    (lambda w: w.issuer.token(headers={"alg": "HS256", "kid": "new"}), DisallowedAlgorithmError, "disallowed_algorithm"),
    (lambda w: w.issuer.token(headers={"typ": "logout+jwt", "kid": "new"}), TokenTypeError, "wrong_token_type"),
    (lambda w: w.issuer.forge(key="new", iss="https://other.test"), InvalidIssuerError, "invalid_issuer"),
    (lambda w: w.issuer.forge(key="new", audience="api://other"), InvalidAudienceError, "invalid_audience"),
    (lambda w: w.issuer.forge(key="new", lifetime=-61), ExpiredTokenError, "expired_token"),
    (lambda w: w.issuer.forge(key="new", nbf=int(w.clock.wall()) + 61), NotYetValidError, "not_yet_valid"),
    (lambda w: w.issuer.forge(key="new", exp=None), MissingClaimError, "missing_claim"),
]


@pytest.mark.parametrize("state", ANY)
@pytest.mark.parametrize(("token", "kind", "code"), CHEAP)
def test_a_token_that_fails_a_cheap_check(state: Callable[[], World], token: Callable[[World], str], kind: type[KeyturnError], code: str) -> None:
    """In any state: the check's own 401 and nothing for the issuer, though its kid is unknown; never 503 (R6, M39, M45)."""
    world = state()
    check(world, token(world), Refused(kind, code), requests=0)


@pytest.mark.parametrize("state", [fresh, stale])
@pytest.mark.parametrize("named", [True, False])
def test_a_revoked_key(state: Callable[[], World], named: bool) -> None:
    """Verifies under a revoked key, named by its kid or found without one: 401, and nothing for the issuer but what is due (R11)."""
    world = state()
    world.client.revoke(kid="k1")
    headers = {} if named else {"kid": None}
    check(world, world.issuer.token(headers=headers), Refused(RevokedKeyError, "revoked_key"), requests=int(state is stale))
    check(world, world.issuer.token(headers=headers), Refused(RevokedKeyError, "revoked_key"), requests=int(state is stale))


@pytest.mark.parametrize("state", [fresh, stale])
def test_a_kid_revoked_before_its_key(state: Callable[[], World]) -> None:
    """It is looked up like any unknown kid, and refused as revoked if a key of that kid appears, else as unknown."""
    world = state()
    world.client.revoke(kid="k2")
    check(world, world.unknown("k2"), UNKNOWN, requests=1)
    world.clock.advance(300)
    world.issuer.cut_over("k2")
    check(world, world.issuer.token(), Refused(RevokedKeyError, "revoked_key"), requests=2)


def test_held_and_fresh() -> None:
    """Accepted without a request; from the line on one refresh starts in the background and nobody waits for it (R3, M36)."""
    world = World(draw=1.0).warm()
    assert world.verdict(world.issuer.token()) == "accepted"
    world.clock.advance(0.9 * DAY - TICK)
    assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 0)
    world.clock.advance(TICK)
    with world.issuer.gate() as gate:
        for _ in range(3):
            assert world.validator.validate(world.issuer.token())
        assert gate.wait_for_arrival()
        assert world.requests == 1
    world.idle()
    assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 1)


def test_held_and_stale() -> None:
    """Tried since the line: accepted at once, later attempts run in the background by R8."""
    world = stale()
    with world.issuer.down(), world.issuer.gate() as gate:
        assert world.validator.validate(world.issuer.token())
        assert gate.wait_for_arrival()
        gate.open()
        world.idle()
    assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 1)


def test_held_and_overdue() -> None:
    """Not tried since the line: everybody waits for one shared refresh, and is judged after it (M53)."""
    world = overdue()
    with world.issuer.gate() as gate:
        callers = [Caller(lambda: world.validator.validate(world.issuer.token()).key_id) for _ in range(5)]
        assert gate.wait_for_arrival()
        assert all(caller.is_alive() for caller in callers)
        gate.open()
        assert [caller.outcome() for caller in callers] == ["k1"] * 5
    assert world.requests == 1


def test_held_and_overdue_and_gone() -> None:
    """The refresh is judged by: a key that it lacks has only what is left of its 26 h (R10)."""
    world = overdue()
    world.clock.advance(3_600)
    token = world.issuer.token()
    world.issuer.cut_over("k2")
    check(world, token, UNKNOWN, requests=1)


def test_held_and_overdue_while_the_issuer_is_down() -> None:
    """If the refresh fails, the old set serves; the next caller does not wait (R9)."""
    world = overdue()
    with world.issuer.down():
        assert world.verdict(world.issuer.token()) == "accepted"
        assert world.verdict(world.issuer.token()) == "accepted"
    assert world.requests == 1


def test_missing_and_overdue() -> None:
    """The same refresh; if it fails, 503, and if it lacks the key, 401."""
    world = overdue()
    with world.issuer.down():
        check(world, world.unknown("k2"), Refused(FetchError, "fetch_failed", 1), requests=1)
    world = overdue()
    check(world, world.unknown("k2"), UNKNOWN, requests=1)
    world = overdue()
    world.issuer.cut_over("k2")
    assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 1)


def test_missing_and_overdue_joins_and_asks_once_more() -> None:
    """Z10: whoever joined a refresh that ran already gets one more, if that lacks the key and the allowance is there."""
    world = overdue()
    with world.issuer.gate() as gate:
        first = Caller(lambda: world.validator.validate(world.issuer.token(key="k1")))
        assert gate.wait_for_arrival()
        world.issuer.cut_over("k2")
        second = Caller(lambda: world.validator.validate(world.issuer.token()).key_id)
        wait_for_callers(world, 1)
        gate.open()
        assert second.outcome() == "k2"
        assert first.outcome().key_id == "k1"
    world.idle()
    assert [event.reason for event in world.told(FetchSucceeded)] == ["schedule", "unknown_key"]


@pytest.mark.parametrize("state", [fresh, stale])
def test_missing_and_found(state: Callable[[], World]) -> None:
    """Allowance there, or a failed refresh owed and its backoff over: one refresh, and the same request is accepted (R4)."""
    world = state()
    world.issuer.cut_over("k2")
    assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 1)


@pytest.mark.parametrize("state", [fresh, stale])
def test_missing_and_not_found(state: Callable[[], World]) -> None:
    """The look-up succeeded: 401 without `retry_after`, since asking again would not help."""
    world = state()
    check(world, world.unknown("k2"), UNKNOWN, requests=1)


@pytest.mark.parametrize("state", [fresh, stale])
def test_missing_and_the_lookup_fails(state: Callable[[], World]) -> None:
    """503 with the failure's own code, and when to come again: an outage is never told as a bad token (M44)."""
    pause = 1 if state is fresh else 2
    world = state()
    world.draw = 1.0
    with world.issuer.down():
        check(world, world.unknown("k2"), Refused(FetchError, "fetch_failed", pause), requests=1)
    world = state()
    world.draw = 1.0
    with world.issuer.answer(b'{"keys": []}'):
        check(world, world.unknown("k2"), Refused(InvalidKeySetError, "invalid_key_set", pause), requests=1)
    world = state()
    with world.issuer.down(429, retry_after=120):
        check(world, world.unknown("k2"), Refused(FetchError, "fetch_failed", 120), requests=1)


def test_a_failed_refresh_is_owed_whatever_the_allowance_says() -> None:
    """Z4: the lookup failed and has spent its allowance; after the backoff the next token is looked up again."""
    world = fresh()
    with world.issuer.down():
        check(world, world.unknown("k2"), Refused(FetchError, "fetch_failed", 1), requests=1)
    world.issuer.cut_over("k2")
    world.clock.advance(1)
    assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 2)


@pytest.mark.parametrize("state", [fresh, stale])
def test_too_many_wait(state: Callable[[], World]) -> None:
    """The hundred and first caller is answered at once: 401 with `retry_after` 1, after a failure 503 (R4, B24, M55)."""
    world = state()
    with world.issuer.gate() as gate:
        callers = [Caller(lambda: world.verdict(world.unknown("k2"))) for _ in range(100)]
        wait_for_callers(world, 100)
        expected = Refused(UnknownKeyError, "unknown_key", 1) if state is fresh else Refused(KeysUnavailableError, "keys_unavailable", 1)
        with pytest.raises(expected.kind) as refused:
            world.validator.validate(world.unknown("k2"))
        assert (refused.value.code, refused.value.retry_after, world.requests) == (expected.code, 1, 1)
        assert world.validator.validate(world.issuer.token())
        gate.open()
        assert {caller.outcome() for caller in callers} == {"unknown_key"}
    # Those who joined the schedule's refresh get one more (Z10).
    assert world.requests == 1 + (state is stale)


def test_cold_nobody_is_too_many() -> None:
    """Start-up has no bound on its waiters (Z20): all wait for one refresh."""
    world = World(RolloverPolicy(max_waiting=2))
    with world.issuer.gate() as gate:
        callers = [Caller(lambda: world.validator.validate(world.issuer.token()).key_id) for _ in range(10)]
        wait_for_callers(world, 10)
        gate.open()
        assert [caller.outcome() for caller in callers] == ["k1"] * 10
    assert world.requests == 1


@pytest.mark.parametrize("state", [fresh, stale])
def test_missing_and_the_allowance_spent(state: Callable[[], World]) -> None:
    """401 with what is left of the allowance, and a refresh is owed (R5, B5)."""
    world = state()
    world.client.refresh()
    check(world, world.unknown("k8"), UNKNOWN, requests=2)
    world.clock.advance(100.5)
    check(world, world.unknown("k9"), Refused(UnknownKeyError, "unknown_key", 200), requests=2)
    world.clock.advance(199.5 - TICK)
    check(world, world.unknown("k9"), Refused(UnknownKeyError, "unknown_key", 1), requests=2)
    assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 2)
    world.clock.advance(TICK)
    assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 3)


def test_missing_and_inside_its_pause() -> None:
    """401 with what is left of the kid's pause; nothing is owed for it (R13)."""
    world = fresh()
    check(world, world.unknown("k9"), UNKNOWN, requests=1)
    world.clock.advance(300)
    check(world, world.unknown("k9"), UNKNOWN, requests=2)
    world.clock.advance(450)
    check(world, world.unknown("k9"), Refused(UnknownKeyError, "unknown_key", 150), requests=2)
    assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 2)


@pytest.mark.parametrize("state", [fresh, stale])
def test_missing_and_the_backoff_runs(state: Callable[[], World]) -> None:
    """503 at once with what is left of the backoff, and no request (R8)."""
    world = state()
    with world.issuer.down(retry_after=60):
        world.refusal(world.unknown("k2"))
        world.clock.advance(20.5)
        check(world, world.unknown("k2"), Refused(KeysUnavailableError, "keys_unavailable", 40), requests=1)


def joined(world: World, token: str) -> str:
    """Return the verdict on a token that waits for whatever refresh there is: its own, or the one that was due."""
    with world.issuer.gate() as gate:
        caller = Caller(lambda: world.verdict(token))
        wait_for_callers(world, 1)
        assert gate.wait_for_arrival()
        gate.open()
        return str(caller.outcome())


@pytest.mark.parametrize("state", [fresh, stale])
def test_bad_signature_under_a_held_kid(state: Callable[[], World]) -> None:
    """Z11: one refresh; 401 `invalid_signature` if the set did not change."""
    world = state()
    assert (joined(world, world.issuer.forge()), world.requests) == ("invalid_signature", 1)


@pytest.mark.parametrize("outage", [False, True])
def test_bad_signature_under_a_held_kid_that_may_not_ask(outage: bool) -> None:
    """Z11: the set answers for that kid, also if the refresh failed or must wait: 401 without `retry_after`."""
    world = fresh()
    with world.issuer.down() if outage else nullcontext():
        for _ in range(3):
            check(world, world.issuer.forge(), Refused(InvalidSignatureError, "invalid_signature"), requests=1)


@pytest.mark.parametrize("outage", [False, True])
def test_bad_signature_without_a_kid(outage: bool) -> None:
    """Z11: nothing answers for it, so 503 after a failure, and `retry_after` while the allowance is spent."""
    world = fresh()
    token = world.issuer.forge(headers={"kid": None})
    if outage:
        with world.issuer.down():
            check(world, token, Refused(FetchError, "fetch_failed", 1), requests=1)
            check(world, token, Refused(KeysUnavailableError, "keys_unavailable", 1), requests=1)
    else:
        check(world, token, Refused(InvalidSignatureError, "invalid_signature"), requests=1)
        check(world, token, Refused(InvalidSignatureError, "invalid_signature", 300), requests=1)


@pytest.mark.parametrize("headers", [{}, {"kid": None}])
@pytest.mark.parametrize("state", [fresh, stale])
def test_new_material(state: Callable[[], World], headers: dict[str, None]) -> None:
    """Z11: accepted with the new material after one refresh, with or without a kid."""
    world = state()
    world.issuer.replace_material("k1")
    assert (joined(world, world.issuer.token(headers=headers)), world.requests) == ("accepted", 1)


@pytest.mark.parametrize("state", [fresh, stale, cold, too_old])
def test_the_callers_deadline_is_over_first(state: Callable[[], World]) -> None:
    """The refresh goes on, and the caller is told to come again in a second: 503 `keys_unavailable`."""
    world = state()
    with world.issuer.gate() as gate:
        inquiry = world.client._inquiry({"alg": "ES256", "kid": "k2"}, None)
        inquiry._deadline = Deadline(0)
        with pytest.raises(KeysUnavailableError) as late:
            inquiry.step()
        assert (type(late.value), late.value.code, late.value.retry_after) == (KeysUnavailableError, "keys_unavailable", 1)
        assert gate.wait_for_arrival()
        gate.open()
        world.idle()
    assert (world.requests, len(world.told(FetchSucceeded))) == (1, 1)

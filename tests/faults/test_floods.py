"""F30-F33: tokens that name keys which are not held, by the thousand, too early, and in the middle of a rollover."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.drivers import DRIVERS, until, waiting
from tests.faults.harness import CASES, PATIENT, Case, Scene

from keyturn import KeySetChanged, UnknownKey, UnknownKeyError

WARM = [case for case in CASES if case.warm]

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_warm_case = pytest.mark.parametrize("case", WARM, ids=lambda case: case.name)

HOUR, DAY = 3_600, 86_400
SAMPLE = {0: 1_100, 299: 1_100, 300: 10_000, 301: 1_100, 3_599: 1_100}
"""Tokens of F30's flood that are sent in some of its seconds; one is sent in each of the others."""


def junk(scene: Scene) -> Iterator[str]:
    """Return tokens without end that pass every cheap check, each with a kid of its own and a signature of nobody."""
    now = int(scene.clock.wall())
    claims = {"iss": scene.issuer.issuer, "sub": "mallory", "aud": scene.issuer.audience, "iat": now, "exp": now + DAY}
    payload = json.dumps(claims).encode()
    for number in itertools.count():
        yield scene.issuer.encode({"alg": "ES256", "typ": "JWT", "kid": f"junk-{number}"}, payload, signature=b"\x01" * 64)


def verdict(scene: Scene, token: str) -> UnknownKeyError:
    """Return the refusal of a token, which must name no better reason than its key."""
    try:
        scene.validator.validate(token)
    except UnknownKeyError as error:
        return error
    raise AssertionError("expected a refusal, the token was accepted")


def test_f30_hour_of_random_kids() -> None:
    """An hour of 10,000 tokens a second: 13 refreshes at most, a bounded memory, events in samples, and the set stays.

    The hour is sampled: the second in which the allowance returns first is played with all its 10,000 tokens; the seconds around it, the
    first and the last with more kids than may be remembered; every other second with one token. What the library does depends on the
    instants at which tokens come and on how many kids it remembers, and no second, so no return of the allowance, is without a token.
    More tokens at one instant only meet the same answer more often, which is what the full second shows.
    """
    with Scene(Case("thread", 1, warm=True), policy=PATIENT) as scene:
        held, tokens = scene.token(lifetime=DAY), junk(scene)
        scene.warm()
        before, sent, told_to_wait = scene.issuer.fetches.jwks, 0, Counter[bool]()
        for second in range(HOUR):
            for token in itertools.islice(tokens, SAMPLE.get(second, 1)):
                told_to_wait[verdict(scene, token).retry_after is not None] += 1
                sent += 1
            if second % 60 == 0 or second in SAMPLE:
                scene.accepts(held)
            scene.clock.advance(1)
        refreshes = scene.issuer.fetches.jwks - before
        assert 12 <= refreshes <= 1 + HOUR / 300
        # Only the token that a refresh was made for is refused for good; every other one is told when to come again.
        assert told_to_wait == {False: refreshes, True: sent - refreshes}
        assert len(scene.client._keeper._look_ups) == scene.client.policy.max_unknown_kids == 1_024
        told = scene.told(UnknownKey)
        assert len(told) <= 2 * HOUR
        assert {event.action for event in told} == {"fetched", "refused"}
        # Those of the last second would be told with the next.
        assert sent - SAMPLE[3_599] <= sum(event.count for event in told) <= sent
        assert scene.told(KeySetChanged) == []


@pytest.mark.parametrize("driver", DRIVERS)
def test_f30_held_keys_while_the_gate_is_closed(driver: str) -> None:
    """While as many wait as may, held keys are answered, and one more unknown kid is refused at once."""
    with Scene(Case(driver, 50, warm=True), policy=PATIENT) as scene:
        held, tokens = scene.warm(), junk(scene)
        with scene.issuer.gate() as gate:
            flood = DRIVERS[driver].start(scene.validator, list(itertools.islice(tokens, PATIENT.max_waiting)))
            waiting(scene.client, PATIENT.max_waiting)
            scene.accepts(held)
            for error in scene.refuses(UnknownKeyError, *itertools.islice(tokens, 50)):
                assert error.retry_after == 1
            assert flood.outcomes == [None] * PATIENT.max_waiting
            gate.open()
            outcomes = flood.done()
        assert {type(outcome) for outcome in outcomes} == {UnknownKeyError}
        scene.refuses(UnknownKeyError, next(tokens))
        assert scene.issuer.fetches.jwks == 2


def spend_allowance(scene: Scene) -> str:
    """Warm the client up, have somebody spend its allowance, roll over 10 s later; return a token of the new key."""
    scene.warm()
    assert verdict(scene, next(junk(scene))).retry_after is None
    scene.clock.advance(10)
    return scene.roll()


@every_warm_case
def test_f31_rollover_while_the_allowance_is_spent(case: Case) -> None:
    """New tokens are told when to come again; the first token of any kind after that starts the refresh, and they are accepted."""
    with Scene(case, policy=PATIENT) as scene:
        held = scene.token()
        new = spend_allowance(scene)
        for error in scene.refuses(UnknownKeyError, new):
            assert error.retry_after == 290
        before = scene.attempts
        scene.clock.advance(289)
        scene.accepts(held)
        assert {error.retry_after for error in scene.refuses(UnknownKeyError, new)} == {1}
        assert scene.attempts == before
        scene.clock.advance(1)
        scene.accepts(held)
        scene.settle()
        assert scene.attempts == before + 1
        scene.accepts(new)
        assert scene.attempts == before + 1
        kinds = [type(event) for event in scene.events if isinstance(event, (UnknownKey, KeySetChanged))]
        assert (kinds[0], kinds[-1], kinds.count(KeySetChanged)) == (UnknownKey, KeySetChanged, 1)


@every_warm_case
def test_f31_the_new_key_itself(case: Case) -> None:
    """Where no other token comes, the new one is accepted 300 s after the allowance was spent, on its first try."""
    with Scene(case, policy=PATIENT) as scene:
        new = spend_allowance(scene)
        scene.refuses(UnknownKeyError, new)
        before = scene.attempts
        scene.clock.advance(290)
        scene.accepts(new)
        assert scene.attempts == before + 1


def test_f31_without_any_token() -> None:
    """`keep_fresh()` starts the refresh that is owed when the allowance returns."""
    with Scene(Case("thread", 1, warm=True), policy=PATIENT) as scene:
        new = spend_allowance(scene)
        scene.refuses(UnknownKeyError, new)
        before = scene.attempts
        with scene.client.keep_fresh():
            scene.clock.advance(290)
            until(lambda: scene.attempts == before + 1, "the owed refresh")
        scene.accepts(new)
        assert scene.attempts == before + 1


@every_case
def test_f32_rollover_right_after_the_start(case: Case) -> None:
    """The start spends no allowance: a rollover half a second after it is followed at once."""
    with Scene(case, policy=PATIENT) as scene:
        scene.accepts(scene.token())
        scene.clock.advance(0.5)
        new = scene.roll()
        scene.clock.advance(0.5)
        scene.accepts(new)
        scene.settle()
        assert scene.attempts == 2
        assert [[key.kid for key in event.added] for event in scene.told(KeySetChanged)] == [["k1"], ["k2"]]


@every_warm_case
def test_f32_rollover_right_after_the_schedule(case: Case) -> None:
    """Nor does the schedule."""
    with Scene(case, policy=PATIENT) as scene:
        scene.warm()
        scene.clock.advance(DAY)
        scene.accepts(scene.token())
        scene.settle()
        before = scene.attempts
        scene.clock.advance(1)
        scene.accepts(scene.roll())
        assert scene.attempts == before + 1


@every_warm_case
def test_f33_key_used_before_it_is_published(case: Case) -> None:
    """Looked up in vain, then told when to come again; at that instant it is asked for at once, and accepted."""
    with Scene(case, policy=PATIENT) as scene:
        scene.warm()
        before = scene.attempts
        scene.issuer.sign_unpublished("k2")
        early = scene.token()
        # Whoever comes after the look-up is over is told of its pause.
        assert {error.retry_after for error in scene.refuses(UnknownKeyError, early)} - {300} == {None}
        assert (scene.attempts, scene.told(UnknownKey)[0].action) == (before + 1, "fetched")
        scene.clock.advance(90)
        scene.issuer.publish("k2")
        assert {error.retry_after for error in scene.refuses(UnknownKeyError, early)} == {210}
        scene.clock.advance(209)
        assert {error.retry_after for error in scene.refuses(UnknownKeyError, early)} == {1}
        assert scene.attempts == before + 1
        scene.clock.advance(1)
        scene.accepts(early)
        scene.settle()
        assert (scene.attempts, len(scene.told(KeySetChanged))) == (before + 2, 1)


def test_f33_published_later_still() -> None:
    """Asked for again after 300 s, 600 s, and then every 900 s, however often it is used; published, it is found at the next of these."""
    with Scene(Case("thread", 1, warm=True), policy=PATIENT) as scene:
        scene.warm()
        scene.issuer.sign_unpublished("k2")
        early, asked_at = scene.token(lifetime=DAY), []

        def use(seconds: range) -> list[Any]:
            outcomes = []
            for second in seconds:
                before = scene.attempts
                outcomes += scene.call(early)
                scene.settle()
                asked_at.extend([second] * (scene.attempts - before))
                scene.clock.advance(10)
            return outcomes

        assert {type(outcome) for outcome in use(range(0, 3_000, 10))} == {UnknownKeyError}
        assert asked_at == [0, 300, 900, 1_800, 2_700]
        scene.issuer.publish("k2")
        late = use(range(3_000, 3_610, 10))
        assert (asked_at[-1], type(late[-2]), late[-1].subject) == (3_600, UnknownKeyError, "alice")

"""The rest of the table of boundaries: values at which a verdict flips, one step before, at it, and one step beyond (Z1).

The rows about decisions stand in `test_table.py`, those of the deadline, which is real time, in `test_deadline.py` of the tests of threads.
Whatever has a row of its own in the table of the design has its rows here, there, or there: the last test of this file looks for them.
"""

from __future__ import annotations

import json
import math
import sys
from types import ModuleType
from typing import Any

import pytest
from tests.contract import test_deadline
from tests.rollover import test_table
from tests.rollover.boundaries import WHERE, row, rows_of
from tests.rollover.helpers import CLOCKS, DAY, DEFAULTS, START, TICK, World, published
from tests.unit.material import entry, keys_of, private_key, rsa_entry

from keyturn import ClockJumped, ConfigurationError, InvalidKeySetError, MemoryStore, RolloverPolicy, StaleKeysServed, TokenValidator
from keyturn._core.acceptance import accept
from keyturn._core.jwk import UnusableKeyError, signing_key
from keyturn._core.state import Answer, KeySetState
from keyturn._look_ups import LookUps
from keyturn.testing import FakeIssuer

LEEWAY = 60.0
LIMIT = 16_384


@pytest.mark.parametrize("clocks", CLOCKS)
@pytest.mark.parametrize(
    ("age", "events"),
    [row("b04", "before", "due", DAY - TICK, 0), row("b04", "at", "due", DAY, 1), row("b04", "beyond", "due", DAY + TICK, 1)],
)
def test_stale_keys_are_reported(age: float, events: int, clocks: str) -> None:
    """B4: from the due time on, once the refresh has failed, whoever is served with old keys is reported (R9)."""
    world = World().warm()
    with world.issuer.down():
        pass_time(world, age, clocks)
        assert world.verdict(world.issuer.token(lifetime=3 * DAY)) == "accepted"
        assert len(world.told(StaleKeysServed)) == events


@pytest.mark.parametrize("clocks", CLOCKS)
@pytest.mark.parametrize(
    ("grace", "since", "verdict"),
    [
        row("b07", "before", "grace", 7_200.0, 7_200.0 - TICK, "accepted"),
        row("b07", "at", "grace", 7_200.0, 7_200.0, "unknown_key"),
        row("b07", "beyond", "grace", 7_200.0, 7_200.0 + TICK, "unknown_key"),
        row("b07", "at", "no-grace", 0.0, 0.0, "unknown_key"),
        row("b07", "before", "a-tick-of-grace", TICK, 0.0, "accepted"),
        row("b07", "at", "a-tick-of-grace", TICK, TICK, "unknown_key"),
    ],
)
def test_the_grace_of_a_key(grace: float, since: float, verdict: str, clocks: str) -> None:
    """B7: over its instant after the first answer without the key, from then on an unknown kid (R10)."""
    world = World(RolloverPolicy(removed_key_grace=grace))
    world.issuer.publish("k2")
    old = world.warm().issuer.token(lifetime=DAY)
    world.issuer.retire("k1")
    world.client.refresh()
    pass_time(world, since, clocks)
    assert world.verdict(old) == verdict


def pass_time(world: World, seconds: float, clocks: str) -> None:
    """Let time pass on both clocks, or on one of them alone."""
    if clocks == "wall":
        world.clock.suspend(seconds)
        return
    world.clock.advance(seconds)
    if clocks == "monotonic":
        world.clock.step_wall(-seconds)


@pytest.mark.parametrize(
    ("size", "verdict"),
    [
        row("b10", "before", "524287", 524_287, "accepted"),
        row("b10", "at", "524288", 524_288, "accepted"),
        row("b10", "beyond", "524289", 524_289, "fetch_failed"),
    ],
)
def test_the_longest_body(size: int, verdict: str) -> None:
    """B10: exactly as many bytes as are allowed are read (R16)."""
    world = World()
    with world.issuer.answer(json.dumps(world.issuer.jwks()).encode().ljust(size)):
        assert world.verdict(world.issuer.token()) == verdict


@pytest.mark.parametrize(
    ("count", "read"), [row("b11", "before", "499", 499, 499), row("b11", "at", "500", 500, 500), row("b11", "beyond", "501", 501, 0)]
)
def test_the_most_entries(count: int, read: int) -> None:
    """B11: exactly as many entries as are allowed are read; one more refuses the set whole (Z13)."""
    try:
        keys = keys_of(*(entry(kid=str(number)) for number in range(count))).keys
    except InvalidKeySetError:
        keys = ()
    assert len(keys) == read


@pytest.mark.parametrize(
    ("count", "is_tried"), [row("b12", "before", "15", 15, True), row("b12", "at", "16", 16, True), row("b12", "beyond", "17", 17, False)]
)
def test_the_most_candidates(count: int, is_tried: bool) -> None:
    """B12: the sixteenth key by thumbprint is tried, the seventeenth is not (Z14)."""
    keys = keys_of(*(entry(number=number, kid="k") for number in range(count)))
    last = max(range(count), key=lambda number: signing_key(entry(number=number)).thumbprint)
    signature = private_key("ES256", last).sign(b"text")
    found = keys.candidates({"alg": "ES256", "kid": "k"}, limit=DEFAULTS.max_candidates)
    assert any(key.verifies("ES256", signature, b"text") for key in found.keys) == is_tried


@pytest.mark.parametrize(
    ("count", "is_known"),
    [row("b13", "before", "1023", 1_023, True), row("b13", "at", "1024", 1_024, True), row("b13", "beyond", "1025", 1_025, False)],
)
def test_the_most_kids_looked_up_in_vain(count: int, is_known: bool) -> None:
    """B13: as many are remembered as are allowed; with one more the least recently used leaves (R13)."""
    look_ups = LookUps(DEFAULTS.max_unknown_kids)
    for number in range(count):
        look_ups.owe(("kid", str(number)))
    assert (len(look_ups), look_ups.get(("kid", "0")) is not None) == (min(count, 1_024), is_known)


@pytest.mark.parametrize(
    ("number", "verdict"),
    [
        row("b13", "before", "change-of-the-set", 0, "unknown_key"),
        row("b13", "at", "change-of-the-set", 1, "accepted"),
        row("b13", "beyond", "change-of-the-set", 2, "accepted"),
    ],
)
def test_a_change_of_the_set_ends_every_pause(number: int, verdict: str) -> None:
    """B13: the first change after a look-up in vain makes the kid ask anew, and so does the second (Z9)."""
    world = World().warm()
    world.issuer.sign_unpublished("late")
    early = world.issuer.token(lifetime=DAY)
    for _ in range(2):
        assert world.verdict(early) == "unknown_key"
        world.clock.advance(300)
    for other in range(number):
        world.issuer.publish(f"other-{other}")
        world.client.refresh()
    world.issuer.publish("late")
    assert world.verdict(early) == verdict


@pytest.mark.parametrize(
    ("since_expiry", "verdict"),
    [
        row("b15", "before", "exp", LEEWAY - TICK, "accepted"),
        row("b15", "at", "exp", LEEWAY, "expired_token"),
        row("b15", "beyond", "exp", LEEWAY + TICK, "expired_token"),
    ],
)
def test_the_end_of_a_token(since_expiry: float, verdict: str) -> None:
    """B15: it is over `leeway` after its `exp` (RFC 7519, section 4.1.4)."""
    world = World().warm()
    token = world.issuer.token(lifetime=100)
    world.clock.advance(100 + since_expiry)
    assert world.verdict(token) == verdict


@pytest.mark.parametrize("claim", ["nbf", "iat"])
@pytest.mark.parametrize(
    ("before_start", "verdict"),
    [
        row("b16", "before", "start", LEEWAY + TICK, "not_yet_valid"),
        row("b16", "at", "start", LEEWAY, "accepted"),
        row("b16", "beyond", "start", LEEWAY - TICK, "accepted"),
    ],
)
def test_the_start_of_a_token(before_start: float, verdict: str, claim: str) -> None:
    """B16: it begins `leeway` before its `nbf`, and may not come from further ahead (RFC 7519, section 4.1.5)."""
    world = World().warm()
    start = world.clock.wall() + 1_000
    token = world.issuer.token(lifetime=DAY, **{claim: start})
    world.clock.advance(1_000 - before_start)
    assert world.verdict(token) == verdict


@pytest.mark.parametrize(
    ("leeway", "is_setting"),
    [
        row("b17", "before", "least", -1, False),
        row("b17", "at", "least", 0, True),
        row("b17", "beyond", "least", 1, True),
        row("b17", "before", "most", 299, True),
        row("b17", "at", "most", 300, True),
        row("b17", "beyond", "most", 301, False),
        row("b17", "beyond", "nan", math.nan, False),
    ],
)
def test_the_leeway(leeway: float, is_setting: bool) -> None:
    """B17: from 0 to 300 s; anything else is refused when the validator is built."""
    assert accepts(leeway) == is_setting


def accepts(leeway: float) -> bool:
    """Return whether a validator may have this leeway."""
    try:
        TokenValidator("https://issuer.test", audience="api://test", leeway=leeway)
    except ConfigurationError:
        return False
    return True


def serves(published_entry: dict[str, Any]) -> bool:
    """Return whether an entry makes a key."""
    try:
        signing_key(published_entry)
    except UnusableKeyError:
        return False
    return True


@pytest.mark.parametrize(
    ("bits", "is_used"),
    [
        row("b18", "before", "least", 2_047, False),
        row("b18", "at", "least", 2_048, True),
        row("b18", "beyond", "least", 2_049, True),
        row("b18", "before", "most", 16_383, True),
        row("b18", "at", "most", 16_384, True),
        row("b18", "beyond", "most", 16_385, False),
    ],
)
def test_the_size_of_an_rsa_key(bits: int, is_used: bool) -> None:
    """B18: from 2,048 to 16,384 bits (R16)."""
    assert serves(rsa_entry((1 << (bits - 1)) | 1)) == is_used


@pytest.mark.parametrize(
    ("exponent", "is_used"),
    [
        row("b19", "before", "least-by-two", 1, False),
        row("b19", "before", "least", 2, False),
        row("b19", "at", "least", 3, True),
        row("b19", "beyond", "least", 5, True),
        row("b19", "before", "most", 2**32 - 3, True),
        row("b19", "at", "most", 2**32 - 1, True),
        row("b19", "beyond", "most", 2**32 + 1, False),
    ],
)
def test_the_rsa_exponent(exponent: int, is_used: bool) -> None:
    """B19: odd, from 3 and within 32 bits; the largest is 2^32 - 1, since an even one is none."""
    assert serves(rsa_entry((1 << 2_047) | 1, exponent)) == is_used


@pytest.mark.parametrize(
    ("size", "verdict"),
    [
        row("b20", "before", "token", LIMIT - 1, "accepted"),
        row("b20", "at", "token", LIMIT, "accepted"),
        row("b20", "beyond", "token", LIMIT + 1, "malformed_token"),
    ],
)
def test_the_longest_token(size: int, verdict: str) -> None:
    """B20: exactly as many bytes as are allowed are read."""
    world = World().warm()
    assert world.verdict(token_of(world.issuer, size)) == verdict


def token_of(issuer: FakeIssuer, size: int) -> str:
    """Return a good token of so many bytes; base64url skips every fourth length, so two parts are filled."""
    for more in range(4):
        bare = len(issuer.token(headers={"more": "x" * more}, fill=""))
        for fill in range((size - bare) * 3 // 4 - 3, (size - bare) * 3 // 4 + 4):
            token = issuer.token(headers={"more": "x" * more}, fill="x" * fill)
            if len(token) == size:
                return token
    raise AssertionError(f"no token of {size} bytes was made")


@pytest.mark.parametrize(
    ("length", "verdict"),
    [
        row("b20", "before", "kid", 255, "unknown_key"),
        row("b20", "at", "kid", 256, "unknown_key"),
        row("b20", "beyond", "kid", 257, "malformed_token"),
    ],
)
def test_the_longest_kid(length: int, verdict: str) -> None:
    """B20: a kid of 256 characters is looked up, a longer one is refused."""
    world = World().warm()
    assert world.verdict(world.unknown("k" * length)) == verdict


@pytest.mark.parametrize(
    ("follow", "max_age", "interval"),
    [
        row("b21", "before", "least", True, 299.0, 300.0),
        row("b21", "at", "least", True, 300.0, 300.0),
        row("b21", "beyond", "least", True, 301.0, 301.0),
        row("b21", "before", "most", True, 86_399.0, 86_399.0),
        row("b21", "at", "most", True, 86_400.0, 86_400.0),
        row("b21", "beyond", "most", True, 86_401.0, 86_400.0),
        row("b21", "before", "not-followed", False, 299.0, 86_400.0),
        row("b21", "at", "not-followed", False, 300.0, 86_400.0),
        row("b21", "beyond", "not-followed", False, 86_401.0, 86_400.0),
    ],
)
def test_cache_control(follow: bool, max_age: float, interval: float) -> None:
    """B21: followed only if asked, and then within [min(300, refresh_interval), refresh_interval] (R3)."""
    answer = Answer(published(FakeIssuer()), START, max_age)
    state, _ = accept(KeySetState("i", DAY, DAY), RolloverPolicy(follow_cache_control=follow), START, answer, 0.0)
    assert (state.interval, state.line) == (interval, interval)


@pytest.mark.parametrize(
    ("step", "told"),
    [
        row("b22", "before", "forward", 60.0 - TICK, []),
        row("b22", "at", "forward", 60.0, []),
        row("b22", "beyond", "forward", 60.0 + TICK, [60.0 + TICK]),
        row("b22", "before", "back", TICK - 60.0, []),
        row("b22", "at", "back", -60.0, []),
        row("b22", "beyond", "back", -TICK - 60.0, [-TICK - 60.0]),
    ],
)
def test_a_difference_of_the_clocks(step: float, told: list[float]) -> None:
    """B22: 60 s are silent, more is reported once (R14)."""
    world = World().warm()
    world.clock.step_wall(step)
    for _ in range(2):
        world.clock.advance(60)
        world.accept(world.issuer.token())
    assert [event.seconds for event in world.told(ClockJumped)] == told


@pytest.mark.parametrize(
    ("ahead", "age"),
    [
        row("b23", "before", "ahead", 60.0 - TICK, 0.0),
        row("b23", "at", "ahead", 60.0, 0.0),
        row("b23", "beyond", "ahead", 60.0 + TICK, None),
    ],
)
def test_a_snapshot_from_the_future(ahead: float, age: float | None) -> None:
    """B23: 60 s are the skew of two hosts, and age 0; a snapshot from further ahead is ignored (Z17)."""
    world = World(store=MemoryStore()).warm()
    world.clock.step_wall(-ahead)
    world.restart()
    with world.issuer.down():
        world.client.status()
        world.idle()
    assert (world.client.status().age, world.requests > 0) == (age, age is None)
    world.idle()


def test_no_boundary_is_missing() -> None:
    """Each of the 24 boundaries has a row before it, at it and beyond it, and each row is run by a test."""
    rows = {found for module in (test_table, sys.modules[__name__], test_deadline) for found in rows_of(module)}
    assert {(f"b{number:02}", where) for number in range(1, 25) for where in WHERE} == rows


def test_a_row_that_no_test_runs_is_missing() -> None:
    """A row counts through the test that it is handed to."""

    @pytest.mark.parametrize("value", [row("b99", "at", "it", 1)])
    def test_something(value: int) -> None:
        """Stand for a test of the table."""

    module = ModuleType("table")
    module.ROWS = [row("b98", "at", "it", 1)]
    assert list(rows_of(module)) == []
    module.test_something = test_something
    assert list(rows_of(module)) == [("b99", "at")]

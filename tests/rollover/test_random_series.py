"""Random series of tokens, publications and hours against a model of when the issuer may be asked (R3, R5, R13), for one issuer and for two.

The model is told what happens and says how many requests it costs, exactly: one too many hammers the issuer, one too few keeps out who belongs.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.drivers import PATIENCE, Threads, quiet
from tests.rollover.helpers import DAY, HOUR

from keyturn import InvalidSignatureError, KeySetClient, KeyturnError, RolloverPolicy, TokenValidator, UnknownKeyError, ValidatedToken
from keyturn.testing import FakeClock, FakeIssuer

ALLOWANCE, PAUSES, TOO_OLD = 300.0, (300.0, 600.0, 900.0), 2 * DAY
JUNK = ["a", "b"]
SERIES: dict[str, list[str | float]] = {
    "insist": ["a", 300.0, "a", 600.0, "a"],
    "roll over": ["publish", 300.0, "new", 300.0],
    "sleep": [DAY, "held", "b"],
}
"""Steps that mean little alone: a client that does not give up, a key that is used as soon as it may be asked for, a token after a night."""

BODIES = {"empty": b'{"keys": []}', "unusable": b'{"keys": [{"kty": "oct", "k": "AA", "kid": "k1"}]}'}
SETTINGS = settings(max_examples=60, derandomize=True, database=None)
STEPS = st.lists(
    st.one_of(
        st.sampled_from(["held", "publish", "new", *JUNK, *JUNK, *SERIES, *SERIES]),
        st.sampled_from([1.0, 61.0, 240.0, 299.0, 300.0, 300.0, 600.0, 900.0, HOUR, DAY - 1, DAY, TOO_OLD]),
    ),
    min_size=5,
    max_size=40,
)
STEPS_OF_TWO = st.lists(
    st.one_of(st.tuples(st.integers(0, 1), st.sampled_from(["held", "publish", "new", *JUNK])), st.sampled_from([1.0, 300.0, 600.0])), max_size=20
)


@dataclass
class LookedUp:
    """What a kid that nobody publishes has cost so far."""

    times: int = 0
    asked_at: float = 0.0
    owed: bool = False

    def may_ask(self, now: float) -> bool:
        """Whether its pause is over: 300 s, 600 s, then every 900 s (R13)."""
        return not self.times or now - self.asked_at >= PAUSES[min(self.times, 3) - 1]


@dataclass
class Rhythm:
    """One client's marks, as the contract describes them: an answer, an allowance, a refresh owed, and the pauses of kids."""

    answered: float | None = None
    published: int = 1
    seen: int = 0
    demanded: float | None = None
    owed: bool = False
    kids: dict[str, LookedUp] = field(default_factory=dict)

    def is_due(self, now: float) -> bool:
        """Whether a refresh comes before anything else (R3)."""
        return self.answered is None or now - self.answered >= DAY

    def is_allowed(self, now: float) -> bool:
        """Whether the allowance is there (R5)."""
        return self.demanded is None or now - self.demanded >= ALLOWANCE

    def held(self, now: float) -> int:
        """Return the requests of a token whose key is held: what is due, or owed to others."""
        if self.is_due(now):
            return self.read(now)
        return self.read(now, "", on_demand=True) if self.owed and self.is_allowed(now) else 0

    def missing(self, kid: str, now: float) -> int:
        """Return the requests of a token whose kid is not held."""
        if self.is_due(now):
            return self.read(now)
        if not self.kids.get(kid, LookedUp()).may_ask(now):
            return self.held(now)
        if self.is_allowed(now):
            return self.read(now, kid, on_demand=True)
        self.owed = True
        self.kids.setdefault(kid, LookedUp()).owed = True
        return 0

    def read(self, now: float, wanted: str = "", *, on_demand: bool = False) -> int:
        """Take an answer; what was looked up in vain waits longer, and a change of the set ends every pause (R13)."""
        changed = self.answered is None or self.seen != self.published or now - self.answered >= TOO_OLD
        owed = [] if changed else [kid for kid, look_up in self.kids.items() if look_up.owed]
        vain = {kid: 0 if changed else self.kids.get(kid, LookedUp()).times for kid in {wanted, *owed} - {""}}
        if changed:
            self.kids.clear()
        self.answered, self.seen, self.owed = now, self.published, False
        if on_demand:
            self.demanded = now
            self.kids.update({kid: LookedUp(times + 1, now) for kid, times in vain.items() if kid in JUNK})
        return 1


class Island:
    """An issuer, its client, and the model of it."""

    def __init__(self, name: str, clock: FakeClock) -> None:
        self.issuer = FakeIssuer(name, clock=clock)
        self.client = KeySetClient(name, clock=clock, fetcher=self.issuer.fetcher(), policy=RolloverPolicy(refresh_jitter=0, deadline=2.0))
        self.validator = TokenValidator(self.client, audience="api://test")
        self.rhythm = Rhythm()

    def verdict(self, token: str) -> str:
        """Validate *token*, and let what it started end."""
        try:
            self.validator.validate(token)
        except KeyturnError as error:
            return error.code
        finally:
            quiet()
        return "accepted"

    def take(self, step: str, now: float) -> None:
        """Take one step, and compare what it costs and what comes of it with the model."""
        rhythm, before = self.rhythm, self.issuer.fetches.jwks
        if step == "publish":
            rhythm.published += 1
            self.issuer.publish(f"k{rhythm.published}")
            return
        kid = {"held": "k1", "new": f"k{rhythm.published}"}.get(step, step)
        is_held = rhythm.answered is not None and kid in {f"k{number}" for number in range(1, rhythm.seen + 1)}
        cost = rhythm.held(now) if is_held else rhythm.missing(kid, now)
        code = self.verdict(self.issuer.forge(key=kid) if kid in JUNK else self.issuer.token(key=kid))
        assert self.issuer.fetches.jwks - before == cost
        if is_held or (kid not in JUNK and cost and self.asked_for(kid, now)):
            assert code == "accepted"
        else:
            assert code == "unknown_key"

    def asked_for(self, kid: str, now: float) -> bool:
        """Whether the request that was just made is one that the caller of *kid* waited for; its key is published."""
        return kid not in self.rhythm.kids and self.rhythm.answered == now


@SETTINGS
@given(STEPS)
def test_requests_follow_the_rhythm(steps: list[str | float]) -> None:
    """Schedule, allowance, owed refresh and pauses: each step costs what the rules say, no request more and none less."""
    clock = FakeClock()
    island = Island("https://rhythm.test", clock)
    for step in itertools.chain.from_iterable(SERIES.get(str(step), [step]) for step in steps):
        if isinstance(step, float):
            clock.advance(step)
        else:
            island.take(step, clock.monotonic())


@SETTINGS
@given(STEPS_OF_TWO)
def test_issuers_with_equal_kids_are_islands(steps: list[tuple[int, str] | float]) -> None:
    """Two issuers whose kids are the same: each costs and answers as if it were alone, and neither's key serves the other (R15)."""
    clock = FakeClock()
    islands = [Island(f"https://{name}.test", clock) for name in ("one", "two")]
    for step in [(0, "held"), (1, "held"), *steps]:
        if isinstance(step, float):
            clock.advance(step)
        else:
            islands[step[0]].take(step[1], clock.monotonic())
    one, two = islands
    clock.advance(61)
    assert [island.verdict(island.issuer.token(key="k1")) for island in (two, one)] == ["accepted", "accepted"]
    stranger = Threads().start(two.validator, [one.issuer.token(key="k1", iss="https://two.test")]).done()[0]
    assert isinstance(stranger, InvalidSignatureError)
    quiet()
    clock.advance(900)
    with one.issuer.gate() as gate:
        stuck = Threads().start(one.validator, [one.issuer.forge(key="c")])
        assert gate.wait_for_arrival(PATIENCE)
        two.issuer.publish("late")
        assert isinstance(two.validator.validate(two.issuer.token(key="late")), ValidatedToken)
        gate.open()
        assert isinstance(stuck.done()[0], UnknownKeyError)
    quiet()


@SETTINGS
@given(st.lists(st.sampled_from(["held", *JUNK, 1.0, 61.0, 300.0, HOUR]), max_size=8))
def test_new_material_under_a_kid_is_found_in_time(steps: list[str | float]) -> None:
    """Whatever came before: tokens of the new key under the old kid pass once the allowance and the kid's pause let it be asked for (R12, F44)."""
    clock = FakeClock()
    island = Island("https://material.test", clock)
    for step in ["held", *steps]:
        if isinstance(step, float):
            clock.advance(step)
        else:
            island.take(step, clock.monotonic())
    island.issuer.replace_material("k1")
    waited = 0
    while island.verdict(island.issuer.token(key="k1")) != "accepted":
        waited += 300
        assert waited <= PAUSES[-1]
        clock.advance(300)


@SETTINGS
@given(st.lists(st.sampled_from(["empty", "unusable", "good", "held", "a", 1.0, 300.0, HOUR, DAY]), min_size=5, max_size=20))
def test_an_answer_without_a_key_takes_none_away(steps: list[str | float]) -> None:
    """Whatever the issuer says and when: a key serves on for two days after the last good answer, and a good one heals (R9, R12)."""
    clock = FakeClock()
    island = Island("https://empty.test", clock)
    seen = clock.monotonic()
    assert island.verdict(island.issuer.token(key="k1")) == "accepted"
    with ExitStack() as faults:
        for step in steps:
            if isinstance(step, float):
                clock.advance(step)
            elif step in BODIES:
                faults.enter_context(island.issuer.answer(BODIES[step]))
            elif step == "good":
                faults.close()
                island.client.refresh()
                seen = clock.monotonic()
            elif step == "held":
                code = island.verdict(island.issuer.token(key="k1"))
                assert (code == "accepted") >= (clock.monotonic() - seen < TOO_OLD), code
                seen = clock.monotonic() if island.client.status().failures == 0 and island.client.status().age == 0 else seen
            else:
                assert island.verdict(island.issuer.forge(key=step)) != "accepted"
        quiet()


@SETTINGS
@given(st.lists(st.sampled_from(["revoke", "reinstate", "refresh", 0.0, 1.0, HOUR]), min_size=3, max_size=15))
def test_the_last_word_on_a_key_holds(steps: list[str | float]) -> None:
    """Revoked and taken back in any order, at one instant or hours apart, refreshed or not: the last word counts (R11)."""
    clock = FakeClock()
    island = Island("https://words.test", clock)
    assert island.verdict(island.issuer.token(key="k1")) == "accepted"
    expected = "accepted"
    for step in steps:
        if isinstance(step, float):
            clock.advance(step)
            continue
        if step == "refresh":
            island.client.refresh()
        else:
            getattr(island.client, step)(kid="k1")
            expected = "revoked_key" if step == "revoke" else "accepted"
        assert island.verdict(island.issuer.token(key="k1")) == expected

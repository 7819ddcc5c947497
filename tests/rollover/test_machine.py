"""Random series of rollovers, outages, floods, clock steps, forks and restarts against an independent model (I1, I2, I3, I5).

After each token: it is accepted only if the model allows its key, and not refused if its key is held or had to be found. After each
request: the model allows it. At any time: a key that is published passes within the policy's bound once the issuer answers.
"""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.rollover.helpers import DAY, HOUR, TICK
from tests.rollover.issuer_steps import KIDS, IssuerSteps
from tests.rollover.model import Model, Moment
from tests.rollover.watched import End, Watched

from keyturn import KeysUnavailableError, MemoryStore, RolloverPolicy

STEPS = [TICK, 1.0, 59.0, 299.0, 300.0, 600.0, 900.0, HOUR, 7_199.0, 7_200.0, 0.9 * DAY, DAY, 2 * DAY - 1, 2 * DAY]
WALL_STEPS = [-2 * DAY, -2 * HOUR, -61.0, -30.0, 30.0, 61.0, 2 * HOUR]
# Only the deadline is real time; a busy machine must not end a refresh before its gate is opened.
PATIENT = {"deadline": 60.0, "max_candidates": 64}
STRICT = RolloverPolicy.strict()
POLICIES = [
    RolloverPolicy(**PATIENT),
    RolloverPolicy(refresh_interval=STRICT.refresh_interval, removed_key_grace=STRICT.removed_key_grace, max_stale=STRICT.max_stale, **PATIENT),
    RolloverPolicy(
        refresh_interval=6 * HOUR,
        refresh_jitter=0.5,
        on_demand_interval=20,
        on_demand_interval_max=3_000,
        retry_min=2,
        retry_max=40,
        max_stale=HOUR,
        removed_key_grace=2 * DAY,
        max_unknown_kids=3,
        **PATIENT,
    ),
]

WEIGHTS = {
    "roll_over": 5,
    "spoil": 1,
    "fall_ill": 2,
    "recover": 2,
    "pass_time": 4,
    "step_clock": 1,
    "good_tokens": 6,
    "old_tokens": 2,
    "bad_tokens": 2,
    "flood": 2,
    "insist": 2,
    "idle": 2,
    "slow": 4,
    "come_back": 2,
    "look": 1,
    "operator": 1,
    "change_revocations": 2,
    "neighbour": 2,
    "fork": 1,
    "restart": 2,
}
"""How often each kind of step is taken. Rules of their own would each be left out of many series, and few series would have it all."""


class Rollovers(IssuerSteps, RuleBasedStateMachine):
    """A client without a store: revocations live as long as the process, and in the next one's configuration."""

    with_store = False

    @initialize(policy=st.sampled_from(POLICIES), draw=st.sampled_from([0.0, 0.5, 0.999]))
    def build(self, policy: RolloverPolicy, draw: float) -> None:
        """Build an issuer, a client that never asked it, a neighbour with keys of the same names, and the models."""
        self.world = Watched(policy, draw=draw, store=MemoryStore() if self.with_store else None)
        self.other = Watched(policy, draw=draw, store=self.world.store, clock=self.world.clock, name="https://neighbour.test")
        self.known: dict[str, None] = {}
        self.old: list[tuple[str, str]] = []
        self.keep("k1")

    @rule(name=st.sampled_from([name for name, weight in WEIGHTS.items() for _ in range(weight)]), data=st.data())
    def step(self, name: str, data: st.DataObject) -> None:
        """Take one step of any kind."""
        getattr(self, name)(data)

    @property
    def model(self) -> Model:
        """What the contract allows now."""
        return self.world.model

    @property
    def now(self) -> Moment:
        """Both clocks."""
        return self.world.now

    # Time.

    def pass_time(self, data: st.DataObject) -> None:
        """Let time pass, or suspend the machine, or let the monotonic clock alone go on."""
        clock, policy = self.world.clock, self.world.policy
        own = [policy.on_demand_interval, policy.refresh_interval, policy.max_stale, policy.refresh_interval + policy.max_stale]
        own += [max(self.model.pause - TICK, TICK), self.model.longest_pause]
        seconds, kind = data.draw(st.sampled_from(STEPS + own)), data.draw(st.sampled_from(["both", "both", "wall", "monotonic"]))
        (clock.suspend if kind == "wall" else clock.advance)(seconds)
        if kind == "monotonic":
            clock.step_wall(-seconds)

    def step_clock(self, data: st.DataObject) -> None:
        """Set the wall clock alone, forward or back."""
        self.world.clock.step_wall(data.draw(st.sampled_from(WALL_STEPS)))

    # Tokens.

    def keep(self, kid: str) -> tuple[str, str]:
        """Return a lasting token of *kid* with its thumbprint, and keep it for later."""
        thumbprint = self.world.key_of(kid)
        # Keys are as random as keys are; in the order of their coming they are drawn from in the same way each time.
        self.known.setdefault(thumbprint)
        self.old = [*self.old, (self.world.lasting_token(kid), thumbprint)][-6:]
        return self.old[-1]

    def good_tokens(self, data: st.DataObject) -> None:
        """Send a token of every key that is, was or will be published, with its kid or without."""
        without = data.draw(st.sampled_from([None, None, *KIDS]))
        for kid in sorted(self.world.issuer._keys):
            token, thumbprint = self.keep(kid)
            if kid == without:
                self.world.judge(self.world.lasting_token(kid, headers={"kid": None}), thumbprint)
            else:
                self.world.judge(token, thumbprint, kid)

    def old_tokens(self, data: st.DataObject) -> None:
        """Send tokens of earlier days, perhaps of material that was replaced since."""
        for token, thumbprint in self.old:
            self.world.judge(token, thumbprint)

    def bad_tokens(self, data: st.DataObject) -> None:
        """Send a token that nothing can save: forged under a held kid, without one or under an unknown one, foreign or expired."""
        world, kid = self.world, data.draw(st.sampled_from(KIDS))
        kind = data.draw(st.sampled_from(["forged", "without kid", "unknown", "signed by the neighbour", "foreign", "expired", "broken"]))
        if kind == "forged":
            world.judge(world.issuer.forge(key=kid), None, kid)
        elif kind == "without kid":
            world.judge(world.issuer.forge(headers={"kid": None}), None)
        elif kind == "unknown":
            world.judge(world.unknown("junk"), None, "junk")
        elif kind == "signed by the neighbour":
            world.judge(self.other.issuer.token(iss=world.issuer.issuer), None, self.other.issuer.signing_kid)
        elif kind == "foreign":
            world.refused_outright(self.other.issuer.token(), "invalid_issuer")
        elif kind == "expired":
            world.refused_outright(world.issuer.token(lifetime=-61), "expired_token")
        else:
            world.refused_outright(world.issuer.token()[:-1] + "!", "malformed_token")

    def flood(self, data: st.DataObject) -> None:
        """Send kids that nobody ever heard of."""
        for number in range(data.draw(st.integers(2, 6))):
            error = self.world.judge(self.world.unknown(f"junk-{number}"), None, f"junk-{number}")
            assert error is not None
            assert error.code in {"unknown_key", "fetch_failed", "invalid_key_set", "keys_unavailable"}
            assert error.http_status == (401 if self.model.failed is None else 503), f"an outage and a bad token were mixed up: {error}"

    def insist(self, data: st.DataObject) -> None:
        """Send a token of a key that is not published again and again, as a stuck client does; perhaps it is published at last (R13)."""
        kids = sorted(set(self.world.issuer._keys) - set(self.world.whole()))
        if not kids:
            return
        kid = data.draw(st.sampled_from(kids))
        for _ in range(data.draw(st.integers(2, 4))):
            self.world.judge(*self.keep(kid), kid)
            self.world.clock.advance(self.world.policy.on_demand_interval_max)
        self.world.judge(*self.keep(kid), kid)
        if data.draw(st.booleans()):
            # Another change of the set ends every pause.
            self.world.issuer.replace_material(self.world.whole()[0])
            self.operator(data)
        if data.draw(st.booleans()):
            self.publish_again(kid)
            self.passes_in_time(kid)

    def idle(self, data: st.DataObject) -> None:
        """Stand idle past the due time while the issuer rolls over: what is held is not used before a refresh (R3, R10)."""
        kid, policy = data.draw(st.sampled_from(self.world.whole())), self.world.policy
        kept = self.keep(kid)
        self.world.judge(*kept, kid)
        data.draw(st.sampled_from([self.replace_material, self.take_out, self.cut_over]))(data)
        pause = data.draw(st.sampled_from([self.world.clock.advance, self.world.clock.suspend]))
        pause(policy.refresh_interval + data.draw(st.sampled_from([0, min(policy.removed_key_grace, policy.max_stale), policy.max_stale - TICK])))
        self.world.judge(*kept, kid)

    def publish_again(self, kid: str) -> None:
        """Publish a key that is not, or whose entry is broken."""
        issuer, key = self.world.issuer, self.world.issuer._keys[kid]
        if key.state == "published":
            key.members = {}
        elif key.state == "withheld":
            issuer.restore(kid)
        elif key.state == "unpublished" or kid != issuer.signing_kid:
            issuer.publish(kid)

    def passes_in_time(self, kid: str) -> None:
        """Check that a published key passes within the policy's bound, once the issuer answers (I2, U12)."""
        self.world.recover()
        self.world.clock.advance(self.model.longest_wait(kid, self.now))
        if kid in self.world.whole() and self.world.key_of(kid) not in self.model.revoked and kid not in self.model.awaited_kids:
            error = self.world.judge(*self.keep(kid), kid)
            assert error is None, f"a published key was refused beyond the policy's bound (I2): {error}"

    def slow(self, data: st.DataObject) -> None:
        """Hold the issuer's answer while a caller waits, and things happen."""
        kid = data.draw(st.sampled_from([*sorted(self.world.issuer._keys), "junk"]))
        token, thumbprint = (self.world.unknown(kid), None) if kid == "junk" else self.keep(kid)
        end: End = data.draw(st.sampled_from(["answers", "answers", "late", "fork"]))
        things = [lambda data: None, self.roll_over, self.pass_time, self.step_clock, self.change_revocations, self.spoil]
        chosen = data.draw(st.sampled_from(things))
        if self.with_store and end != "answers" and self.world.healthy:
            # A late answer may reach the store all the same, and then it is another process's word; here it is lost.
            self.world.fall_ill(self.world.issuer.drop_connection())
        self.world.judge_slowly(token, thumbprint, kid, end=end, meanwhile=lambda: chosen(data), held=self.old)

    def come_back(self, data: st.DataObject) -> None:
        """Let the issuer answer: its keys pass within the policy's bound, whatever was before."""
        self.passes_in_time(data.draw(st.sampled_from(self.world.whole())))

    def neighbour(self, data: st.DataObject) -> None:
        """Roll the neighbour's key over to a kid that was perhaps asked for here: it knows nothing of that (R15)."""
        other, kid = self.other, data.draw(st.sampled_from([*KIDS, "junk", "junk-0"]))
        if kid in other.issuer._keys:
            other.issuer.replace_material(kid)
        else:
            other.issuer.publish(kid)
        other.judge(other.lasting_token(kid), other.key_of(kid), kid)
        for token, _ in self.old[-1:]:
            other.refused_outright(token, "invalid_issuer")

    # Operators.

    def look(self, data: st.DataObject) -> None:
        """Look at readiness."""
        self.world.look()

    def operator(self, data: st.DataObject) -> None:
        """Refresh by hand."""
        before = self.world.requests
        with nullcontext() if self.world.healthy else pytest.raises(KeysUnavailableError):
            self.world.client.refresh()
        self.world.noted(before, by_operator=True)
        self.old_tokens(data)

    def change_revocations(self, data: st.DataObject) -> None:
        """Revoke or reinstate."""
        data.draw(st.sampled_from([self.revoke, self.revoke, self.revoke_a_kid_to_come, self.reinstate]))(data)

    def revoke(self, data: st.DataObject) -> None:
        """Revoke a key that is held, or one that was seen before."""
        held = sorted((key.kid or "", key.thumbprint) for key in self.world.client.snapshot().keys)
        if data.draw(st.booleans()) and held and self.model.is_usable(self.now):
            kid = data.draw(st.sampled_from(sorted({kid for kid, _ in held})))
            # What was held a moment ago may be over: the model says what counts.
            counts = {thumbprint for name, thumbprint in held if name == kid and self.model.allows(thumbprint, self.now)}
            if counts:
                self.world.revoke(kid=kid)
                self.model.revoked |= counts
                self.known |= dict.fromkeys(sorted(counts))
        else:
            thumbprint = data.draw(st.sampled_from(list(self.known)))
            self.world.revoke(thumbprint=thumbprint)
            self.model.revoked.add(thumbprint)

    def revoke_a_kid_to_come(self, data: st.DataObject) -> None:
        """Revoke a kid that no key ever had here."""
        if "k4" not in self.world.issuer._keys:
            self.world.revoke(kid="k4")
            self.model.awaited_kids.add("k4")

    def reinstate(self, data: st.DataObject) -> None:
        """Take a revocation back."""
        revoked = [thumbprint for thumbprint in self.known if thumbprint in self.model.revoked]
        if revoked:
            thumbprint = data.draw(st.sampled_from(revoked))
            self.world.reinstate(thumbprint)

    # Processes.

    def fork(self, data: st.DataObject) -> None:
        """Start anew as the child of a fork does."""
        self.world.client._keeper.renew()

    def restart(self, data: st.DataObject) -> None:
        """Start a new process, perhaps of a machine that was started anew, so that its monotonic clock begins again."""
        if data.draw(st.booleans()):
            self.world.clock._monotonic = 10.0
            self.other.begin_anew()
        self.world.begin_anew()
        self.old_tokens(data)

    @invariant()
    def is_alive(self) -> None:
        """A client that stands still has no refresh running, never more than its bounds in memory, and told no token (I5)."""
        for world in (self.world, self.other) if hasattr(self, "world") else ():
            assert world.client._keeper.state.attempt is None
            assert len(world.remembered) <= world.policy.max_unknown_kids
            world.check_what_was_told()

    def teardown(self) -> None:
        """Let the issuer recover: its keys pass within the policy's bound (I2, U12)."""
        if not hasattr(self, "world"):
            return
        self.passes_in_time(self.world.whole()[0])
        for world in (self.world, self.other):
            world.close()


class RolloversWithStore(Rollovers):
    """A client with a store: revocations and the last answer survive its process."""

    with_store = True


# A series that fails is shown as it was found: making it shorter takes minutes, and the run of all tests would be cut before.
SETTINGS = settings(max_examples=50, stateful_step_count=40, derandomize=True, database=None, phases=[Phase.generate])
TestRollovers = Rollovers.TestCase
TestRollovers.settings = SETTINGS
TestRolloversWithStore = RolloversWithStore.TestCase
TestRolloversWithStore.settings = SETTINGS

"""Random series of rollovers, outages, floods, clock steps and restarts against an independent model (I1, I2, I3).

After each token: it is accepted if and only if the model allows its key. After each request: the model allows it. At any time: a key
that is published passes within the policy's bound once the issuer answers.
"""

from __future__ import annotations

from contextlib import ExitStack, nullcontext

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.rollover.helpers import DAY, HOUR, TICK, World
from tests.rollover.model import Model, Published

from keyturn import KeySet, KeysUnavailableError, KeyturnError, MemoryStore, RolloverPolicy
from keyturn.clock import Instant, read

KIDS = ["k1", "k2", "k3", "k4"]
STEPS = [TICK, 1.0, 59.0, 299.0, 300.0, 600.0, 900.0, HOUR, 7_199.0, 7_200.0, 0.9 * DAY, DAY, 2 * DAY - 1, 2 * DAY]
POLICIES = [RolloverPolicy(), RolloverPolicy.strict(), RolloverPolicy(max_unknown_kids=2, removed_key_grace=2 * DAY)]
BAD_ANSWERS = [b"", b"<html>", b'{"keys": []}', b'{"keys": [{"kty": "oct", "k": "AA"}]}']


WEIGHTS = {
    "roll_over": 4,
    "fall_ill": 2,
    "recover": 2,
    "pass_time": 5,
    "step_wall": 1,
    "good_tokens": 6,
    "old_tokens": 2,
    "forged_token": 2,
    "flood": 2,
    "look": 1,
    "operator": 1,
    "change_revocations": 2,
    "fork": 1,
    "restart": 1,
}
"""How often each kind of step is taken. Rules of their own would each be left out of many series, and few series would have it all."""


class Rollovers(RuleBasedStateMachine):
    """A client without a store: revocations live as long as the process, and in the next one's configuration."""

    with_store = False

    @initialize(policy=st.sampled_from(POLICIES), draw=st.sampled_from([0.0, 0.5, 0.999]))
    def build(self, policy: RolloverPolicy, draw: float) -> None:
        """Build an issuer, a client that never asked it, and the model."""
        self.world = World(policy, draw=draw, store=MemoryStore() if self.with_store else None)
        self.model = Model(policy)
        self.fault = ExitStack()
        self.retry_after: float | None = None
        self.healthy = True
        self.kept: tuple[Published, Instant] | None = None
        self.known: dict[str, None] = {}
        self.old = [(self.lasting_token("k1"), self.key_of("k1"))]

    @rule(name=st.sampled_from([name for name, weight in WEIGHTS.items() for _ in range(weight)]), data=st.data())
    def step(self, name: str, data: st.DataObject) -> None:
        """Take one step of any kind."""
        getattr(self, name)(data)

    # The issuer.

    def roll_over(self, data: st.DataObject) -> None:
        """Take one step of a rollover."""
        steps = (self.publish, self.promote, self.take_out, self.restore, self.cut_over, self.replace_material, self.sign_early)
        data.draw(st.sampled_from(steps))(data)

    def published(self) -> Published:
        """Return the thumbprints that are published now."""
        return {kid: {self.key_of(kid)} for kid in self.in_state("published")}

    def key_of(self, kid: str) -> str:
        """Return the thumbprint of the key that signs under *kid*, published or not."""
        (key,) = KeySet.from_jwks({"keys": [self.world.issuer._keys[kid].entry()]}).keys
        # Keys are as random as keys are; in the order of their coming they are drawn from in the same way each time.
        self.known.setdefault(key.thumbprint)
        return key.thumbprint

    def lasting_token(self, kid: str) -> str:
        """Return a token that no step of the clock makes too old or too new."""
        return self.world.issuer.token(key=kid, lifetime=400 * DAY, iat=1_700_000_000)

    def in_state(self, *states: str) -> list[str]:
        """Return the kids in one of these states."""
        return [kid for kid, key in self.world.issuer._keys.items() if key.state in states]

    def publish(self, data: st.DataObject) -> None:
        """Publish a new key."""
        issuer = self.world.issuer
        free = [
            kid for kid in KIDS if kid not in issuer._keys or (issuer._keys[kid].state in {"retired", "unpublished"} and kid != issuer.signing_kid)
        ]
        if free:
            issuer.publish(data.draw(st.sampled_from(free)))

    def promote(self, data: st.DataObject) -> None:
        """Sign with a published key."""
        self.world.issuer.promote(data.draw(st.sampled_from(self.in_state("published"))))

    def take_out(self, data: st.DataObject) -> None:
        """Take a key out, for good or for a while; a set is never left empty."""
        kids, issuer = self.in_state("published"), self.world.issuer
        if len(kids) > 1:
            data.draw(st.sampled_from([issuer.retire, issuer.withhold]))(data.draw(st.sampled_from(kids)))

    def restore(self, data: st.DataObject) -> None:
        """Publish a withheld key again."""
        kids = self.in_state("withheld")
        if kids:
            self.world.issuer.restore(data.draw(st.sampled_from(kids)))

    def cut_over(self, data: st.DataObject) -> None:
        """Replace the whole set in one step."""
        issuer = self.world.issuer
        free = [kid for kid in KIDS if kid not in issuer._keys or (kid in self.in_state("retired") and kid != issuer.signing_kid)]
        if free:
            issuer.cut_over(data.draw(st.sampled_from(free)))

    def replace_material(self, data: st.DataObject) -> None:
        """Put a new key under a kid, and shuffle the set."""
        self.world.issuer.replace_material(data.draw(st.sampled_from(self.in_state("published"))))
        self.world.issuer.shuffle(data.draw(st.integers(0, 99)))

    def sign_early(self, data: st.DataObject) -> None:
        """Sign with a key before it is published; it may be published later, as a new one under its kid."""
        issuer = self.world.issuer
        if "k3" not in issuer._keys:
            issuer.sign_unpublished("k3")
        elif issuer._keys["k3"].state == "unpublished":
            issuer.publish("k3")

    def fall_ill(self, data: st.DataObject) -> None:
        """Fail from now on, one way or another."""
        retry_after, body = data.draw(st.sampled_from([None, None, None, 0, 120, 10**9])), data.draw(st.sampled_from(BAD_ANSWERS))
        self.recover()
        issuer = self.world.issuer
        faults = {"down": issuer.down(retry_after=retry_after), "drop": issuer.drop_connection(), "bad": issuer.answer(body)}
        kind = data.draw(st.sampled_from(sorted(faults)))
        self.fault.enter_context(faults[kind])
        self.healthy, self.retry_after = False, retry_after if kind == "down" else None

    def recover(self, data: st.DataObject | None = None) -> None:
        """Answer again."""
        self.fault.close()
        self.healthy = True

    # Time.

    def pass_time(self, data: st.DataObject) -> None:
        """Let time pass, or suspend the machine."""
        clock = self.world.clock
        data.draw(st.sampled_from([clock.advance, clock.suspend]))(data.draw(st.sampled_from(STEPS)))

    def step_wall(self, data: st.DataObject) -> None:
        """Set the wall clock alone."""
        if not self.with_store:
            self.world.clock.step_wall(data.draw(st.sampled_from([-2 * DAY, -2 * HOUR, -30.0, 30.0, 2 * HOUR])))

    @property
    def now(self) -> Instant:
        """Both clocks."""
        return read(self.world.clock)

    # The client.

    def noted(self, before: int, *, by_operator: bool = False) -> None:
        """Tell the model what the issuer was asked since *before*."""
        self.world.idle()
        for _ in range(self.world.requests - before):
            self.model.request(self.now, by_operator=by_operator)
            if self.healthy:
                self.model.takes(self.published(), self.now, self.now)
                self.kept = (self.published(), self.now)
            else:
                self.model.fails(self.now, self.retry_after)

    def judge(self, token: str, thumbprint: str | None) -> KeyturnError | None:
        """Validate a token, and compare the verdict with the model's (I1)."""
        if thumbprint is None or not self.model.allows(thumbprint, self.now):
            # A token that verifies under no key of its kid would race with the refresh that it starts in the background.
            self.look()
        before, model = self.world.requests, self.model
        allowed_before = thumbprint is not None and model.allows(thumbprint, self.now)
        error = None
        try:
            self.world.validator.validate(token)
        except KeyturnError as refused:
            error = refused
        self.noted(before)
        allowed_after = thumbprint is not None and model.allows(thumbprint, self.now)
        if error is None:
            assert allowed_before or allowed_after, "accepted a key that may not verify (I1)"
        else:
            assert not (allowed_before and allowed_after), f"refused a key that is held (I2): {error}"
        return error

    def good_tokens(self, data: st.DataObject) -> None:
        """Send a token of every key that is, was or will be published."""
        for kid in sorted(self.world.issuer._keys):
            token, thumbprint = self.world.issuer.token(key=kid), self.key_of(kid)
            self.old = [*self.old, (self.lasting_token(kid), thumbprint)][-6:]
            error = self.judge(token, thumbprint)
            is_published = thumbprint in set().union(*self.published().values())
            if error is not None and is_published and thumbprint not in self.model.revoked:
                says_when = error.code == "invalid_signature" or error.retry_after is not None
                assert says_when, f"refused a published key without saying until when (I2): {error.code} {error}"

    def old_tokens(self, data: st.DataObject) -> None:
        """Send long-lived tokens of earlier days, perhaps of material that was replaced since."""
        for token, thumbprint in self.old:
            self.judge(token, thumbprint)

    def forged_token(self, data: st.DataObject) -> None:
        """Send a token that no published key signed."""
        kid, headers = data.draw(st.sampled_from([*KIDS, "junk"])), data.draw(st.sampled_from([{}, {"kid": None}]))
        self.judge(self.world.issuer.forge(key=kid, headers=headers), None)

    def flood(self, data: st.DataObject) -> None:
        """Send kids that nobody ever heard of."""
        for number in range(data.draw(st.integers(2, 6))):
            before = self.world.requests
            error = self.world.refusal(self.world.unknown(f"junk-{number}"))
            self.noted(before)
            assert error.code in {"unknown_key", "fetch_failed", "invalid_key_set", "keys_unavailable"}
            assert error.http_status == 401 or self.model.failed is not None, "an answer that succeeded was told as an outage"
            assert error.http_status == 503 or self.model.failed is None, "an outage was told as a bad token"

    def look(self, data: st.DataObject | None = None) -> None:
        """Look at readiness."""
        before = self.world.requests
        self.world.client.status()
        self.noted(before)
        assert self.world.client.status().ready <= self.model.is_usable(self.now)
        self.world.idle()

    def operator(self, data: st.DataObject) -> None:
        """Refresh by hand."""
        before = self.world.requests
        with nullcontext() if self.healthy else pytest.raises(KeysUnavailableError):
            self.world.client.refresh()
        self.noted(before, by_operator=True)

    # Revocations.

    def change_revocations(self, data: st.DataObject) -> None:
        """Revoke or reinstate."""
        data.draw(st.sampled_from([self.revoke, self.revoke_a_kid_to_come, self.reinstate]))(data)

    def revoke(self, data: st.DataObject) -> None:
        """Revoke a key that is held, or one that was seen before."""
        held = sorted((key.kid or "", key.thumbprint) for key in self.world.client.snapshot().keys)
        if data.draw(st.booleans()) and held and self.model.is_usable(self.now):
            kid = data.draw(st.sampled_from(sorted({kid for kid, _ in held})))
            self.world.client.revoke(kid=kid)
            self.model.revoked |= {thumbprint for name, thumbprint in held if name == kid}
        else:
            _, thumbprint = data.draw(st.sampled_from(self.old))
            self.world.client.revoke(thumbprint=thumbprint)
            self.model.revoked.add(thumbprint)

    def revoke_a_kid_to_come(self, data: st.DataObject) -> None:
        """Revoke a kid that no key ever had here."""
        if "k4" not in self.world.issuer._keys:
            self.world.client.revoke(kid="k4")
            self.model.awaited_kids.add("k4")

    def reinstate(self, data: st.DataObject) -> None:
        """Take a revocation back."""
        if self.model.revoked:
            thumbprint = data.draw(st.sampled_from([thumbprint for thumbprint in self.known if thumbprint in self.model.revoked]))
            self.world.client.reinstate(thumbprint=thumbprint)
            self.model.revoked.discard(thumbprint)

    # Processes.

    def fork(self, data: st.DataObject) -> None:
        """Start anew as the child of a fork does."""
        self.world.client._keeper.renew()

    def restart(self, data: st.DataObject) -> None:
        """Start a new process; what it knows comes from the store, or from nowhere but the configuration."""
        self.world.idle()
        revoked = self.model.revoked
        self.model = Model(self.world.policy, revoked=revoked, awaited_kids=self.model.awaited_kids if self.with_store else set())
        self.world.restart(revoked=() if self.with_store else sorted(revoked))
        before, now = self.world.requests, self.now
        self.world.client.status()
        self.world.idle()
        if self.with_store and self.kept is not None:
            keys, asked = self.kept
            age = max(0.0, now.wall - asked.wall)
            from_store = age < self.world.policy.refresh_interval
            assert (self.world.requests == before) == from_store, "a snapshot is used until it is due, and no longer (F82)"
            if age < self.world.policy.refresh_interval + self.world.policy.max_stale:
                self.model.takes(keys, now.shifted(-age), now)
        self.noted(before)

    @invariant()
    def is_alive(self) -> None:
        """A client that stands still has no refresh running, and never more than its bounds in memory."""
        assert self.world.client._keeper.state.attempt is None
        assert len(self.world.remembered) <= self.world.policy.max_unknown_kids

    def teardown(self) -> None:
        """Let the issuer recover: its keys pass within the policy's bound (I2, U12)."""
        if not hasattr(self, "world"):
            return
        self.recover()
        kid = next(
            (kid for kid in self.in_state("published") if self.key_of(kid) not in self.model.revoked and kid not in self.model.awaited_kids), None
        )
        waited, most = 0.0, self.model.longest_wait(self.now)
        while kid is not None and (error := self.judge(self.world.issuer.token(key=kid), self.key_of(kid))) is not None:
            pause = error.retry_after or self.world.policy.on_demand_interval
            waited += pause
            assert waited <= most + 1, f"a published key was refused for {waited} s: {error}"
            self.world.clock.advance(pause)


class RolloversWithStore(Rollovers):
    """A client with a store: revocations and the last answer survive its process."""

    with_store = True


# A series that fails is shown as it was found: making it shorter takes minutes, and the run of all tests would be cut before.
SETTINGS = settings(max_examples=50, stateful_step_count=40, derandomize=True, database=None, phases=[Phase.generate])
TestRollovers = Rollovers.TestCase
TestRollovers.settings = SETTINGS
TestRolloversWithStore = RolloversWithStore.TestCase
TestRolloversWithStore.settings = SETTINGS

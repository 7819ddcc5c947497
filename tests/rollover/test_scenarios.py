"""Whole rollovers and faults over virtual hours: what tokens meet, what the issuer is asked, what operators are told."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from tests.rollover.helpers import DAY, HOUR, TICK, Caller, World, wait_for_callers

from keyturn import (
    FetchSucceeded,
    KeyDropped,
    KeyReplaced,
    KeyReturned,
    KeySetChanged,
    KeyVanished,
    MemoryStore,
    RolloverPolicy,
)

MINUTE = 60.0


def reasons(world: World) -> list[str]:
    """Return why each good refresh was made."""
    return [event.reason for event in world.told(FetchSucceeded)]


class TestRollovers:
    """What issuers do to their keys."""

    def test_planned(self) -> None:
        """F49: publish, sign an hour later, retire a day later: no failure, and nothing is asked besides the schedule."""
        world = World().warm()
        for hour in range(72):
            if hour == 23:
                world.issuer.publish("k2")
            if hour == 25:
                world.issuer.promote("k2")
            if hour == 47:
                world.issuer.retire("k1")
            if hour < 26:
                assert world.verdict(world.issuer.token(key="k1")) == "accepted"
            assert world.verdict(world.issuer.token()) == "accepted"
            world.clock.advance(HOUR)
        assert reasons(world) == ["schedule", "schedule"]
        assert [type(event) for event in world.delivered() if not isinstance(event, FetchSucceeded)] == [
            KeySetChanged,
            KeySetChanged,
            KeyVanished,
            KeyDropped,
        ]

    def test_swap_in_one_step(self) -> None:
        """F50, U1: the first new token is accepted after one refresh, old ones for the grace (M17, M18, M30)."""
        world = World().warm()
        world.issuer.cut_over("k2")
        assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 1)
        assert [event.nothing_in_common for event in world.told(KeySetChanged)] == [True]
        world.clock.advance(7_200 - TICK)
        assert world.verdict(world.issuer.token(key="k1")) == "accepted"
        world.clock.advance(TICK)
        assert world.verdict(world.issuer.token(key="k1")) == "unknown_key"
        assert [event.kid for event in world.told(KeyDropped)] == ["k1"]

    @pytest.mark.parametrize(("policy", "refused_at"), [(RolloverPolicy(), DAY + 7_200), (RolloverPolicy.strict(), 300.0)])
    def test_a_stolen_key_that_the_issuer_removed(self, policy: RolloverPolicy, refused_at: float) -> None:
        """F51, U7: with traffic, refused at the latest `longest_trust_after_removal` after the last answer with it."""
        world = World(policy)
        world.issuer.publish("k2")
        world.warm()
        world.issuer.promote("k2")
        world.issuer.retire("k1")
        assert policy.longest_trust_after_removal == refused_at
        accepted_until = 0.0
        for minute in range(int(refused_at / MINUTE) + 5):
            assert world.verdict(world.issuer.token()) == "accepted"
            if world.verdict(world.issuer.token(key="k1")) == "accepted":
                accepted_until = minute * MINUTE
            world.clock.advance(MINUTE)
        assert accepted_until == refused_at - MINUTE

    @pytest.mark.parametrize("fails", [False, True])
    def test_a_grace_that_ends_while_a_refresh_runs(self, fails: bool) -> None:
        """B7: it is over at its instant, whatever runs and however that ends, also on the way without a lock."""
        world = World()
        world.issuer.publish("k2")
        world.warm()
        world.issuer.retire("k1")
        world.client.refresh()
        assert world.verdict(world.issuer.token(key="k1")) == "accepted"
        world.clock.advance(7_200 - 10)
        with world.issuer.down() if fails else nullcontext(), world.issuer.gate() as gate:
            assert world.validator.validate(world.issuer.token(key="k1"))
            assert gate.wait_for_arrival()
            world.clock.advance(10)
            gate.open()
            world.idle()
        assert world.verdict(world.issuer.token(key="k1")) == ("keys_unavailable" if fails else "unknown_key")

    def test_a_key_that_comes_and_goes(self) -> None:
        """F52, U40: within the grace always served, and its use asks again by Z15; after it an unknown kid like any other."""
        world = World()
        world.issuer.publish("k2")
        world.warm()
        world.issuer.withhold("k1")
        world.client.refresh()
        world.forget()
        asked_at = []
        for second in range(0, 7_200, 50):
            before = world.requests
            assert world.verdict(world.issuer.token(key="k1")) == "accepted"
            asked_at += [second] * (world.requests - before)
            world.clock.advance(50)
        assert asked_at == [0, 300, 900, 1_800, 2_700, 3_600, 4_500, 5_400, 6_300]
        assert set(reasons(world)) == {"vanished_key"}
        assert world.verdict(world.issuer.token(key="k1")) == "unknown_key"
        world.issuer.restore("k1")
        world.clock.advance(300)
        assert world.verdict(world.issuer.token(key="k1")) == "accepted"
        assert [event.kid for event in world.told(KeyReturned)] == ["k1"]

    def test_a_forged_use_of_a_vanished_key(self) -> None:
        """Z15: only a use whose signature verified asks for the key; a forged one is an invalid signature like any other (Z11)."""
        world = World()
        world.issuer.publish("k2")
        world.warm()
        world.issuer.withhold("k1")
        world.client.refresh()
        world.forget()
        assert world.verdict(world.issuer.forge(key="k1")) == "invalid_signature"
        assert reasons(world) == ["unknown_key"]

    def test_an_older_answer_of_a_cache_in_between(self) -> None:
        """F28, F55: both keys verify; the newer one has vanished and its use asks again; back again is reported."""
        world = World().warm()
        world.issuer.cut_over("k2")
        world.accept(world.issuer.token())
        world.issuer.withhold("k2")
        world.issuer.publish("k9")
        world.clock.advance(300)
        world.client.refresh()
        assert world.verdict(world.issuer.token()) == "accepted"
        assert reasons(world) == ["unknown_key", "operator", "vanished_key"]
        world.issuer.restore("k2")
        world.clock.advance(300)
        assert world.verdict(world.issuer.token()) == "accepted"
        assert [event.kid for event in world.told(KeyReturned)] == ["k2"]

    def test_new_material_under_a_kid(self) -> None:
        """F44, U30: the first new token is accepted after one refresh, old ones for the grace, and it is reported (M50)."""
        world = World().warm()
        old = world.issuer.token()
        world.issuer.replace_material("k1")
        assert (world.verdict(world.issuer.token()), world.verdict(old), reasons(world)[0]) == ("accepted", "accepted", "unknown_key")
        assert len(world.told(KeyReplaced)) == 1
        world.clock.advance(3_000)
        assert world.verdict(world.issuer.token()) == "accepted"

    def test_forged_tokens_under_a_held_kid(self) -> None:
        """U30: a thousand of them in an hour make at most 6 refreshes, and none is accepted (R13, M54)."""
        world = World().warm()
        verdicts = set()
        for _ in range(1_000):
            verdicts.add(world.verdict(world.issuer.forge()))
            world.clock.advance(3.6)
        assert verdicts == {"invalid_signature"}
        assert world.requests == 5

    def test_an_issuer_without_kids(self) -> None:
        """F60: its first new token is accepted after one refresh, old ones for the grace."""
        world = World()
        world.issuer.cut_over("a", kid=None)
        world.warm()
        old = world.issuer.token()
        world.issuer.cut_over("b", kid=None)
        assert (world.verdict(world.issuer.token()), world.verdict(old)) == ("accepted", "accepted")
        assert reasons(world)[0] == "unknown_key"

    def test_a_second_rollover_within_the_allowance(self) -> None:
        """F58: 401 with `retry_after` until it returns; the operator's `refresh()` helps at once."""
        world = World().warm()
        world.issuer.cut_over("k2")
        world.accept(world.issuer.token())
        world.issuer.cut_over("k3")
        world.clock.advance(100)
        assert world.refusal(world.issuer.token()).retry_after == 200
        world.client.refresh()
        assert world.verdict(world.issuer.token()) == "accepted"

    def test_while_a_refresh_is_running(self) -> None:
        """F59: judged on the running one, then on one more."""
        world = World().warm()
        with world.issuer.gate() as gate:
            operator = Caller(world.client.refresh)
            assert gate.wait_for_arrival()
            world.issuer.cut_over("k2")
            caller = Caller(lambda: world.validator.validate(world.issuer.token()).key_id)
            wait_for_callers(world, 1)
            gate.open()
            assert caller.outcome() == "k2"
            assert operator.outcome().ready
        world.idle()
        assert reasons(world) == ["operator", "unknown_key"]

    def test_right_after_start_up(self) -> None:
        """F32, U4: start-up and schedule spend no allowance (M13, M14)."""
        world = World().warm()
        world.issuer.cut_over("k2")
        world.clock.advance(0.5)
        assert world.verdict(world.issuer.token()) == "accepted"
        world.clock.advance(DAY)
        world.accept(world.issuer.token())
        world.issuer.cut_over("k3")
        assert world.verdict(world.issuer.token()) == "accepted"
        assert reasons(world) == ["unknown_key", "schedule", "unknown_key"]

    def test_a_restart_with_a_store(self) -> None:
        """A set out of the store is older than the question: the first token of a key that it lacks asks the issuer as well."""
        world = World(store=MemoryStore()).warm()
        world.clock.advance(HOUR)
        world.issuer.cut_over("k2")
        world.restart()
        assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 1)
        assert reasons(world) == ["store", "unknown_key"]

    def test_a_key_every_ten_seconds(self) -> None:
        """F56: at most 3 on-demand refreshes in ten minutes; fetched keys never fail, the others say when to come again."""
        world = World().warm()
        fetched = {"k1"}
        for number in range(2, 62):
            world.issuer.publish(f"k{number}")
            world.issuer.promote(f"k{number}")
            error = None if world.verdict(world.issuer.token()) == "accepted" else world.refusal(world.issuer.token())
            if error is None:
                fetched |= set(world.issuer.published_kids)
            else:
                assert (error.code, 1 <= (error.retry_after or 0) <= 300) == ("unknown_key", True)
            assert {world.verdict(world.issuer.token(key=kid)) for kid in ("k1", max(fetched))} == {"accepted"}
            world.clock.advance(10)
        assert world.requests <= 3

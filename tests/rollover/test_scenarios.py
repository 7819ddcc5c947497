"""What happens beside a rollover: graces that end, forged uses, restarts. Whole rollovers stand in `tests/faults/test_rollovers.py`."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from tests.rollover.helpers import DAY, HOUR, World

from keyturn import FetchSucceeded, KeyReturned, MemoryStore


def reasons(world: World) -> list[str]:
    """Return why each good refresh was made."""
    return [event.reason for event in world.told(FetchSucceeded)]


class TestRollovers:
    """What issuers do to their keys."""

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

    def test_forged_tokens_under_a_held_kid(self) -> None:
        """U30: a thousand of them in an hour make at most 6 refreshes, and none is accepted (R13, M54)."""
        world = World().warm()
        verdicts = set()
        for _ in range(1_000):
            verdicts.add(world.verdict(world.issuer.forge()))
            world.clock.advance(3.6)
        assert verdicts == {"invalid_signature"}
        assert world.requests == 5

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

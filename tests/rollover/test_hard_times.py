"""Floods and outages over virtual hours: what tokens meet, what the issuer is asked, what operators are told."""

from __future__ import annotations

import json

import pytest
from tests.rollover.helpers import DAY, HOUR, TICK, Caller, World

from keyturn import FetchFailed, KeySetChanged, RolloverPolicy, StaleKeysServed, UnknownKey

MINUTE = 60.0
BAD_ANSWERS = [b'{"keys": []}', b'{"keys": null}', b"{}", b'{"keys": {}}', b'{"keys": [null, 1, {"kty": "oct"}]}', b"<html>", b""]


def flood(world: World, seconds: int, *, step: float = 1.0, each: int = 3) -> set[str]:
    """Send unknown kids, never the same one twice, for so many steps; return the verdicts."""
    verdicts = set()
    for number in range(seconds):
        verdicts |= {world.verdict(world.unknown(f"junk-{world.clock.wall()}-{number}-{part}")) for part in range(each)}
        world.clock.advance(step)
    return verdicts


class TestFloods:
    """Tokens that nobody signed."""

    def test_random_kids(self) -> None:
        """F30, U3: at most 13 refreshes in an hour; held keys serve; the memory is bounded; events are sampled (M3)."""
        world = World(RolloverPolicy(max_unknown_kids=64)).warm()
        assert flood(world, 1_800, step=2.0) == {"unknown_key"}
        assert world.requests <= 13
        assert len(world.remembered) == 64
        assert len(world.told(UnknownKey)) <= 2 * 3_600
        assert sum(event.count for event in world.told(UnknownKey)) > 3_600
        assert world.verdict(world.issuer.token()) == "accepted"

    def test_a_held_key_serves_while_the_gate_is_closed(self) -> None:
        """R7, M35: nobody's unknown kid keeps the tokens of held keys."""
        world = World().warm()
        with world.issuer.gate() as gate:
            stuck = Caller(lambda: world.verdict(world.unknown("junk")))
            assert gate.wait_for_arrival()
            for _ in range(200):
                assert world.validator.validate(world.issuer.token())
            assert stuck.is_alive()
            gate.open()
            assert stuck.outcome() == "unknown_key"

    def test_a_rollover_during_a_flood(self) -> None:
        """F31: the owed refresh starts with the first token after the allowance returns (M43)."""
        world = World().warm()
        world.verdict(world.unknown("junk"))
        world.clock.advance(10)
        world.issuer.cut_over("k2")
        assert world.refusal(world.issuer.token()).retry_after == 290
        world.clock.advance(290 - TICK)
        assert (world.verdict(world.issuer.token(key="k1")), world.requests) == ("accepted", 1)
        world.clock.advance(TICK)
        assert (world.verdict(world.issuer.token(key="k1")), world.requests) == ("accepted", 2)
        assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 2)

    def test_junk_that_fails_a_cheap_check(self) -> None:
        """U4: ten thousand of them spend no allowance (M39)."""
        world = World().warm()
        junk = [world.issuer.forge(key="junk", audience="api://other"), world.issuer.forge(key="junk", lifetime=-100), "x.y.z"]
        for number in range(10_000):
            with pytest.raises(Exception, match=r"\S"):
                world.validator.validate(junk[number % 3])
        world.issuer.cut_over("k2")
        assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 1)

    def test_one_dead_kid_every_second(self) -> None:
        """U4, R13: a stuck client asks at 0, 300, 900 and then every 900 s, so the allowance is there two thirds of the time (M54)."""
        world = World().warm()
        asked_at = []
        for second in range(0, 7_200, 10):
            before = world.requests
            assert world.verdict(world.unknown("dead")) == "unknown_key"
            asked_at += [second] * (world.requests - before)
            world.clock.advance(10)
        assert asked_at == [0, 300, 900, 1_800, 2_700, 3_600, 4_500, 5_400, 6_300]

    def test_a_kid_used_before_it_is_published(self) -> None:
        """F33: looked up in vain, it is found 300 s after (M41), and later by the longer pauses."""
        world = World().warm()
        world.issuer.sign_unpublished("k2")
        assert world.refusal(world.issuer.token()).retry_after is None
        world.clock.advance(90)
        world.issuer.publish("k2")
        assert world.refusal(world.issuer.token()).retry_after == 210
        world.clock.advance(210)
        assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 2)

    def test_a_change_of_the_set_ends_every_pause(self) -> None:
        """B13, M40: after any change a kid may be asked for again at once, within the allowance."""
        world = World().warm()
        world.issuer.sign_unpublished("k2")
        for pause in (300, 600, 300):
            assert world.refusal(world.issuer.token()).retry_after is None
            world.clock.advance(pause)
        assert world.refusal(world.issuer.token()).retry_after == 600
        world.issuer.publish("k3")
        assert world.verdict(world.issuer.token(key="k3")) == "accepted"
        world.issuer.publish("k2")
        assert world.refusal(world.issuer.token()).retry_after == 300
        world.clock.advance(300)
        assert world.verdict(world.issuer.token()) == "accepted"

    def test_a_look_up_that_changes_the_set(self) -> None:
        """Z9: a kid that is still missing from the changed set begins its pauses anew."""
        world = World().warm()
        for pause in (300, 600, 0):
            assert world.refusal(world.unknown("dead")).retry_after is None
            world.clock.advance(pause)
            world.issuer.publish(f"new-{pause}")
        world.forget()
        world.clock.advance(300)
        assert (world.verdict(world.unknown("dead")), world.requests) == ("unknown_key", 1)

    def test_the_least_recently_used_kid_leaves(self) -> None:
        """B13: beyond `max_unknown_kids` the kid that was not asked for longest is forgotten, and may ask again."""
        world = World(RolloverPolicy(max_unknown_kids=2)).warm()
        for kid in ("a", "a", "b", "c"):
            world.verdict(world.unknown(kid))
            world.clock.advance(300)
        before = world.requests
        world.verdict(world.unknown("a"))
        assert world.requests == before + 1
        assert world.remembered == {"a", "c"}


class TestOutages:
    """The issuer cannot be read."""

    def test_for_49_hours(self) -> None:
        """F24, U2, B4: served all through 48 h, stale and reported from 24 h on, then 503; the first good answer heals (M1, M7)."""
        world = World().warm()
        with world.issuer.down(502):
            world.clock.advance(DAY - TICK)
            assert world.verdict(world.issuer.token()) == "accepted"
            assert (world.requests, world.told(StaleKeysServed)) == (0, [])
            world.clock.advance(TICK)
            assert world.verdict(world.issuer.token()) == "accepted"
            (stale,) = world.told(StaleKeysServed)
            assert (stale.age, stale.until) == (DAY, world.clock.wall() + DAY)
            for _ in range(23):
                world.clock.advance(HOUR)
                assert world.verdict(world.issuer.token()) == "accepted"
            world.clock.advance(HOUR - TICK)
            assert world.verdict(world.issuer.token()) == "accepted"
            assert len(world.told(StaleKeysServed)) == 25
            world.clock.advance(TICK)
            assert world.refusal(world.issuer.token()).code == "keys_unavailable"
            world.clock.advance(HOUR)
            assert world.refusal(world.issuer.token()).code == "fetch_failed"
        world.clock.advance(300)
        assert world.verdict(world.issuer.token()) == "accepted"
        assert world.client.status().failures == 0

    def test_with_a_flood(self) -> None:
        """U25, B6: attempts at 0, 1, 3, 7, 15, 31 s: six in a minute, each answer 503 with `retry_after` (M2)."""
        world = World(draw=1.0).warm()
        attempts = []
        with world.issuer.down():
            for second in range(820):
                before = world.requests
                for part in range(3):
                    error = world.refusal(world.unknown(f"junk-{second}-{part}"))
                    assert (error.http_status, (error.retry_after or 0) >= 1) == (503, True)
                attempts += [second] * (world.requests - before)
                world.clock.advance(1)
        assert attempts == [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 811]
        assert [event.failures for event in world.told(FetchFailed)] == list(range(1, 12))

    def test_retry_after(self) -> None:
        """F23: nothing is asked before it, the operator's own refresh apart (M22, M23)."""
        world = World().warm()
        with world.issuer.down(429, retry_after=1_000_000_000):
            assert world.refusal(world.unknown("junk")).retry_after == 3_600
        assert world.client.refresh().ready
        with world.issuer.down(429, retry_after=120):
            world.clock.advance(300)
            assert world.refusal(world.unknown("junk")).retry_after == 120
            world.clock.advance(120 - TICK)
            world.verdict(world.unknown("junk"))
            world.accept(world.issuer.token())
            assert world.requests == 3
            world.clock.advance(TICK)
            world.accept(world.issuer.token())
            assert world.requests == 4

    @pytest.mark.parametrize("body", BAD_ANSWERS)
    def test_a_bad_answer(self, body: bytes) -> None:
        """F25, F34, F36, U16: a failed refresh, however often; the set stays to its 48 h (M29)."""
        world = World().warm()
        with world.issuer.answer(body):
            for _ in range(47):
                world.clock.advance(HOUR)
                assert world.verdict(world.issuer.token()) == "accepted"
            assert {event.code for event in world.told(FetchFailed)} == {"invalid_key_set"}
            world.clock.advance(HOUR)
            assert world.refusal(world.issuer.token()).http_status == 503
        assert world.told(KeySetChanged) == []

    def test_cache_control(self) -> None:
        """F26, U39: ignored unless asked for; followed it asks every 300 s at most, and no on-demand refresh is blocked."""
        for follow, expected in ((False, 0), (True, 12)):
            world = World(RolloverPolicy(follow_cache_control=follow))
            body = b'{"keys": [' + json.dumps(world.issuer.jwks()["keys"][0]).encode() + b"]}"
            with world.issuer.answer(body, headers={"cache-control": "max-age=0, no-store"}):
                world.warm()
                for _ in range(60):
                    world.clock.advance(MINUTE)
                    world.accept(world.issuer.token())
                assert world.requests == expected
            world.issuer.cut_over("k2")
            assert world.verdict(world.issuer.token()) == "accepted"

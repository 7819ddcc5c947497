"""The table of verdicts, continued: no usable set, and looks at readiness."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.rollover.helpers import World
from tests.rollover.verdicts import Refused, check, cold, overdue, too_old

from keyturn import FetchError, KeysUnavailableError, UnknownKeyError

UNKNOWN = Refused(UnknownKeyError, "unknown_key")


@pytest.mark.parametrize("state", [cold, too_old])
def test_cold(state: Callable[[], World]) -> None:
    """One shared start-up refresh: judged on it, or 503; while the backoff runs 503 at once (B3, F24)."""
    world = state()
    assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 1)
    world = state()
    check(world, world.unknown("k2"), UNKNOWN, requests=1)
    world = state()
    with world.issuer.down(retry_after=30):
        check(world, world.issuer.token(), Refused(FetchError, "fetch_failed", 30), requests=1)
        world.clock.advance(9.25)
        check(world, world.issuer.token(), Refused(KeysUnavailableError, "keys_unavailable", 21), requests=1)
    world.clock.advance(21)
    assert (world.verdict(world.issuer.token()), world.requests) == ("accepted", 2)


@pytest.mark.parametrize("state", [cold, overdue, too_old])
def test_a_look_at_readiness(state: Callable[[], World]) -> None:
    """It starts the refresh in the background and answers with the state as it is, within R8 (U11)."""
    world = state()
    with world.issuer.gate() as gate:
        assert world.client.status().ready == (state is overdue)
        assert world.validator.status().generation == (state is not cold)
        assert gate.wait_for_arrival()
        gate.open()
        world.idle()
    status = world.client.status()
    assert (status.ready, status.stale, status.age, world.requests) == (True, False, 0.0, 1)


def test_looks_at_readiness_obey_the_backoff() -> None:
    """Looks alone bring a cold client up, and never ask within the backoff."""
    world = World()
    with world.issuer.down():
        for _ in range(20):
            assert not world.client.status().ready
            world.idle()
        assert world.requests == 1
    world.clock.advance(1)
    world.client.status()
    world.idle()
    assert (world.client.status().ready, world.requests) == (True, 2)

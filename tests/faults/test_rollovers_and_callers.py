"""Rollovers that many callers meet at once, and crowds that meet one refresh (F56-F61, U10, U14).

Rules of this file:

1. Whoever must not wait is shown to be back while a gate is closed; whoever must wait is counted at the gate.
2. All callers of one instant get the same verdict.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest
from tests.contract.drivers import AUDIENCE, CANCELLED, DRIVERS, LOOPS, PATIENCE, Calls, Driver, Threads, waiting
from tests.faults.harness import CASES, QUICK, UNHURRIED, Case, Scene

from keyturn import (
    FetchError,
    FetchFailed,
    FetchSucceeded,
    IssuerRouter,
    KeyReplaced,
    KeySetChanged,
    KeySetClient,
    KeysUnavailableError,
    RolloverPolicy,
    TokenValidator,
    UnknownKey,
    UnknownKeyError,
    ValidatedToken,
)
from keyturn.testing import FakeClock, FakeIssuer

in_every_way = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

DAY, GRACE = 86_400, 7_200
CROWD = RolloverPolicy(deadline=60.0)
"""A thousand callers take their time to come to a gate."""


def accepted(outcomes: list[Any]) -> bool:
    """Return whether everybody was let in."""
    return all(isinstance(outcome, ValidatedToken) for outcome in outcomes)


@in_every_way
def test_f56_new_key_every_ten_seconds(case: Case) -> None:
    """For ten minutes: at most three look-ups; fetched keys never fail, and the others are told when to come again."""
    with Scene(case, policy=UNHURRIED) as scene:
        if case.warm:
            scene.warm()
        fetched: list[str] = ["k1"]
        for number in range(2, 62):
            new, known = scene.roll(f"k{number}"), scene.token(key=fetched[number % len(fetched)])
            half = max(1, case.callers // 2)
            outcomes = scene.call(*[new] * half, *[known] * half)
            scene.settle()
            assert accepted(outcomes[half:])
            if isinstance(outcomes[0], ValidatedToken):
                assert accepted(outcomes)
                fetched = list(scene.issuer.published_kids)
            else:
                assert all(type(outcome) is UnknownKeyError and 1 <= outcome.retry_after <= 300 for outcome in outcomes[:half])
            scene.clock.advance(10)
        looked_up = [event for event in scene.told(FetchSucceeded) if event.reason == "unknown_key"]
        assert 2 <= len(looked_up) <= 3
        assert len(scene.told(KeySetChanged)) == len(scene.told(FetchSucceeded))


@pytest.mark.parametrize("driver", DRIVERS)
def test_f57_one_of_500_issuers_hangs(driver: str) -> None:
    """All cold, one caller each: 499 are let in while the one still hangs, which then fails for its own caller alone."""
    clock = FakeClock()
    issuers = [FakeIssuer(f"https://issuer-{number}.test", clock=clock) for number in range(500)]
    hanging, healthy = issuers[250], [*issuers[:250], *issuers[251:]]
    with Scene(Case(driver, 500, warm=False), hanging, policy=CROWD) as scene:
        clients = [KeySetClient(issuer.issuer, fetcher=issuer.fetcher(), policy=CROWD, clock=clock) for issuer in healthy]
        router = IssuerRouter(scene.validator, *[TokenValidator(client, audience=AUDIENCE) for client in clients])
        with hanging.down(), hanging.gate() as gate:
            stuck = DRIVERS[driver].start(router, [scene.token()])  # type: ignore[arg-type]
            assert gate.wait_for_arrival(PATIENCE)
            others = DRIVERS[driver].start(router, [issuer.token() for issuer in healthy])  # type: ignore[arg-type]
            assert accepted(others.done())
            assert stuck.outcomes == [None]
            for issuer in healthy:
                issuer.fetches.expect(discovery=1, jwks=1)
            gate.open()
            (outcome,) = stuck.done()
        assert type(outcome) is FetchError
        assert [event.issuer for event in scene.told(FetchFailed)] == [hanging.issuer]
        status = router.status()
        scene.settle()
        assert {name: state.failures for name, state in status.items() if state.failures} == {hanging.issuer: 1}
        assert scene.attempts == 1
        scene.clock.advance(scene.pause)
        scene.accepts(scene.token(), callers=1)


@in_every_way
@pytest.mark.parametrize("help_by", ["allowance", "operator"])
def test_f58_second_rollover_within_the_allowance(case: Case, help_by: str) -> None:
    """Told when to come again until the allowance is back, or until the operator asks; the keys of before serve."""
    with Scene(case, policy=UNHURRIED) as scene:
        if case.warm:
            scene.warm()
        scene.accepts(scene.token())
        scene.accepts(scene.roll("k2"))
        scene.clock.advance(100)
        new, before = scene.roll("k3"), scene.attempts
        outcomes = scene.refuses(UnknownKeyError, new)
        assert {outcome.retry_after for outcome in outcomes} == {200}
        scene.accepts(scene.token(key="k1"))
        scene.accepts(scene.token(key="k2"))
        assert scene.attempts == before
        refused = [event for event in scene.told(UnknownKey) if event.action == "refused"]
        assert refused[0].retry_after == 200
        if help_by == "operator":
            scene.client.refresh()
        else:
            scene.clock.advance(200)
            # The first token of any kind starts what is owed, and does not wait for it.
            scene.accepts(scene.token(key="k1"))
            scene.settle()
        assert scene.attempts == before + 1
        scene.accepts(new)
        assert scene.attempts == before + 1


@in_every_way
def test_f59_rollover_while_a_refresh_runs(case: Case) -> None:
    """It may have read the set a moment before: its callers are judged on it, and then on one more, on the same call."""
    with Scene(case, policy=UNHURRIED) as scene:
        if case.warm:
            scene.warm()
        before, requests = scene.attempts, scene.requests()
        old = scene.token()
        with scene.issuer.gate() as gate:
            running = Threads().start(scene.validator, [old]) if not case.warm else _refreshing(scene)
            assert gate.wait_for_arrival(PATIENCE)
            new = scene.roll()
            calls = case.calling.start(scene.validator, [new] * case.callers)
            waiting(scene.client, case.callers + (not case.warm))
            gate.open()
            assert accepted(calls.done())
        assert accepted(running.done())
        scene.settle()
        assert scene.attempts == before + 2
        assert scene.requests() - requests == 3
        assert scene.told(KeySetChanged)[-1].generation == scene.client.status().generation
        scene.accepts(old)


def _refreshing(scene: Scene) -> Calls:
    """Start the operator's refresh, which keeps no caller's place."""
    calls = Calls(0)
    calls.threads.append(threading.Thread(target=scene.client.refresh, daemon=True))
    calls.threads[0].start()
    return calls


@in_every_way
def test_f60_issuer_without_kids_rolls_over(case: Case) -> None:
    """The first token of the new key is accepted after one refresh, those of the old one for its grace."""
    with Scene(case, policy=UNHURRIED) as scene:
        scene.issuer.cut_over("first", kid=None)
        old = scene.warm() if case.warm else None
        long = scene.token(lifetime=DAY)
        scene.issuer.cut_over("second", kid=None)
        new, before = scene.token(lifetime=DAY), scene.attempts
        scene.accepts(new)
        assert scene.attempts == before + 1
        if old is None:
            return
        scene.accepts(old)
        assert [event.nothing_in_common for event in scene.told(KeySetChanged)] == [True]
        assert scene.told(KeyReplaced) == []
        scene.clock.advance(GRACE - 1)
        scene.accepts(long)
        scene.accepts(new)
        scene.clock.advance(1)
        assert not accepted(scene.call(long))
        scene.accepts(new)


@in_every_way
def test_f61_rollover_during_an_outage(case: Case) -> None:
    """Old tokens are accepted, new ones are never called bad, and the first retry that succeeds lets them in."""
    with Scene(case, policy=UNHURRIED) as scene:
        # Pauses that are whole seconds can be waited out exactly.
        scene.client._keeper._draw = lambda: 1.0
        held = scene.warm() if case.warm else None
        with scene.issuer.drop_connection():
            new = scene.roll()
            for _ in range(6):
                scene.refuses((FetchError, KeysUnavailableError), new)
                if held is not None:
                    scene.accepts(held)
                scene.clock.advance(scene.pause)
            assert {event.code for event in scene.told(FetchFailed)} == {"fetch_failed"}
            assert len(scene.told(FetchFailed)) == 6
            assert scene.told(KeySetChanged) == []
        before = scene.attempts
        scene.accepts(new)
        assert scene.attempts == before + 1
        assert len(scene.told(KeySetChanged)) == 1
        scene.accepts(scene.token(key="k1"))
        assert scene.attempts == before + 1


def a_crowd(scene: Scene, token: str) -> tuple[Calls, list[Calls]]:
    """Start 500 threads and 500 tasks on three loops at once; return the call that came first, and the others."""
    loops: list[Driver] = [LOOPS["asyncio"], LOOPS["asyncio"], LOOPS["trio"]]
    first = loops[0].start(scene.validator, [token])
    waiting(scene.client, 1)
    others = [loop.start(scene.validator, [token] * count) for loop, count in zip(loops, (166, 167, 166), strict=True)]
    others.append(Threads().start(scene.validator, [token] * 500))
    waiting(scene.client, 1_000)
    return first, others


def test_u10_thousand_callers_share_one_refresh() -> None:
    """500 threads and 500 tasks miss at once: one request for each document, and the first one's cancellation is its own."""
    with Scene(policy=CROWD) as scene:
        with scene.issuer.gate() as gate:
            first, others = a_crowd(scene, scene.token())
            first.cancel(0)
            assert first.done() == [CANCELLED]
            gate.open()
            assert all(accepted(calls.done()) for calls in others)
        scene.issuer.fetches.expect(discovery=1, jwks=1)
        assert scene.attempts == 1


def test_u10_thousand_callers_share_one_failure() -> None:
    """Every one of them is told, in an error of its own, and nobody asks again."""
    with Scene(policy=CROWD) as scene:
        with scene.issuer.down(), scene.issuer.gate() as gate:
            first, others = a_crowd(scene, scene.token())
            gate.open()
            outcomes = [outcome for calls in (first, *others) for outcome in calls.done()]
        assert {type(outcome) for outcome in outcomes} == {FetchError}
        assert len({id(outcome) for outcome in outcomes}) == 1_000
        scene.refusals += outcomes
        scene.issuer.fetches.expect(discovery=1, jwks=1)
        assert scene.attempts == 1


@pytest.mark.parametrize("driver", DRIVERS)
def test_u14_two_hundred_callers_of_a_held_key_pass_a_closed_gate(driver: str) -> None:
    """All are back while somebody else's refresh is blocked, and it is judged by what it brings."""
    with Scene(Case(driver, 200, warm=True), policy=CROWD) as scene:
        held = scene.warm()
        with scene.issuer.gate() as gate:
            stuck = scene.case.calling.start(scene.validator, [scene.roll()] * 10)
            assert gate.wait_for_arrival(PATIENCE)
            waiting(scene.client, 10)
            scene.accepts(held)
            assert stuck.outcomes == [None] * 10
            gate.open()
            assert accepted(stuck.done())


@pytest.mark.parametrize("driver", DRIVERS)
def test_u14_the_others_are_back_by_their_deadline(driver: str) -> None:
    """The gate is never opened: whoever waits for an unknown key is told so, and the held key serves before and after."""
    with Scene(Case(driver, 200, warm=True)) as scene:
        held = scene.warm()
        assert scene.client.policy == QUICK
        with scene.issuer.gate() as gate:
            stuck = scene.case.calling.start(scene.validator, [scene.roll()] * 10)
            scene.accepts(held)
            outcomes = stuck.done()
            scene.accepts(held)
            assert gate.arrived == 1
        assert all(isinstance(outcome, KeysUnavailableError) for outcome in outcomes)
        assert FetchError in {type(outcome) for outcome in outcomes}
        scene.refusals += outcomes
        scene.heals(scene.token())

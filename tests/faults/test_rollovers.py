"""Whole rollovers over hours and days, as issuers do them and as they go wrong (F49-F55).

Rules of this file:

1. Time passes on the virtual clock; the jitter is handed in, so that every refresh has its instant.
2. `k1` is the key in use, `k2` its successor.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.faults.harness import UNHURRIED, Scene

from keyturn import (
    FetchSucceeded,
    KeyDropped,
    KeyReturned,
    KeyRevoked,
    KeySetChanged,
    KeyVanished,
    MemoryStore,
    RevokedKeyError,
    RolloverPolicy,
    UnknownKeyError,
)
from keyturn._shared_store import STORE_LOOK_EVERY
from keyturn.testing import FakeIssuer

MINUTE, HOUR, DAY, GRACE = 60, 3_600, 86_400, 7_200


def scene_of(issuer: FakeIssuer | None = None, *, policy: RolloverPolicy = UNHURRIED, **client: Any) -> Scene:
    """Return a scene of one caller whose schedule has no jitter."""
    scene = Scene(issuer=issuer, policy=policy, **client)
    scene.client._keeper._draw = lambda: 0.0
    return scene


@pytest.fixture
def scene() -> Iterator[Scene]:
    """A client that holds `k1` and `k2`, and an issuer that signs with the first."""
    with scene_of() as scene:
        scene.issuer.publish("k2")
        scene.warm()
        yield scene


def kids(scene: Scene, kind: type[Any]) -> list[str | None]:
    """Return the kids that events of one kind told, in their order."""
    return [event.kid for event in scene.told(kind)]


def held(scene: Scene) -> set[str | None]:
    """Return the kids that are held."""
    return {key.kid for key in scene.client.snapshot().keys}


def reasons(scene: Scene) -> list[str]:
    """Return why each good refresh was made."""
    return [event.reason for event in scene.told(FetchSucceeded)]


@pytest.mark.parametrize("published_at", [1, 12, 22, 23])
def test_f49_planned_rollover(published_at: int) -> None:
    """Published, signing an hour later, its predecessor gone a day after that: no token fails, and one refresh at most is not the schedule's."""
    with scene_of() as scene:
        scene.warm()
        for hour in range(96):
            if hour == published_at:
                scene.issuer.publish("k2")
            if hour == published_at + 1:
                scene.issuer.promote("k2")
            if hour == published_at + 25:
                scene.issuer.retire("k1")
            if hour <= published_at + 1:
                scene.accepts(scene.token(key="k1"))
            scene.accepts(scene.token())
            scene.settle()
            assert held(scene) >= {scene.issuer.signing_kid}
            scene.clock.advance(HOUR)
        assert held(scene) == {"k2"}
        assert set(reasons(scene)) <= {"schedule", "unknown_key"}
        assert reasons(scene).count("unknown_key") <= 1
        changes = [event for event in scene.events if not isinstance(event, FetchSucceeded)]
        told = [type(event) for event in changes if isinstance(event, (KeySetChanged, KeyVanished, KeyDropped))]
        assert told == [KeySetChanged, KeySetChanged, KeyVanished, KeyDropped]
        assert kids(scene, KeyVanished) == kids(scene, KeyDropped) == ["k1"]
        scene.refuses(UnknownKeyError, scene.token(key="k1"))


def test_f50_swap_without_overlap() -> None:
    """The first new token is accepted after one refresh, old ones for two hours, and the break is told."""
    with scene_of() as scene:
        scene.warm()
        before = scene.attempts
        scene.issuer.cut_over("k2")
        scene.accepts(scene.token())
        assert scene.attempts == before + 1
        assert [event.nothing_in_common for event in scene.told(KeySetChanged)] == [True]
        assert kids(scene, KeyVanished) == ["k1"]
        scene.clock.advance(GRACE - 1)
        scene.accepts(scene.token(key="k1"), scene.token())
        scene.clock.advance(1)
        scene.refuses(UnknownKeyError, scene.token(key="k1"))
        scene.accepts(scene.token())


@pytest.mark.parametrize(
    ("policy", "noticed_after", "refused_after"),
    [(UNHURRIED, None, DAY + GRACE), (UNHURRIED, HOUR, HOUR + GRACE), (RolloverPolicy.strict(), None, 300), (RolloverPolicy.strict(), 120, 120)],
    ids=["26 hours", "grace after the first answer", "strict", "strict with the first answer"],
)
def test_f51_stolen_key_that_the_issuer_removed(policy: RolloverPolicy, noticed_after: int | None, refused_after: int) -> None:
    """Refused when the grace after the first answer without it is over, which comes with the schedule at the latest."""
    with scene_of(policy=policy) as scene:
        scene.issuer.publish("k2")
        scene.warm()
        scene.issuer.promote("k2")
        scene.issuer.retire("k1")
        if noticed_after is None:
            assert policy.longest_trust_after_removal == refused_after
        step = refused_after // 30
        for passed in range(0, refused_after + 3 * step, step):
            if passed == noticed_after:
                scene.client.refresh()
            stolen = scene.token(key="k1")
            if passed < refused_after:
                scene.accepts(stolen)
            else:
                scene.refuses(UnknownKeyError, stolen)
            scene.accepts(scene.token())
            scene.settle()
            scene.clock.advance(step)
        assert kids(scene, KeyVanished) == kids(scene, KeyDropped) == ["k1"]


def test_f51_stolen_key_that_the_operator_revoked() -> None:
    """Refused at once here, and in every process of the store at its next look there, whatever the issuer publishes."""
    store = MemoryStore()
    with scene_of(store=store) as here, scene_of(here.issuer, store=store) as there:
        here.issuer.publish("k2")
        here.issuer.promote("k2")
        stolen = here.token(key="k1", lifetime=DAY)
        here.accepts(stolen)
        there.accepts(stolen)
        here.client.revoke(kid="k1")
        before = here.attempts
        here.refuses(RevokedKeyError, stolen)
        here.accepts(here.token())
        here.clock.advance(STORE_LOOK_EVERY)
        there.call(stolen)
        there.settle()
        there.refuses(RevokedKeyError, stolen)
        there.accepts(there.token())
        assert here.attempts == before
        for scene in (here, there):
            assert [(event.kid, event.state) for event in scene.told(KeyRevoked)] == [("k1", "revoked")]


def test_f52_key_that_comes_and_goes(scene: Scene) -> None:
    """Within the grace it serves and its use asks again, ever less often; after it, it is a key like any other that is not published."""
    scene.issuer.withhold("k1")
    scene.client.refresh()
    scene.settle()
    scene.events.clear()
    asked_at = []
    for second in range(0, GRACE, 50):
        before = scene.attempts
        scene.accepts(scene.token(key="k1"))
        scene.settle()
        asked_at += [second] * (scene.attempts - before)
        scene.clock.advance(50)
    assert asked_at == [0, 300, 900, 1_800, 2_700, 3_600, 4_500, 5_400, 6_300]
    assert set(reasons(scene)) == {"vanished_key"}
    scene.refuses(UnknownKeyError, scene.token(key="k1"))
    assert kids(scene, KeyDropped) == ["k1"]
    scene.issuer.restore("k1")
    scene.clock.advance(300)
    scene.accepts(scene.token(key="k1"))
    assert kids(scene, KeyReturned) == ["k1"]


@pytest.mark.parametrize("away", [HOUR, 3 * HOUR])
def test_f52_hours_of_it(scene: Scene, away: int) -> None:
    """It is away and back in turn: in an absence it serves for as long as the grace and no longer, and each step is told."""
    for number in range(4):
        scene.issuer.withhold("k1")
        scene.client.refresh()
        missing_for = 0
        while missing_for < away:
            (outcome,) = scene.call(scene.token(key="k1"))
            assert isinstance(outcome, UnknownKeyError) is (missing_for >= GRACE)
            scene.settle()
            scene.clock.advance(10 * MINUTE)
            missing_for += 10 * MINUTE
        scene.issuer.restore("k1")
        scene.clock.advance(15 * MINUTE)
        scene.call(scene.token(key="k1"))
        scene.settle()
        scene.accepts(scene.token(key="k1"))
        assert kids(scene, KeyVanished) == ["k1"] * (number + 1)
        assert kids(scene, KeyDropped) == ["k1"] * (number + 1 if away > GRACE else 0)
        assert kids(scene, KeyReturned) == ["k1"] * (number + 1)


def test_f53_revoked_key_that_is_published(scene: Scene) -> None:
    """Still or again published, it stays refused and costs no fetch; new material under its kid is another key."""
    old = scene.token(lifetime=3 * DAY)
    scene.client.revoke(kid="k1")
    scene.refuses(RevokedKeyError, old)
    scene.issuer.withhold("k1")
    scene.client.refresh()
    scene.clock.advance(GRACE)
    scene.issuer.restore("k1")
    scene.client.refresh()
    before = scene.attempts
    for _ in range(10):
        scene.refuses(RevokedKeyError, old)
        scene.clock.advance(300)
    assert scene.attempts == before
    assert [(event.kid, event.state) for event in scene.told(KeyRevoked)] == [("k1", "revoked")]
    scene.issuer.replace_material("k1")
    scene.accepts(scene.token())
    scene.refuses(RevokedKeyError, old)
    scene.client.reinstate(kid="k1")
    scene.accepts(old, scene.token())
    assert [event.state for event in scene.told(KeyRevoked)] == ["revoked", "reinstated"]


@pytest.mark.parametrize("how", ["store", "revoked"])
def test_f53_revoked_key_after_a_restart(how: str) -> None:
    """The store or the configuration keeps the revocation, and the new process asks nobody for the key."""
    store = MemoryStore() if how == "store" else None
    with scene_of(store=store) as scene:
        scene.issuer.publish("k2")
        scene.warm()
        (key,) = [key for key in scene.client.snapshot().keys if key.kid == "k1"]
        scene.client.revoke(kid="k1")
    with scene_of(scene.issuer, store=store, revoked=[key.thumbprint] if store is None else ()) as restarted:
        restarted.accepts(restarted.token(key="k2"))
        before = restarted.attempts
        restarted.refuses(RevokedKeyError, restarted.token(key="k1"))
        assert restarted.attempts == before
        restarted.client.refresh()
        restarted.refuses(RevokedKeyError, restarted.token(key="k1"))
        restarted.client.reinstate(kid="k1")
        restarted.accepts(restarted.token(key="k1"))


def test_f53_kid_that_was_revoked_before_its_key(scene: Scene) -> None:
    """The first key that appears under it is refused and told of; what takes the kid over after that one is served."""
    scene.client.revoke(kid="k3")
    first = scene.roll("k3")
    scene.refuses(RevokedKeyError, first)
    (key,) = [status for status in scene.client.status().keys if status.kid == "k3"]
    assert key.state == "revoked"
    assert [(event.kid, event.thumbprint) for event in scene.told(KeyRevoked)] == [("k3", None), ("k3", key.thumbprint)]
    scene.clock.advance(300)
    scene.issuer.replace_material("k3")
    scene.accepts(scene.token())
    scene.refuses(RevokedKeyError, first)


def test_f54_generation_is_raised_by_every_change_and_by_nothing_else(scene: Scene) -> None:
    """Who keeps verified results under this number forgets them when a key comes, goes, returns, is dropped, revoked or reinstated."""

    def generation() -> int:
        return scene.client.status().generation

    def answered(step: Callable[[], object]) -> Callable[[], object]:
        return lambda: (step(), scene.client.refresh())

    changes: dict[str, Callable[[], object]] = {
        "published": answered(lambda: scene.issuer.publish("k3")),
        "vanished": answered(lambda: scene.issuer.withhold("k3")),
        "returned": answered(lambda: scene.issuer.restore("k3")),
        "vanished again": answered(lambda: scene.issuer.withhold("k3")),
        "dropped": lambda: scene.clock.advance(GRACE),
        "revoked": lambda: scene.client.revoke(kid="k2"),
        "reinstated": lambda: scene.client.reinstate(kid="k2"),
        "replaced": answered(lambda: scene.issuer.replace_material("k2")),
        "a bad entry more": answered(lambda: scene.issuer.add_entry({"kid": "odd"})),
        "swapped": answered(lambda: scene.issuer.cut_over("k4")),
    }
    nothing: dict[str, Callable[[], object]] = {
        "the same answer": scene.client.refresh,
        "another order": answered(lambda: scene.issuer.shuffle(1)),
        "a token": lambda: scene.accepts(scene.token()),
        "a forged token": lambda: scene.refused_whatever_happens(scene.issuer.forge()),
        "an unknown kid": lambda: scene.refused_whatever_happens(scene.issuer.forge(key="nobody")),
        "a look": lambda: (scene.client.snapshot(), scene.client.status()),
        "time": lambda: scene.clock.advance(301),
        "an outage": lambda: _look_during(scene),
        "a revocation of what nobody holds taken back": lambda: scene.client.reinstate(kid="nobody"),
    }
    for name, change in changes.items():
        before = generation()
        change()
        assert generation() > before, name
        for still, step in nothing.items():
            before = generation()
            step()
            assert generation() == before, f"{still}, after {name}"


def _look_during(scene: Scene) -> None:
    with scene.issuer.down(document="both"):
        scene.refused_whatever_happens(scene.issuer.forge(key="somebody"))
    scene.settle()
    scene.clock.advance(scene.pause)


def test_f55_old_answer_that_is_replayed(scene: Scene) -> None:
    """Both keys verify, the use of the newer one asks again, and what was gone is back; the operator's word is above any answer."""
    old_answer = json.dumps(scene.issuer.jwks()).encode()
    scene.issuer.cut_over("k3")
    scene.accepts(scene.token())
    scene.clock.advance(GRACE)
    scene.refuses(UnknownKeyError, scene.token(key="k1"))
    scene.settle()
    scene.events.clear()
    with scene.issuer.answer(old_answer):
        scene.clock.advance(300)
        scene.client.refresh()
        assert kids(scene, KeyVanished) == ["k3"]
        assert sorted(map(str, kids(scene, KeyReturned))) == ["k1", "k2"]
        scene.accepts(scene.token(key="k1"), scene.token(key="k2"), scene.token())
        assert reasons(scene) == ["operator", "vanished_key"]
        scene.client.revoke(kid="k1")
        scene.client.refresh()
        scene.refuses(RevokedKeyError, scene.token(key="k1"))
        scene.accepts(scene.token(key="k2"), scene.token())
    scene.clock.advance(300)
    scene.accepts(scene.token())
    scene.settle()
    assert kids(scene, KeyReturned)[2:] == ["k3"]
    scene.refuses(RevokedKeyError, scene.token(key="k1"))

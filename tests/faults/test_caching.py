"""F26-F29: caches, what they are told, and answers that overtake each other."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from tests.contract.drivers import AUDIENCE, PATIENCE
from tests.faults.harness import CASES, ONE_EACH, PATIENT, Case, Scene
from tests.faults.rig import JWKS, Rig
from tests.faults.rig_scene import RigScene

from keyturn import KeyReturned, KeySetChanged, KeySetClient, KeyVanished, MemoryStore, RolloverPolicy, TokenValidator
from keyturn.fetching import FetchedDocument, Fetcher
from keyturn.testing import FakeClock, FakeIssuer

WARM = [case for case in CASES if case.warm]

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_warm_case = pytest.mark.parametrize("case", WARM, ids=lambda case: case.name)
one_each = pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.name)

HOUR, DAY = 3_600, 86_400
ONE = Case("thread", 1, warm=True)
FOLLOWING = RolloverPolicy(follow_cache_control=True)

FRESHNESS = {
    "max-age=0": (["Cache-Control: max-age=0"], 300),
    "no-store": (["Cache-Control: no-store"], 300),
    "no-cache": (["Cache-Control: public, no-cache"], 300),
    "10^9": (["Cache-Control: max-age=1000000000"], DAY),
    "negative": (["Cache-Control: max-age=-1"], 300),
    "two that differ": (["Cache-Control: max-age=7200", "Cache-Control: max-age=3600"], HOUR),
    "two that quarrel": (["Cache-Control: max-age=7200", "Cache-Control: no-store"], 300),
    "Expires in the past": (["Expires: Thu, 01 Jan 1970 00:00:00 GMT"], 300),
    "Age > max-age": (["Cache-Control: max-age=600", "Age: 1000"], 300),
    "Age < max-age": (["Cache-Control: max-age=7200", "Age: 3600"], HOUR),
}
"""What an answer says of its freshness, and the seconds after which a client that follows it asks again."""


@every_case
def test_f26_max_age_0(rig: Rig, case: Case) -> None:
    """An answer that is stale at once is used like any other, and blocks no refresh."""
    with RigScene(rig, case, policy=FOLLOWING) as scene:
        scene.publish("Cache-Control: max-age=0")
        new = scene.works(lambda: scene.place.during({}), publish=lambda: scene.publish("Cache-Control: max-age=0"))
        before = scene.requests()
        scene.accepts(new)
        assert scene.requests() == before


@pytest.mark.parametrize("said", FRESHNESS)
def test_f26_ignored_by_default(rig: Rig, said: str) -> None:
    """Whatever is said, the schedule is a day; a rollover is followed at once."""
    with RigScene(rig, ONE) as scene:
        scene.publish(*FRESHNESS[said][0])
        held = scene.token(lifetime=2 * DAY)
        scene.warm()
        for _ in range(21):
            scene.clock.advance(HOUR)
            scene.accepts(held)
        assert scene.requests() == 2
        scene.accepts(scene.roll())
        assert scene.requests() == 3


@pytest.mark.parametrize("said", FRESHNESS)
def test_f26_followed_within_bounds(rig: Rig, said: str) -> None:
    """If it is asked for, it is followed, within five minutes and a day; an on-demand refresh is not put off by it."""
    fields, interval = FRESHNESS[said]
    with RigScene(rig, ONE, policy=FOLLOWING) as scene:
        scene.publish(*fields)
        held = scene.token(lifetime=5 * DAY)
        scene.warm()
        for turn in range(1, 4):
            scene.clock.advance(0.9 * interval - 1)
            scene.accepts(*[held] * 20)
            assert scene.requests() == 2 * turn
            scene.clock.advance(interval - (0.9 * interval - 1))
            scene.accepts(*[held] * 20)
            scene.settle()
            assert scene.requests() == 2 * turn + 2
        scene.accepts(scene.roll())
        assert scene.requests() == 9


def asks_for_fresh_answers(scene: RigScene) -> None:
    """Demand that no request had a condition, and that each told caches to stay out of the way."""
    counts = scene.place.counts()
    for number in range(len(counts.heads)):
        fields = counts.fields(number)
        assert fields["cache-control"] == "no-cache"
        assert not {"if-none-match", "if-modified-since", "if-match", "if-range"} & fields.keys()


@every_case
def test_f27_same_etag_other_body(rig: Rig, case: Case) -> None:
    """A new key is seen although the ETag is that of the old set."""
    fields = ('ETag: "same"', "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT")
    with RigScene(rig, case) as scene:
        scene.publish(*fields)
        scene.works(lambda: scene.place.during({}), publish=lambda: scene.publish(*fields))
        asks_for_fresh_answers(scene)


@one_each
def test_f27_other_etag_same_body(rig: Rig, case: Case) -> None:
    """An ETag that changes with every answer changes nothing."""
    with RigScene(rig, case) as scene:
        held = scene.warm()
        for number in range(3):
            scene.publish(f'ETag: "{number}"')
            scene.clock.advance(300)
            scene.client.refresh()
            scene.accepts(held)
        assert scene.told(KeySetChanged) == []
        asks_for_fresh_answers(scene)


@every_warm_case
def test_f28_older_set_after_a_newer(rig: Rig, case: Case) -> None:
    """Both keys verify; the newer one has vanished, its use asks again in the rhythm of R13, and its return is told."""
    with RigScene(rig, case) as scene:
        old = scene.warm()
        new = scene.roll()
        scene.accepts(new)
        scene.settle()
        scene.events.clear()
        scene.issuer.withhold("k2")
        scene.publish()
        scene.client.refresh()
        (changed,) = scene.told(KeySetChanged)
        assert ([key.kid for key in changed.removed], [event.kid for event in scene.told(KeyVanished)]) == (["k2"], ["k2"])
        before = scene.attempts
        scene.accepts(new)
        scene.accepts(old)
        assert scene.attempts == before
        scene.clock.advance(300)
        scene.accepts(new)
        scene.settle()
        assert (scene.attempts, scene.told(KeyReturned)) == (before + 1, [])
        scene.issuer.restore("k2")
        scene.publish()
        scene.clock.advance(300)
        scene.accepts(new)
        assert [event.kid for event in scene.told(KeyReturned)] == ["k2"]
        scene.accepts(old)


class UnderWay:
    """A fetcher whose key sets are under way for as long as a test likes: they are read at once, and handed over when they are let go."""

    def __init__(self, inner: Fetcher) -> None:
        self.asked = 0
        self.arrived = threading.Event()
        self.let_go = threading.Event()
        self.let_go.set()
        self._inner = inner

    def fetch(self, url: str, **limits: Any) -> FetchedDocument:
        """Read a document."""
        self.asked += 1
        document = self._inner.fetch(url, **limits)
        if url.endswith(JWKS):
            self.arrived.set()
            assert self.let_go.wait(PATIENCE)
        return document

    def hold(self) -> None:
        """Keep what is read from now on."""
        self.arrived.clear()
        self.let_go.clear()


def test_f29_older_fetch_ends_last() -> None:
    """Of two processes with one store, the one that asked earlier and has its answer later puts it over nothing that is newer."""
    clock = FakeClock()
    issuer, store = FakeIssuer(clock=clock), MemoryStore(clock=clock)
    late, prompt = UnderWay(issuer.fetcher()), UnderWay(issuer.fetcher())
    with (
        Scene(ONE, issuer, policy=PATIENT, store=store, fetcher=late, requests=lambda: late.asked) as slow,
        Scene(ONE, issuer, policy=PATIENT, store=store, fetcher=prompt, requests=lambda: prompt.asked) as quick,
    ):
        slow.warm()
        late.hold()
        clock.advance(DAY)
        asking = ONE.calling.start(slow.validator, [slow.token()])
        assert late.arrived.wait(PATIENCE)
        new = quick.roll()
        # The lease of the process that asked first is over, so that the other one may ask beside it.
        clock.advance(PATIENT.deadline)
        quick.accepts(new)
        quick.settle()
        late.let_go.set()
        assert asking.done()[0].subject == "alice"
        slow.settle()
        asked = (late.asked, prompt.asked)
        restarted = TokenValidator(KeySetClient(issuer.issuer, policy=PATIENT, store=store, clock=clock, fetcher=issuer.fetcher()), audience=AUDIENCE)
        assert restarted.validate(new).subject == "alice"
        quick.accepts(new)
        slow.accepts(new)
        assert (late.asked, prompt.asked) == asked
        assert issuer.fetches.requests[-1].number == sum(asked)

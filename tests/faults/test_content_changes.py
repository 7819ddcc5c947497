"""Sets and documents that become others: new material, fewer keys, another issuer, another place (F44-F46).

Rules of this file:

1. Only a client that has seen the old set can tell what became of it; a cold one starts with the new set.
2. However many callers come with the new key, one refresh serves them all.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import pytest
from tests.faults.harness import CASES, UNHURRIED, Case, Scene

from keyturn import (
    DiscoveryError,
    FetchFailed,
    FetchSucceeded,
    InvalidSignatureError,
    KeyDropped,
    KeyReplaced,
    KeySetChanged,
    KeysUnavailableError,
    KeyVanished,
    UnknownKeyError,
)
from keyturn.fetching import FetchedDocument
from keyturn.testing import FakeClock, FakeIssuer

in_every_way = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

DAY, GRACE = 86_400, 7_200
MOVED = "https://keys.other.test/jwks.json"


@in_every_way
def test_f44_new_material_under_a_kid(case: Case) -> None:
    """The first token of the new material is accepted after one refresh, those of the old one for its grace, and it is told."""
    with Scene(case, policy=UNHURRIED) as scene:
        old = scene.warm() if case.warm else scene.bad(scene.issuer.token())
        long = scene.token(lifetime=DAY) if case.warm else old
        scene.issuer.replace_material("k1")
        new, before = scene.token(lifetime=DAY), scene.attempts
        scene.accepts(new)
        assert scene.attempts == before + 1
        if not case.warm:
            scene.refuses(InvalidSignatureError, old)
            return
        scene.accepts(old)
        first, second = sorted(scene.client.snapshot().keys, key=lambda key: key.name in scene.client._keeper.state.vanished)
        (changed,) = scene.told(KeySetChanged)
        (replaced,) = scene.told(KeyReplaced)
        assert [name.kid for name in changed.replaced] == ["k1"]
        assert (replaced.kid, replaced.thumbprint, replaced.previous_thumbprint) == ("k1", first.thumbprint, second.thumbprint)
        scene.clock.advance(GRACE - 1)
        scene.accepts(new, long)
        scene.clock.advance(1)
        scene.refuses(InvalidSignatureError, long)
        scene.accepts(new)
        assert [event.thumbprint for event in scene.told(KeyDropped)] == [second.thumbprint]


@in_every_way
@pytest.mark.parametrize("common", [True, False], ids=["one stays", "nothing in common"])
def test_f45_ten_keys_become_one(case: Case, common: bool) -> None:
    """Accepted; every key that is gone serves out its grace, and a set that shares none with the old one is told as such."""
    with Scene(case, policy=UNHURRIED) as scene:
        kids = [f"k{number}" for number in range(1, 11)]
        for kid in kids[1:]:
            scene.issuer.publish(kid)
        if case.warm:
            scene.warm()
        if common:
            for kid in kids[:-1]:
                scene.issuer.retire(kid)
            scene.issuer.promote("k10")
            if case.warm:
                scene.client.refresh()
        else:
            scene.issuer.cut_over("k11")
        scene.accepts(scene.token())
        gone = kids[:-1] if common else kids
        old = [scene.token(key=kid, lifetime=DAY) for kid in gone]
        if not case.warm:
            for token in old:
                scene.refuses(UnknownKeyError, scene.bad(token), callers=1)
            return
        scene.accepts(*old)
        (changed,) = scene.told(KeySetChanged)
        assert (len(changed.removed), changed.nothing_in_common) == (len(gone), not common)
        assert sorted(event.kid for event in scene.told(KeyVanished)) == sorted(gone)
        scene.clock.advance(GRACE - 1)
        scene.accepts(*old)
        scene.clock.advance(1)
        for token in old:
            scene.refuses(UnknownKeyError, token, callers=1)
        assert sorted(event.kid for event in scene.told(KeyDropped)) == sorted(gone)


class Moving:
    """A fetcher of an issuer whose key set stands at `MOVED` as well; a `keyturn.fetching.Fetcher`.

    Attributes:
        asked: Locations that were asked for.
    """

    def __init__(self, issuer: FakeIssuer) -> None:
        self.asked: list[str] = []
        self._issuer = issuer
        self._inner = issuer.fetcher()

    def fetch(self, url: str, *, headers: Mapping[str, str], max_bytes: int, deadline: float) -> FetchedDocument:
        """Read *url*."""
        self.asked.append(url)
        known = self._issuer.jwks_url if url == MOVED else url
        return self._inner.fetch(known, headers=headers, max_bytes=max_bytes, deadline=deadline)


def announcing(issuer: FakeIssuer, /, **members: Any) -> AbstractContextManager[object]:
    """Publish a discovery document with other *members*."""
    return issuer.answer(json.dumps({**issuer.discovery(), **members}).encode(), document="discovery")


def moving(case: Case) -> tuple[Scene, Moving]:
    """Return a scene whose issuer can be reached at `MOVED`."""
    issuer = FakeIssuer(clock=FakeClock())
    fetcher = Moving(issuer)
    return Scene(case, issuer, policy=UNHURRIED, fetcher=fetcher), fetcher


@in_every_way
def test_f46_document_of_another_issuer(case: Case) -> None:
    """Refused, and nothing in it is used: not even the place of the keys that it names."""
    scene, fetcher = moving(case)
    with scene:
        if not case.warm:
            outcomes = scene.fails(lambda: announcing(scene.issuer, issuer="https://issuer.test/", jwks_uri=MOVED), DiscoveryError)
            assert any("https://issuer.test/" in str(outcome) for outcome in outcomes)
            assert MOVED not in fetcher.asked
            return
        scene.warm()
        scene.clock.advance(DAY)
        held, before = scene.token(), scene.attempts
        with announcing(scene.issuer, issuer="https://issuer.test/", jwks_uri=MOVED):
            scene.accepts(held)
            assert scene.attempts == before + 1
            assert [event.code for event in scene.told(FetchFailed)] == ["discovery_failed"]
            new = scene.roll()
            scene.refuses(KeysUnavailableError, new)
            assert scene.attempts == before + 1
            scene.clock.advance(scene.pause)
            scene.refuses((DiscoveryError, KeysUnavailableError), new)
            scene.accepts(held)
        assert MOVED not in fetcher.asked
        scene.heals(new)


@in_every_way
def test_f46_key_set_that_moves_to_another_host(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    """Followed at the next scheduled refresh, and told with its new place."""
    caplog.set_level(logging.INFO, "keyturn")
    scene, fetcher = moving(case)
    with scene:
        if case.warm:
            scene.warm()
            scene.clock.advance(DAY)
        with announcing(scene.issuer, jwks_uri=MOVED):
            scene.accepts(scene.token())
            assert fetcher.asked[-2:] == [scene.issuer.discovery_url, MOVED]
            assert scene.told(FetchSucceeded)[-1].document == MOVED
            assert f'FetchSucceeded issuer="{scene.issuer.issuer}" document="{MOVED}"' in caplog.text
            scene.accepts(scene.roll())
            assert fetcher.asked[-1] == MOVED


@pytest.mark.parametrize("case", [case for case in CASES if case.warm], ids=lambda case: case.name)
def test_f46_key_set_that_moved_away_from_its_place(case: Case) -> None:
    """The old place answers 404: the next attempt reads the discovery document again, and the new key is accepted."""
    scene, fetcher = moving(case)
    with scene:
        held = scene.warm()
        new = scene.roll()
        with scene.issuer.down(404):
            assert all(outcome.http_status == 503 for outcome in scene.call(new))
        asked = len(fetcher.asked)
        with announcing(scene.issuer, jwks_uri=MOVED):
            scene.clock.advance(scene.pause)
            scene.accepts(new)
            scene.accepts(held)
            assert fetcher.asked[asked:] == [scene.issuer.discovery_url, MOVED]


@pytest.mark.parametrize(
    "place",
    ["http://keys.other.test/jwks.json", "https://10.0.0.1/jwks.json", "https://169.254.169.254/", "https://localhost/jwks.json", "file:///keys"],
)
def test_f46_place_that_may_not_be_followed(place: str) -> None:
    """Clear text, and addresses that are not public (F17): the refresh fails, and nothing is asked there."""
    scene, fetcher = moving(CASES[0])
    with scene:
        scene.fails(lambda: announcing(scene.issuer, jwks_uri=place), DiscoveryError)
        assert place not in fetcher.asked

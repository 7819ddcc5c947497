"""F20-F24: answers with a status that is not 200, for a moment and for days."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import pytest
from tests.faults.harness import CASES, ONE_EACH, PATIENT, Case, Scene
from tests.faults.rig import DISCOVERY, JWKS, Rig, always, answer
from tests.faults.rig_scene import RigScene, told_why

from keyturn import FetchError, FetchFailed, KeySetChanged, KeysUnavailableError, StaleKeysServed

WARM = [case for case in CASES if case.warm]

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_warm_case = pytest.mark.parametrize("case", WARM, ids=lambda case: case.name)
one_each = pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.name)

MINUTE, HOUR, DAY = 60, 3_600, 86_400
ONE = Case("thread", 1, warm=True)


@every_case
def test_f20_not_modified(rig: Rig, case: Case) -> None:
    """304 is a failure like any other status that is not 200: nothing was asked under a condition."""
    with RigScene(rig, case) as scene:
        outcomes = scene.fails(scene.answering(*answer(b"", 'ETag: "1"', status="304 Not Modified")), FetchError)
        assert "answered 304, expected 200" in told_why(outcomes)
        assert not {"if-none-match", "if-modified-since"} & scene.place.counts().fields().keys()


@one_each
@pytest.mark.parametrize("status", ["201 Created", "202 Accepted", "203 Transformed", "204 No Content", "206 Partial Content", "418 x", "599 x"])
def test_f20_every_other_status(rig: Rig, case: Case, status: str) -> None:
    """So with every other status, though its body be a key set."""
    with RigScene(rig, case) as scene:
        outcomes = scene.fails(scene.spoiling(lambda body: answer(body if status[:3] != "204" else b"", status=status)), FetchError)
        assert f"answered {status[:3]}, expected 200" in told_why(outcomes)


def fails_at_key_set(rig: Rig, case: Case, status: str) -> FetchError:
    """Play the row for a status at the place of the keys: the next attempt reads the discovery document again."""
    with RigScene(rig, case) as scene:
        outcomes = scene.fails(scene.answering(*answer(b"{}", status=status), on=(JWKS,)), FetchError)
        assert f"answered {status[:3]}, expected 200" in told_why(outcomes)
        assert scene.met.requests == {JWKS: 1} | ({} if case.warm else {DISCOVERY: 1})
        assert scene.asked(DISCOVERY) == 2
        return next(error for error in outcomes if isinstance(error, FetchError))


@every_case
def test_f21_not_found(rig: Rig, case: Case) -> None:
    """The set stays, a cold client answers 503, and the next attempt begins with the discovery document."""
    assert "jwks_url" in fails_at_key_set(rig, case, "404 Not Found").hint


@one_each
def test_f21_gone(rig: Rig, case: Case) -> None:
    """So with 410."""
    assert "jwks_url" in fails_at_key_set(rig, case, "410 Gone").hint


@every_case
def test_f21_key_set_has_moved(rig: Rig, case: Case) -> None:
    """Where the key set has moved, that next attempt finds it."""
    with RigScene(rig, case) as scene:
        held = scene.warm() if case.warm else None
        new = scene.roll()
        moved = {JWKS: always(*answer(b"{}", status="404 Not Found")), "/new.json": always(*answer(scene.document(JWKS)))}
        with scene.place.during(moved):
            scene.refuses((FetchError, KeysUnavailableError), new)
            scene.settle()
            body = scene.document(DISCOVERY).replace(JWKS.encode(), b"/new.json")
            with scene.place.during({**moved, DISCOVERY: always(*answer(body))}):
                scene.clock.advance(scene.pause)
                scene.accepts(new, *([held] if held else []))


@one_each
def test_f21_for_days(rig: Rig, case: Case) -> None:
    """The set stays for 48 h, from 24 h on it is told that it is stale, then the answer is 503 and never a default key."""
    with RigScene(rig, case) as scene:
        held = scene.token(lifetime=4 * DAY)
        scene.warm()
        with scene.answering(*answer(b"{}", status="404 Not Found"), on=(JWKS,))():
            for _ in range(47):
                scene.clock.advance(HOUR)
                scene.accepts(held)
                scene.settle()
            assert {event.code for event in scene.told(FetchFailed)} == {"fetch_failed"}
            assert len(scene.told(StaleKeysServed)) == 24
            scene.clock.advance(HOUR)
            scene.refuses((FetchError, KeysUnavailableError), held)
            scene.refused_whatever_happens(scene.bad(scene.issuer.forge()))
        scene.heals(held)


@every_case
def test_f22_forbidden(rig: Rig, case: Case) -> None:
    """As F21; the hint names the User-Agent that a firewall may dislike."""
    assert "User-Agent" in fails_at_key_set(rig, case, "403 Forbidden").hint


@one_each
def test_f22_unauthorized(rig: Rig, case: Case) -> None:
    """So with 401."""
    assert "User-Agent" in fails_at_key_set(rig, case, "401 Unauthorized").hint


@one_each
def test_f22_no_credentials(rig: Rig, case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever asks for credentials gets none, and no second request: neither out of a file of the user nor of a proxy."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with RigScene(rig, case, fetching={"trust_env": True}) as scene:
        status = answer(b"{}", 'WWW-Authenticate: Basic realm="keys"', status="401 Unauthorized")
        scene.fails(scene.answering(*status, on=(JWKS,)), FetchError)
        assert scene.met.requests[JWKS] == 1
        counts = scene.place.counts()
        assert not any("authorization" in counts.fields(number) for number in range(len(counts.heads)))


@every_case
@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_f23_retry_after(rig: Rig, case: Case, status: str) -> None:
    """Every caller is told the wait that the issuer asked for, and nobody asks before it is over."""
    with RigScene(rig, case) as scene:
        outcomes = scene.fails(scene.answering(*answer(b"{}", "Retry-After: 120", status=status)), FetchError)
        assert {error.retry_after for error in outcomes} == {120}
        assert scene.told(FetchFailed)[0].retry_in == 120


NOW = 1_800_000_000
"""Where the virtual clock begins."""

RETRY_AFTER = {
    "120": 120,
    formatdate(NOW + 300, usegmt=True): 300,
    formatdate(NOW - 300, usegmt=True): 1,
    "0": 1,
    "-5": 1,
    "1000000000": 3_600,
    "1" * 400: 3_600,
    "soon": 1,
    "120.5": 1,
    "120, 240": 1,
}
"""What is asked for, and the wait in seconds; what cannot be read leaves the pause of a first failure, 1 s."""


@pytest.mark.parametrize(("asked", "wait"), RETRY_AFTER.items(), ids=[text[:30] for text in RETRY_AFTER])
def test_f23_no_refresh_before_it(rig: Rig, asked: str, wait: int) -> None:
    """Until the instant at which the wait is over nobody asks but the operator; at that instant the next caller does."""
    with RigScene(rig, ONE) as scene:
        held = scene.token(lifetime=DAY)
        scene.warm()
        scene.roll()
        new, date = scene.token(lifetime=DAY), f"Date: {formatdate(NOW, usegmt=True)}"
        with scene.answering(*answer(b"{}", date, f"Retry-After: {asked}", status="503 Busy"))():
            (error,) = scene.refuses(FetchError, new)
            assert (error.retry_after, scene.told(FetchFailed)[-1].retry_in, scene.attempts) == (wait, wait, 2)
            scene.clock.advance(wait - 0.5)
            (error,) = scene.refuses(KeysUnavailableError, new)
            scene.accepts(held)
            assert (error.retry_after, scene.attempts) == (1, 2)
            scene.clock.advance(0.5)
            scene.refuses(FetchError, new)
            assert scene.attempts == 3
            with pytest.raises(FetchError):
                scene.client.refresh()
            assert scene.attempts == 4
        scene.heals(new)


def test_f23_the_later_of_two_waits(rig: Rig) -> None:
    """A wait that is shorter than our own pause does not shorten it, one that is longer replaces it."""
    with RigScene(rig, ONE) as scene:
        scene.client._keeper._draw = lambda: 0.999
        scene.warm()
        new = scene.roll()
        waits = []
        with scene.answering(*answer(b"{}", "Retry-After: 6", status="503 Busy"))():
            for _ in range(5):
                waits.append(scene.refuses(FetchError, new)[0].retry_after)
                scene.clock.advance(scene.pause + 0.001)
        assert waits == [6, 6, 6, 8, 16]


def outlasts(scene: Scene, down: Callable[[], object]) -> None:
    """Play 49 hours of an outage, and its end, for callers who hold a token of a held key and callers who do not."""
    held, began = scene.token(lifetime=4 * DAY), scene.clock.wall()
    scene.warm()
    scene.roll()
    new = scene.token(lifetime=4 * DAY)

    def passes(seconds: float, times: int) -> None:
        for _ in range(times):
            scene.clock.advance(seconds)
            scene.accepts(held)
            scene.settle()

    with down():
        scene.refuses((FetchError, KeysUnavailableError), new)
        passes(MINUTE, 10)
        passes(50 * MINUTE, 1)
        passes(HOUR, 22)
        assert scene.told(StaleKeysServed) == []
        passes(HOUR, 2)
        first, second = scene.told(StaleKeysServed)
        assert (first.age, second.age, first.until) == (DAY, DAY + HOUR, began + 2 * DAY)
        scene.refuses((FetchError, KeysUnavailableError), new)
        passes(HOUR, 22)
        passes(HOUR - 1, 1)
        scene.clock.advance(1)
        scene.refuses((FetchError, KeysUnavailableError), held)
        scene.clock.advance(HOUR)
        scene.refuses((FetchError, KeysUnavailableError), held, new)
        assert {event.code for event in scene.told(FetchFailed)} == {"fetch_failed"}
        assert scene.told(KeySetChanged) == []
    before = scene.attempts
    scene.clock.advance(scene.pause + 1)
    scene.accepts(held, new)
    assert (scene.attempts, scene.client.status().failures) == (before + 1, 0)


@every_warm_case
def test_f24_server_error_for_days(case: Case) -> None:
    """Served for 10 minutes, for 25 hours (stale, and told so, from 24 on), not for 49; the first good answer heals without a restart."""
    with Scene(case, policy=PATIENT) as scene:
        outlasts(scene, lambda: scene.issuer.down(500, document="both"))


@pytest.mark.parametrize("status", [502, 504])
def test_f24_gateway_error_for_days(status: int) -> None:
    """So with the errors of a gateway."""
    with Scene(ONE, policy=PATIENT) as scene:
        outlasts(scene, lambda: scene.issuer.down(status, document="both"))


@one_each
def test_f24_on_the_wire(rig: Rig, case: Case) -> None:
    """The same over real sockets."""
    with RigScene(rig, Case(case.driver, case.callers, warm=True)) as scene:
        outlasts(scene, scene.answering(*answer(b"{}", status="502 Bad Gateway")))


@one_each
def test_f24_discovery_alone(rig: Rig, case: Case) -> None:
    """Where only the discovery document cannot be fetched, the keys are still read from where they were last."""
    with RigScene(rig, Case(case.driver, case.callers, warm=True)) as scene:
        scene.token(lifetime=4 * DAY)
        scene.warm()
        with scene.answering(*answer(b"{}", status="500 Broken"), on=(DISCOVERY,))():
            scene.clock.advance(DAY)
            new = scene.roll()
            scene.accepts(new)
            assert scene.told(FetchFailed) == []

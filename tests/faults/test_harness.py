"""The harness itself: it sees what it is there to see."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

import pytest
from tests.contract import drivers
from tests.faults.harness import CASES, Case, Scene, nothing

from keyturn import FetchError, InvalidKeySetError


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_and_its_end_are_played(case: Case) -> None:
    """A row that fails and a row that works pass where the library keeps its rules."""
    with Scene(case) as scene:
        scene.fails(scene.issuer.down, FetchError)
    with Scene(case) as scene:
        scene.works(nothing)


def seen(match: str, play: Callable[[Scene], object]) -> None:
    """Play a scene that must fail with a text like *match*."""
    with pytest.raises(AssertionError, match=match), Scene() as scene:
        play(scene)


def test_an_expected_failure_that_does_not_come_is_seen() -> None:
    """A row that expects an error fails where there is none."""
    seen("expected FetchError", lambda scene: scene.fails(nothing, FetchError))


def test_an_unexpected_failure_is_seen() -> None:
    """A row that expects none fails where there is one."""
    seen("expected good verdicts", lambda scene: scene.works(scene.issuer.down))


def test_an_error_of_another_kind_is_seen() -> None:
    """The classes are compared exactly: a 503 of another kind fails the row."""
    seen("expected InvalidKeySetError", lambda scene: scene.fails(scene.issuer.down, InvalidKeySetError))


def test_an_accepted_stranger_is_seen() -> None:
    """A token that must stay out and was let in fails the row (I1)."""
    seen("I1", lambda scene: scene.accepts(scene.bad(scene.token())))


def test_a_hammered_issuer_is_seen() -> None:
    """Refreshes beyond the bound fail the row (I3)."""
    seen("I3", lambda scene: [scene.client.refresh() for _ in range(10)])


def test_requests_beyond_two_a_refresh_are_seen() -> None:
    """Requests that no refresh explains fail the row (I3)."""

    def ask(scene: Scene) -> None:
        scene.issuer.fetcher().fetch(scene.issuer.jwks_url, headers={}, max_bytes=1_000_000, deadline=1.0)

    seen("I3", ask)


def test_the_text_of_a_token_is_seen() -> None:
    """A log line with a token fails the row (I5)."""
    seen("I5", lambda scene: logging.getLogger("keyturn").warning("%s", scene.token()))


def test_what_is_no_verdict_is_seen() -> None:
    """An exception of another kind fails the row (I5)."""

    class Odd:
        def validate(self, token: str) -> None:
            raise RuntimeError

    def call(scene: Scene) -> None:
        scene.validator = Odd()  # type: ignore[assignment]
        scene.call(scene.token())

    seen("expected a verdict", call)


def test_an_open_socket_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that stays open fails the row (I5)."""
    left: list[socket.socket] = []
    monkeypatch.setattr(drivers, "PATIENCE", 0.1)
    seen("closed", lambda scene: left.append(socket.socket()))
    left[0].close()

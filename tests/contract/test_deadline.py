"""The boundary of the deadline, which is real time: an answer just before it, at it, and one whose parts are beyond it together (B9)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import ExitStack

import pytest
from tests.contract.drivers import PATIENCE, Threads, World, quiet
from tests.rollover.boundaries import row

from keyturn import FetchError, RolloverPolicy, ValidatedToken
from keyturn.fetching import FetchedDocument, Fetcher

LONG, SHORT = 60.0, 0.5
"""Real seconds: a deadline that no test reaches, and one that is soon over."""


class Listening:
    """A fetcher that notes how long each document was given."""

    inner: Fetcher

    def __init__(self) -> None:
        self.deadlines: list[float] = []

    def fetch(self, url: str, *, headers: Mapping[str, str], max_bytes: int, deadline: float) -> FetchedDocument:
        """Fetch as the fetcher within does."""
        self.deadlines.append(deadline)
        return self.inner.fetch(url, headers=headers, max_bytes=max_bytes, deadline=deadline)


@pytest.mark.parametrize(
    ("deadline", "opens", "pause", "outcome"),
    [
        row("b09", "before", "gate-opens", LONG, True, 0.0, ValidatedToken),
        row("b09", "at", "gate-stays-closed", SHORT, False, 0.0, FetchError),
        row("b09", "beyond", "parts-within-it", SHORT, True, 0.6 * SHORT, FetchError),
    ],
)
def test_the_deadline(deadline: float, opens: bool, pause: float, outcome: type) -> None:
    """B9: one deadline for the whole refresh and for the caller's whole wait, discovery and key set together (Z8, M46)."""
    fetcher = Listening()
    world = World(policy=RolloverPolicy(deadline=deadline), fetcher=fetcher)
    fetcher.inner = world.issuer.fetcher()
    with ExitStack() as faults:
        if pause:
            # Each document comes within the deadline, both together do not.
            faults.enter_context(world.issuer.slow(pause, document="both"))
        gate = faults.enter_context(world.issuer.gate())
        calls = Threads().start(world.validator, [world.issuer.token()])
        if opens:
            assert pause or gate.wait_for_arrival(PATIENCE)
            gate.open()
        # A gate that stays closed is closed still when its caller is back.
        assert isinstance(calls.done()[0], outcome)
    quiet()
    # What the first document took is not there for the second.
    assert all(later <= earlier - pause for earlier, later in itertools.pairwise(fetcher.deadlines))

"""Keys of another cloud are told of at a rate that a log survives, and what is remembered of it stays small."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.unit.material import entry, keys_of

from keyturn import KeySetClient
from keyturn._clouds import _MOST_TOLD, CloudWatch
from keyturn.testing import FakeClock, FakeIssuer

ISSUER = FakeIssuer(clock=FakeClock())


def test_what_was_told_is_bounded() -> None:
    """Keys come and go for years, and their instants are not kept for ever."""
    told: list[Any] = []
    client = KeySetClient(ISSUER.issuer, fetcher=ISSUER.fetcher(), clock=ISSUER.clock, on_event=told.append)
    watch = CloudWatch("ours", False, client._keeper)
    (key,) = keys_of(entry(cloud_instance_name="theirs")).keys
    for number in range(_MOST_TOLD + 1):
        watch.look(replace(key, thumbprint=f"{number}"), ISSUER.issuer, 0.0)
    assert 1 == len(watch._told)
    client._keeper.deliver.finish(20)
    assert _MOST_TOLD + 1 == len(told)


def test_a_clock_that_was_set_back_does_not_silence() -> None:
    """An instant in the future of what was told counts as long ago (R14)."""
    told: list[Any] = []
    client = KeySetClient(ISSUER.issuer, fetcher=ISSUER.fetcher(), clock=ISSUER.clock, on_event=told.append)
    watch = CloudWatch("ours", False, client._keeper)
    (key,) = keys_of(entry(cloud_instance_name="theirs")).keys
    for now in (1000.0, 1001.0, 500.0):
        watch.look(key, ISSUER.issuer, now)
    client._keeper.deliver.finish(20)
    assert [1000.0, 500.0] == [event.at for event in told]

"""What a new process finds in a store: its keys, and an operator's word (R11, U36). The rows of the fault matrix stand in `tests/faults`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.drivers import AUDIENCE
from tests.faults.fleet import Fleet, in_files, in_memory, patient, verdict

from keyturn import KeySetClient, TokenValidator
from keyturn.events import FetchSucceeded


@pytest.fixture(params=["memory", "files"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """Processes with each kind of store."""
    patient(monkeypatch)
    with in_memory() if request.param == "memory" else in_files(tmp_path) as fleet:
        yield fleet


def test_restart_needs_no_request(fleet: Fleet) -> None:
    """A new process starts from the store, with the issuer down."""
    token = fleet.issuer.token()
    assert verdict(fleet.process(), token) == "accepted"
    fleet.issuer.fetches.clear()
    with fleet.issuer.down(document="both"):
        assert verdict(fleet.process(), token) == "accepted"
    fleet.issuer.fetches.expect(discovery=0, jwks=0)
    assert "store" in {event.reason for event in fleet.told(FetchSucceeded)}


def test_revocation_holds_over_a_restart(fleet: Fleet) -> None:
    """The operator's word is in the store when `revoke()` returns, and is read before any key is taken into force (R11)."""
    first, token = fleet.process(), fleet.issuer.token()
    assert verdict(first, token) == "accepted"
    first.client.revoke(kid="k1")
    assert verdict(first, token) == "revoked_key"
    assert verdict(fleet.process(), token) == "revoked_key"


def test_reinstating_holds_over_a_restart(fleet: Fleet) -> None:
    """Taking back is a further entry with a higher sequence, in the same millisecond too."""
    first, token = fleet.process(), fleet.issuer.token()
    assert verdict(first, token) == "accepted"
    first.client.revoke(kid="k1")
    first.client.reinstate(kid="k1")
    assert verdict(first, token) == "accepted"
    assert verdict(fleet.process(), token) == "accepted"


def test_revocation_before_any_key_holds_over_a_restart(fleet: Fleet) -> None:
    """A kid that was revoked on a cold client refuses the first key that appears under it, in a later process too."""
    fleet.process().client.revoke(kid="k1")
    token = fleet.issuer.token()
    assert verdict(fleet.process(), token) == "revoked_key"
    assert verdict(fleet.process(), token) == "revoked_key"


def test_revoked_by_configuration_is_not_for_the_store(fleet: Fleet) -> None:
    """What one process is configured to refuse is its own affair: the others go on, and it ends with the setting."""
    token = fleet.issuer.token()
    thumbprint = fleet.process(store=None).client.refresh().keys[0].thumbprint
    configured = KeySetClient(fleet.issuer.issuer, fetcher=fleet.issuer.fetcher(), clock=fleet.clock, store=fleet.store, revoked=[thumbprint])
    assert verdict(TokenValidator(configured, audience=AUDIENCE), token) == "revoked_key"
    assert not fleet.store.revocations(fleet.source)
    assert verdict(fleet.process(), token) == "accepted"

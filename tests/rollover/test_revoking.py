"""Revoking and reinstating: first the pure rules on instants of the test, then a client with its tokens (R11)."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.rollover.helpers import DAY, DEFAULTS, NAME, START, World, after, only, published

from keyturn import ConfigurationError, KeyRevoked, KeySet, MemoryStore, Revocation
from keyturn._core.acceptance import accept
from keyturn._core.revocation import merged
from keyturn._core.revoking import Change, reinstate, resolve, revoke, take_in
from keyturn._core.state import Answer, KeySetState
from keyturn.clock import Instant
from keyturn.testing import FakeIssuer
from keyturn.testing.keys import base64url

COLD = KeySetState(NAME, DAY, DAY)
MS = int(START.wall * 1000)


def hexed(thumbprint: str) -> str:
    """Return a thumbprint as certificate dialogs show it: hex with colons, in upper case."""
    return base64.urlsafe_b64decode(thumbprint + "==").hex(":").upper()


def reading(state: KeySetState, issuer: FakeIssuer, now: Instant = START) -> Change:
    """Take the published set, and what was revoked before it came."""
    return resolve(accept(state, DEFAULTS, now, Answer(published(issuer), now), 0.0)[0], now)


def kids(keys: KeySet) -> set[str | None]:
    """Return the kids of *keys*."""
    return {key.kid for key in keys.keys}


def certified(kid: str) -> dict[str, Any]:
    """Return an entry with a certificate, and with both of its thumbprints."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "signing")])
    now = datetime(2027, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
    certificate = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    der = certificate.public_bytes(serialization.Encoding.DER)
    numbers = key.public_key().public_numbers()
    return {
        "kty": "EC",
        "crv": "P-256",
        "x": base64url(numbers.x.to_bytes(32, "big")),
        "y": base64url(numbers.y.to_bytes(32, "big")),
        "kid": kid,
        "use": "sig",
        "alg": "ES256",
        "x5c": [base64.b64encode(der).decode()],
        "x5t": base64url(hashlib.sha1(der).digest()),
        "x5t#S256": base64url(hashlib.sha256(der).digest()),
    }


@pytest.fixture
def issuer() -> FakeIssuer:
    """An issuer with the keys k1 and k2."""
    made = FakeIssuer(NAME)
    made.publish("k2")
    return made


def test_by_kid_every_key_held_under_it(issuer: FakeIssuer) -> None:
    """A kid stands for the keys held and vanished under it: each gets an entry by its thumbprint, and the kid gets none."""
    before = reading(COLD, issuer).state
    issuer.replace_material("k1")
    state = reading(before, issuer, after(START, 60)).state
    assert len([key for key in state.held.keys if key.kid == "k1"]) == 2
    change = revoke(state, after(START, 61), kid="k1")
    thumbprints = {key.thumbprint for key in state.held.keys if key.kid == "k1"}
    assert {(entry.kind, entry.subject, entry.state, entry.kid) for entry in change.entries} == {
        ("thumbprint", thumbprint, "revoked", "k1") for thumbprint in thumbprints
    }
    assert (kids(change.state.held), kids(change.state.banned)) == ({"k2"}, {"k1"})
    assert [(event.kid, event.thumbprint in thumbprints, event.state) for event in change.events if isinstance(event, KeyRevoked)] == [
        ("k1", True, "revoked")
    ] * 2
    issuer.replace_material("k1")
    assert kids(reading(change.state, issuer, after(START, 62)).state.held) == {"k1", "k2"}


@pytest.mark.parametrize("handle", ["thumbprint", "x5t", "x5t_s256"])
@pytest.mark.parametrize("write", [str, hexed, lambda text: hexed(text).replace(":", "").lower()])
@pytest.mark.parametrize("first", [True, False])
def test_by_thumbprint(handle: str, write: Any, first: bool) -> None:
    """RFC 7638, `x5t` or `x5t#S256`, in base64url or hex, before the key is held or after: one entry by its RFC 7638 thumbprint."""
    world = World()
    world.issuer.add_entry(certified("c1"))
    key = only(published(world.issuer), "c1")
    named = write(getattr(key, handle))
    if first:
        world.client.revoke(thumbprint=named)
    world.accept(world.issuer.token())
    if not first:
        assert kids(world.client.snapshot()) == {"k1", "c1"}
        world.client.revoke(thumbprint=named)
    assert kids(world.client.snapshot()) == {"k1"}
    assert world.client._keeper.state.revocations["thumbprint", key.thumbprint].state == "revoked"
    world.client.reinstate(thumbprint=named)
    assert kids(world.client.snapshot()) == {"k1", "c1"}


def test_the_first_key_that_appears(issuer: FakeIssuer) -> None:
    """A kid revoked before any key is held under it revokes the first that appears, and is closed: the next one is another key."""
    named = revoke(COLD, START, kid="k9")
    assert named.entries == (Revocation("kid", "k9", MS, "revoked", "k9"),)
    state = reading(named.state, issuer).state
    assert (kids(state.held), kids(state.banned)) == ({"k1", "k2"}, set())
    issuer.publish("k9")
    change = reading(state, issuer, after(START, 1))
    first = only(change.state.banned, "k9")
    assert kids(change.state.held) == {"k1", "k2"}
    assert [(entry.kind, entry.subject, entry.state) for entry in change.entries] == [
        ("thumbprint", first.thumbprint, "revoked"),
        ("kid", "k9", "reinstated"),
    ]
    assert [(event.thumbprint, event.kid, event.state) for event in change.events if isinstance(event, KeyRevoked)] == [
        (first.thumbprint, "k9", "revoked")
    ]
    issuer.replace_material("k9")
    later = reading(change.state, issuer, after(START, 2))
    assert (kids(later.state.held), kids(later.state.banned), later.entries) == ({"k1", "k2", "k9"}, {"k9"}, ())
    assert only(later.state.held, "k9").thumbprint != first.thumbprint


def test_every_key_that_appears_together(issuer: FakeIssuer) -> None:
    """Two keys of one kid in the first answer are both revoked: which of them is the first, nothing says (R2)."""
    issuer.publish("a", kid="k9")
    issuer.publish("b", kid="k9")
    state = reading(revoke(COLD, START, kid="k9").state, issuer).state
    assert (len(state.banned.keys), kids(state.banned)) == (2, {"k9"})


def test_the_same_material_under_another_kid(issuer: FakeIssuer) -> None:
    """A revoked key stays revoked whatever it is called (R15)."""
    state = reading(COLD, issuer).state
    state = revoke(state, START, kid="k1").state
    (jwk,) = (jwk for jwk in issuer.jwks()["keys"] if jwk["kid"] == "k1")
    issuer.add_entry({**jwk, "kid": "renamed"})
    state = reading(state, issuer, after(START, 1)).state
    assert (kids(state.held), kids(state.banned)) == ({"k2"}, {"k1", "renamed"})


def test_no_answer_takes_a_revocation_back(issuer: FakeIssuer) -> None:
    """It outlives the key: withheld, gone, and published again, the key stays refused (M20, F53)."""
    state = revoke(reading(COLD, issuer).state, START, kid="k1").state
    issuer.withhold("k1")
    state = reading(state, issuer, after(START, 1)).state
    assert kids(state.banned) == {"k1"}
    state = reading(state, issuer, after(START, 3 * DAY)).state
    assert kids(state.banned) == set()
    issuer.restore("k1")
    state = reading(state, issuer, after(START, 3 * DAY + 1)).state
    assert (kids(state.held), kids(state.banned)) == ({"k2"}, {"k1"})


@pytest.mark.parametrize("by", ["kid", "thumbprint"])
def test_reinstate(issuer: FakeIssuer, by: str) -> None:
    """It takes back what was revoked under either name, with a higher sequence, and nothing where nothing was revoked."""
    state = reading(COLD, issuer).state
    thumbprint = only(state.held, "k1").thumbprint
    state = revoke(state, START, kid="k1").state
    name = {"kid": "k1"} if by == "kid" else {"thumbprint": thumbprint}
    change = reinstate(state, START, **name)
    assert change.entries == (Revocation("thumbprint", thumbprint, MS + 1, "reinstated", "k1"),)
    assert [event.state for event in change.events if isinstance(event, KeyRevoked)] == ["reinstated"]
    assert kids(change.state.held) == {"k1", "k2"}
    assert reinstate(change.state, START, **name) == Change(change.state)
    assert reinstate(state, START, kid="k2") == Change(state)


def test_reinstate_by_kid_of_a_key_revoked_by_thumbprint(issuer: FakeIssuer) -> None:
    """The kid names every held key under it, whatever it was revoked by; without a held key, the entries that know the kid."""
    state = reading(COLD, issuer).state
    thumbprint = only(state.held, "k1").thumbprint
    state = take_in(state, START, [Revocation("thumbprint", thumbprint, MS, "revoked")]).state
    assert kids(state.held) == {"k2"}
    assert kids(reinstate(state, START, kid="k1").state.held) == {"k1", "k2"}
    cold = take_in(COLD, START, [Revocation("thumbprint", thumbprint, MS, "revoked", "k1")]).state
    assert reinstate(cold, START, kid="k1").entries == (Revocation("thumbprint", thumbprint, MS + 1, "reinstated", "k1"),)


def test_reinstate_a_name_that_no_key_had(issuer: FakeIssuer) -> None:
    """Names that wait for their key are taken back as they were given."""
    state = revoke(revoke(COLD, START, kid="k1").state, START, thumbprint="A" * 43).state
    state = reinstate(reinstate(state, START, kid="k1").state, START, thumbprint="A" * 43).state
    assert {entry.state for entry in state.revocations.values()} == {"reinstated"}
    assert kids(reading(state, issuer).state.held) == {"k1", "k2"}


def test_sequences_only_grow() -> None:
    """A sequence is the time in milliseconds, and one more than the last where the clock stood still or was set back."""
    state, sequences = COLD, []
    for seconds, change in ((0, revoke), (0, reinstate), (-3_600, revoke), (-3_600, reinstate), (7_200, revoke)):
        made = change(state, after(START, seconds), kid="k9")
        sequences.append(made.entries[0].sequence)
        state = made.state
    assert sequences == [MS, MS + 1, MS + 2, MS + 3, MS + 7_200_000]


def entry(sequence: int, state: Any, subject: str = "T" * 43) -> Revocation:
    """Return an entry for one thumbprint."""
    return Revocation("thumbprint", subject, sequence, state)


@pytest.mark.parametrize(
    ("known", "new", "winner"),
    [
        (entry(5, "revoked"), entry(4, "reinstated"), "revoked"),
        (entry(5, "revoked"), entry(5, "reinstated"), "revoked"),
        (entry(5, "revoked"), entry(6, "reinstated"), "reinstated"),
        (entry(5, "reinstated"), entry(4, "revoked"), "reinstated"),
        (entry(5, "reinstated"), entry(5, "revoked"), "revoked"),
        (entry(5, "reinstated"), entry(6, "revoked"), "revoked"),
    ],
)
def test_the_highest_sequence_wins(known: Revocation, new: Revocation, winner: str) -> None:
    """An old view neither revokes nor reinstates; of two equal sequences the revocation wins (M56, F88)."""
    subject = ("thumbprint", "T" * 43)
    assert merged({subject: known}, [new])[subject].state == winner
    assert merged({}, [known, new]) == merged({}, [new, known]) == {subject: known if known.state == winner else new}


def test_taking_in_what_is_known_changes_nothing(issuer: FakeIssuer) -> None:
    """Entries that lose leave the state alone, and tell nothing."""
    state = revoke(reading(COLD, issuer).state, START, kid="k1").state
    (known,) = state.revocations.values()
    assert take_in(state, START, [known, entry(known.sequence - 1, "reinstated", known.subject)]) == Change(state)
    assert take_in(state, START, []) == Change(state)


def test_taking_in_tells_what_changed(issuer: FakeIssuer) -> None:
    """An entry of the store bans its key at once and is told; a higher sequence of the same word is not told again."""
    state = reading(COLD, issuer).state
    thumbprint = only(state.held, "k1").thumbprint
    change = take_in(state, START, [entry(7, "revoked", thumbprint)])
    assert (kids(change.state.held), len(change.events), change.entries) == ({"k2"}, 1, ())
    again = take_in(change.state, START, [entry(8, "revoked", thumbprint)])
    assert (again.state.revocations["thumbprint", thumbprint].sequence, again.events) == (8, ())
    back = take_in(again.state, START, [entry(9, "reinstated", thumbprint)])
    assert (kids(back.state.held), len(back.events)) == ({"k1", "k2"}, 1)


def test_taking_in_a_kid_that_is_held(issuer: FakeIssuer) -> None:
    """A name that another process revoked before it held a key is resolved here at once, and the entries go back to the store."""
    state = reading(COLD, issuer).state
    change = take_in(state, START, [Revocation("kid", "k1", MS, "revoked", "k1")])
    assert [(made.kind, made.state, made.sequence) for made in change.entries] == [("thumbprint", "revoked", MS), ("kid", "reinstated", MS + 1)]
    assert kids(change.state.banned) == {"k1"}


def test_a_key_without_kid(issuer: FakeIssuer) -> None:
    """It is revoked by its thumbprint, and by no kid."""
    issuer.publish("bare", kid=None)
    state = reading(revoke(COLD, START, kid="bare").state, issuer).state
    assert kids(state.held) == {"k1", "k2", None}
    assert kids(revoke(state, START, thumbprint=only(state.held, None).thumbprint).state.banned) == {None}


def test_at_once_and_without_a_fetch() -> None:
    """The next token is refused, no request is spent on it, and other keys serve on (F51, F53)."""
    world = World()
    world.issuer.publish("k2")
    world.warm()
    world.client.revoke(kid="k1")
    assert world.verdict(world.issuer.token()) == "revoked_key"
    assert world.verdict(world.issuer.token(key="k2")) == "accepted"
    assert (world.requests, len(world.told(KeyRevoked))) == (0, 1)
    world.client.reinstate(kid="k1")
    assert world.verdict(world.issuer.token()) == "accepted"
    assert world.requests == 0


def test_revoked_from_the_start() -> None:
    """Thumbprints of the configuration hold from the first token on, in every process (M21)."""
    world = World()
    world.restart(revoked=[hexed(only(published(world.issuer), "k1").thumbprint)])
    assert world.verdict(world.issuer.token()) == "revoked_key"
    assert world.requests == 1


def test_over_a_restart_with_a_store() -> None:
    """The store keeps the entries: a new process refuses the key with its first token, and takes it back when told (M21)."""
    world = World(store=MemoryStore())
    world.issuer.publish("k2")
    world.warm()
    world.client.revoke(kid="k1")
    world.restart()
    assert world.verdict(world.issuer.token()) == "revoked_key"
    assert world.verdict(world.issuer.token(key="k2")) == "accepted"
    world.client.reinstate(kid="k1")
    world.restart()
    assert world.verdict(world.issuer.token()) == "accepted"


def test_a_name_that_waits_survives_a_restart() -> None:
    """A kid revoked before its key is kept by the store; the new process closes it with the first key, and records that."""
    world = World(store=MemoryStore())
    world.warm()
    world.client.revoke(kid="k2")
    world.restart()
    world.issuer.cut_over("k2")
    assert world.verdict(world.issuer.token()) == "revoked_key"
    world.issuer.replace_material("k2")
    world.restart()
    world.client.refresh()
    assert world.verdict(world.issuer.token()) == "accepted"


def test_after_the_grace_a_kid_names_no_key() -> None:
    """A vanished key whose grace is over is not held, whether a token came since or not: its kid waits for the next key."""
    world = World()
    world.issuer.publish("k2")
    world.warm()
    world.issuer.promote("k2")
    world.issuer.retire("k1")
    world.client.refresh()
    world.clock.advance(7_200)
    world.client.revoke(kid="k1")
    world.issuer.cut_over("k1")
    world.client.refresh()
    assert world.verdict(world.issuer.token()) == "revoked_key"


@pytest.mark.parametrize("arguments", [{}, {"kid": "k1", "thumbprint": "A" * 43}, {"thumbprint": "k1"}, {"kid": "k" * 257}, {"kid": 7}])
def test_what_is_no_name_of_a_key(arguments: dict[str, Any]) -> None:
    """Exactly one of both, and of the right form; nothing is recorded otherwise."""
    world = World()
    for call in (world.client.revoke, world.client.reinstate):
        with pytest.raises(ConfigurationError):
            call(**arguments)
    assert not world.client._keeper.state.revocations

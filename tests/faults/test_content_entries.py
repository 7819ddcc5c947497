"""Entries that never serve, and odd ones that do, among good keys (F39, F41-F43, F47).

Rules of this file:

1. What is left out stands beside good keys, is told with its reason, and takes no good key along.
2. Who asks for a key that is published and left out is told why.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from tests.contract.drivers import AUDIENCE
from tests.faults.harness import CASES, UNHURRIED, Case, Scene, nothing
from tests.unit.material import certificate, der_of, entry, rsa_entry, x5c

from keyturn import InvalidIssuerError, KeySetChanged, MemoryStore, Snapshot, StaticKeySet, TokenValidator, UnknownKeyError
from keyturn._core import jwk
from keyturn.testing.keys import base64url

in_every_way = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

SECRET = "c2VjcmV0LW9mLXRoZS1pc3N1ZXI"
"""What must be found nowhere."""


def leaves_out(scene: Scene, entries: Mapping[str, Any]) -> KeySetChanged:
    """Play a rollover to a set in which *entries*, by their kids, cannot serve; return what was told of it."""

    def publish() -> None:
        for kid, odd in entries.items():
            scene.issuer.add_entry({**odd, "kid": kid})

    scene.works(nothing, publish=publish)
    scene.accepts(scene.token(key="k1"))
    (changed,) = scene.told(KeySetChanged)
    assert {kid for kid, _ in changed.skipped} == entries.keys()
    assert dict(changed.skipped) == {skipped.kid: skipped.reason for skipped in scene.client.status().skipped}
    assert {key.kid for key in scene.client.snapshot().keys} == {"k1", "k2"}
    for kid, reason in changed.skipped:
        asked_for(scene, str(kid), reason)
    return changed


def asked_for(scene: Scene, kid: str, reason: str) -> None:
    """Ask with a token that names *kid*, and demand that the error says why it cannot serve (Z12)."""
    (error,) = scene.refuses(UnknownKeyError, scene.bad(scene.issuer.forge(key=kid)), callers=1)
    assert reason in error.hint


EXPOSED = {
    "symmetric": {"kty": "oct", "k": SECRET, "alg": "HS256"},
    "private-rsa": {**entry("RS256"), "d": SECRET},
    "private-ec": {**entry("ES256"), "d": SECRET},
    "private-okp": {**entry("Ed25519"), "d": SECRET},
    "private-akp": {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA", "priv": SECRET},
}


@in_every_way
def test_f39_secret_keys_in_the_set(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    """Dropped, and told as a warning that names none of what is secret."""
    with Scene(case, policy=UNHURRIED) as scene:
        changed = leaves_out(scene, EXPOSED)
        assert set(changed.exposed) == EXPOSED.keys()
        (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING and "KeySetChanged" in record.message]
        assert "exposed=5 of them" in warning.message
        told = [repr(scene.client.status()), repr(scene.events), caplog.text, *map(repr, scene.refusals)]
        assert SECRET not in "".join(told)


class Watched(MemoryStore):
    """A store that shows what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[bytes] = []

    def publish(self, source: str, snapshot: Snapshot, fence: int) -> bool:
        """Keep the snapshot, and show it."""
        self.kept.append(snapshot.body)
        return super().publish(source, snapshot, fence)


def test_f39_nothing_secret_is_kept_in_a_store() -> None:
    """A restart reads the same keys and the same reasons from what was kept, and what was kept has no secret in it."""
    store = Watched()
    with Scene(policy=UNHURRIED, store=store) as scene:
        changed = leaves_out(scene, EXPOSED)
    with Scene(policy=UNHURRIED, issuer=scene.issuer, store=store) as restarted, scene.issuer.down(document="both"):
        restarted.accepts(restarted.token())
        (again,) = restarted.told(KeySetChanged)
        assert (again.skipped, again.exposed) == (changed.skipped, changed.exposed)
        assert restarted.requests() == scene.requests()
    assert store.kept
    assert SECRET.encode() not in b"".join(store.kept)


_BITS = (512, 1024, 2047, 16_385, 131_072)
_EXPONENTS = (0, 1, 65_536, (1 << 32) + 1, 1 << 4_096)
WEAK = {
    **{f"rsa-{bits}": rsa_entry((1 << (bits - 1)) | 1) for bits in _BITS},
    "even": rsa_entry(1 << 2_047),
    **{f"exponent-{exponent.bit_length()}": rsa_entry((1 << 2_047) | 1, exponent) for exponent in _EXPONENTS},
}


@in_every_way
def test_f41_rsa_keys_that_are_too_weak_or_too_large(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left out before a number of them is handed to the crypto library."""
    built: list[str] = []
    convert = jwk._converted

    def counting(algorithm: Any, members: dict[str, str]) -> Any:
        built.append(members["kty"])
        return convert(algorithm, members)

    monkeypatch.setattr(jwk, "_converted", counting)
    with Scene(case, policy=UNHURRIED) as scene:
        leaves_out(scene, WEAK)
        assert set(built) == {"EC"}


_X, _Y = (entry("ES256")[member] for member in ("x", "y"))
DISAGREEING = {
    "alg-of-another-type": entry("ES256", alg="RS256"),
    "alg-of-another-curve": entry("ES256", alg="ES384"),
    "type-of-another": {**entry("ES256"), "kty": "RSA"},
    "curve-of-another": entry("ES256", crv="P-384"),
    "off-the-curve": entry("ES256", x=_Y, y=_X),
    "zero": entry("ES256", x=base64url(bytes(32)), y=base64url(bytes(32))),
    "x25519": {"kty": "OKP", "crv": "X25519", "x": base64url(b"\x09" + bytes(31))},
    "x448": {"kty": "OKP", "crv": "X448", "x": base64url(b"\x05" + bytes(55))},
}


@in_every_way
def test_f42_members_that_disagree(case: Case) -> None:
    """Type, algorithm and curve that do not fit each other, points that are none, curves that do not sign: left out."""
    with Scene(case, policy=UNHURRIED) as scene:
        leaves_out(scene, DISAGREEING)


def certified(scene: Scene, kid: str, *, expired: bool = False) -> list[str]:
    """Make a key of the issuer that is not published yet; return a chain with its certificate."""
    signing = scene.issuer.signing_kid
    scene.issuer.sign_unpublished(kid)
    der = certificate(scene.issuer._keys[kid].private._key, expired=expired, digest=hashes.SHA256())  # type: ignore[attr-defined]
    scene.issuer.promote(signing)
    return x5c(der)


@in_every_way
def test_f43_certificates_beside_keys(case: Case) -> None:
    """One of another key takes its entry out; one that cannot be read, has expired or does not fit its handle keeps no key from serving."""
    with Scene(case, policy=UNHURRIED) as scene:
        if case.warm:
            scene.warm()
        claimed = base64url(bytes(20))
        odd = {
            "expired": {"x5c": certified(scene, "expired", expired=True)},
            "garbled": {"x5c": ["!"]},
            "misfit": {"x5c": certified(scene, "misfit"), "x5t": claimed},
            "foreign": {"x5c": x5c(der_of())},
        }
        for kid, members in odd.items():
            scene.issuer.publish(kid, **members)
        scene.accepts(*[scene.token(key=kid) for kid in ("k1", "expired", "garbled", "misfit")] * case.callers)
        ((kid, reason),) = scene.told(KeySetChanged)[-1].skipped
        assert (kid, "certificate of another key" in reason) == ("foreign", True)
        status = scene.client.status()
        assert [skipped.kid for skipped in status.skipped] == ["foreign"]
        remarks = {key.kid: " ".join(key.remarks) for key in status.keys}
        assert remarks.pop("garbled").startswith("its certificate cannot be read")
        assert remarks.pop("misfit").startswith("its x5t does not fit")
        assert remarks == {"k1": "", "expired": ""}
        (error,) = scene.refuses(UnknownKeyError, scene.bad(scene.issuer.token(key="foreign")), callers=1)
        assert reason in error.hint


def test_f43_handle_that_does_not_fit_is_no_handle() -> None:
    """A token that names the claimed thumbprint finds nothing; one that names the certificate's own finds the key."""
    with Scene(policy=UNHURRIED) as scene:
        chain, claimed = certified(scene, "misfit"), base64url(bytes(20))
        scene.issuer.publish("misfit", x5c=chain, x5t=claimed)
        scene.issuer.publish("fitting", x5c=certified(scene, "fitting"))
        scene.warm()
        (key,) = [key for key in scene.client.snapshot().keys if key.kid == "misfit"]
        assert key.x5t not in {None, claimed}
        scene.accepts(scene.token(key="misfit", headers={"kid": None, "x5t": key.x5t}))
        scene.refuses(UnknownKeyError, scene.bad(scene.issuer.token(key="misfit", headers={"kid": None, "x5t": claimed})))


OTHERS = ("https://other.test", "https://issuer.test/", "https://ISSUER.test", "https://issuer.test/{tenantid}", "")


@in_every_way
def test_f47_keys_of_another_issuer(case: Case) -> None:
    """A key that names an issuer serves that one exactly; here it is left out with the reason, and its tokens are told."""
    with Scene(case, policy=UNHURRIED) as scene:
        if case.warm:
            scene.warm()
        scene.issuer.publish("own", issuer=scene.issuer.issuer)
        for number, name in enumerate(OTHERS):
            scene.issuer.publish(f"foreign-{number}", issuer=name)
        scene.accepts(scene.token(key="own"))
        changed = scene.told(KeySetChanged)[-1]
        assert {kid for kid, _ in changed.skipped} == {f"foreign-{number}" for number in range(len(OTHERS))}
        for kid, reason in changed.skipped:
            (error,) = scene.refuses(UnknownKeyError, scene.bad(scene.issuer.token(key=kid)), callers=1)
            assert "is published for issuer" in reason
            assert reason in error.hint
        scene.accepts(scene.token(key="k1"))


@pytest.mark.parametrize("names", [[OTHERS[0]], OTHERS])
def test_f47_is_looked_at_again_after_the_signature(names: Iterable[str]) -> None:
    """Whatever source handed the key over: a good signature of another issuer's key lets nobody in."""
    with Scene(policy=UNHURRIED) as scene:
        (published,) = scene.issuer.jwks()["keys"]
        token, ours = scene.token(), scene.issuer.issuer
        for name in names:
            source = StaticKeySet.from_jwks({"keys": [{**published, "issuer": name}]})
            with pytest.raises(InvalidIssuerError, match="published for") as caught:
                TokenValidator(source, audience=AUDIENCE, issuer=ours, clock=scene.clock).validate(token)
            assert caught.value.http_status == 401
        own = StaticKeySet.from_jwks({"keys": [{**published, "issuer": ours}]})
        assert TokenValidator(own, audience=AUDIENCE, issuer=ours, clock=scene.clock).validate(token).key_id == "k1"

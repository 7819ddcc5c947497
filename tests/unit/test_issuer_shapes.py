"""Key sets as real issuers write them: every key that signs is found, in any order, and nothing else is.

Fixed keys follow no issuer, so the set is read here for its issuer by hand, as a client does.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from tests.unit.material import AUDIENCE, private_key, raw_private
from tests.unit.shapes import SHAPES, Shape, Signer

from keyturn import InvalidSignatureError, KeySet, StaticKeySet, TokenValidator, UnknownKeyError
from keyturn.testing import FakeClock, FakeIssuer
from keyturn.testing.keys import base64url

CLOCK = FakeClock()
ISSUER = FakeIssuer(clock=CLOCK)
DIGESTS = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


def keys_of(shape: Shape, seed: int | None = None) -> KeySet:
    """Return the key set of *shape*, shuffled if there is a seed."""
    entries = list(shape.document["keys"])
    if seed is not None:
        random.Random(seed).shuffle(entries)
    return KeySet.from_jwks(json.dumps({"keys": entries}).encode(), issuer=ISSUER.issuer)


def signed(signer: Signer, **header: Any) -> str:
    """Return a good token of *signer*."""
    named = {"alg": signer.algorithm, **({} if signer.kid is None else {"kid": signer.kid}), **header}
    claims = {"iss": ISSUER.issuer, "sub": "alice", "aud": AUDIENCE, "exp": CLOCK.wall() + 60}
    signing_input = ISSUER.encode(named, claims, signature=b"x").rpartition(".")[0]
    return f"{signing_input}.{base64url(_signature(signer, signing_input.encode()))}"


def _signature(signer: Signer, data: bytes) -> bytes:
    algorithm, digest = signer.algorithm, DIGESTS.get(signer.algorithm[2:])
    if digest is None or algorithm.startswith("ES"):
        return private_key(*signer.key).sign(data)
    scheme = padding.PSS(padding.MGF1(digest), digest.digest_size) if algorithm.startswith("PS") else padding.PKCS1v15()
    return raw_private(*signer.key).sign(data, scheme, digest)


def validator(shape: Shape, seed: int | None = None) -> TokenValidator:
    """Return a validator over *shape*."""
    return TokenValidator(StaticKeySet(keys_of(shape, seed)), audience=AUDIENCE, issuer=ISSUER.issuer, clock=CLOCK)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_every_signer_is_accepted(name: str, seed: int | None) -> None:
    """Whatever stands beside its key, and wherever (R1, R2)."""
    shape = SHAPES[name]()
    judge = validator(shape, seed)
    for signer in shape.signers:
        assert "alice" == judge.validate(signed(signer)).subject


@pytest.mark.parametrize("name", SHAPES)
def test_what_cannot_serve_has_its_reason(name: str) -> None:
    """Skipped entries and remarks are exactly those that the shape names."""
    shape = SHAPES[name]()
    keys = keys_of(shape)
    assert sorted(kid for kid, _ in shape.skipped) == [skipped.kid for skipped in keys.skipped]
    for skipped in keys.skipped:
        assert dict(shape.skipped)[skipped.kid] in skipped.reason
    assert set(shape.remarks) == {key.kid for key in keys.keys if key.remarks}
    assert len(shape.document["keys"]) == len(keys.keys) + len(keys.skipped)


@pytest.mark.parametrize("name", SHAPES)
def test_a_signature_of_another_key_is_refused(name: str) -> None:
    """No signer's kid lets a foreign signature in, and no unknown kid a good one."""
    shape = SHAPES[name]()
    judge = validator(shape)
    for signer in shape.signers:
        foreign = Signer(signer.kid, signer.algorithm, (signer.key[0], 9))
        with pytest.raises(InvalidSignatureError):
            judge.validate(signed(foreign))
        with pytest.raises(UnknownKeyError):
            judge.validate(signed(signer, kid="nobody"))


def test_a_key_of_another_tenant_does_not_serve() -> None:
    """Entra publishes keys that belong to one issuer alone (R2)."""
    shape = SHAPES["entra"]()
    with pytest.raises(UnknownKeyError, match="is published for issuer"):
        validator(shape).validate(signed(Signer("entra2", "RS256", ("RS256", 2))))


def test_a_token_that_names_its_certificate_alone() -> None:
    """AD FS may write `x5t` without a kid; it chooses, and another one finds nothing (C38)."""
    shape = SHAPES["adfs"]()
    (signer,) = shape.signers
    unnamed = Signer(None, signer.algorithm, signer.key)
    assert validator(shape).validate(signed(unnamed, x5t=signer.kid))
    with pytest.raises(UnknownKeyError):
        validator(shape).validate(signed(unnamed, x5t=base64url(b"\1" * 20)))


def test_one_material_under_two_kids() -> None:
    """Klarna's two kids are two keys with one thumbprint; each serves its own tokens."""
    keys = keys_of(SHAPES["klarna"]())
    assert (2, 1) == (len(keys.keys), len({key.thumbprint for key in keys.keys}))


def test_leading_zeros_make_no_other_key() -> None:
    """PayPal's modulus with a zero in front has the thumbprint of the one without."""
    paypal, google = keys_of(SHAPES["paypal"]()), keys_of(SHAPES["google"]())
    assert {key.thumbprint for key in paypal.keys if key.kid == "rs"} <= {key.thumbprint for key in google.keys}

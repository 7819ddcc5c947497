"""A full strict validation with a held key, beside a bare verify of the same signature and beside PyJWT."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from benchmarks.measuring import interleaved
from keyturn import TokenValidator
from keyturn.testing import FakeIssuer

TOKEN_BYTES = 1_300
AUDIENCE = "api://bench"

GOALS = {"RS256": 1.8, "ES256": 1.35, "EdDSA": 1.25}
"""Upper bounds of the ratio to a bare verify."""

PYJWT_GOAL = 0.2
"""Upper bound of the ratio to PyJWT's `PyJWKClient` and `decode`, RS256."""


@dataclass(frozen=True)
class Row:
    """The figures of one algorithm."""

    algorithm: str
    token_bytes: int
    bare_microseconds: float
    keyturn: float
    pyjwt_held_key: float
    pyjwt_client: float
    keyturn_to_pyjwt_client: float
    goal: float | None

    @property
    def met(self) -> bool:
        """Whether the goals of this algorithm are met."""
        return (self.goal is None or self.keyturn <= self.goal) and (self.algorithm != "RS256" or self.keyturn_to_pyjwt_client <= PYJWT_GOAL)


def measure(algorithm: str, rounds: int) -> Row:
    """Measure one algorithm; every contestant accepts the token once before it is timed."""
    issuer = FakeIssuer("https://issuer.test", algorithm=algorithm, audience=AUDIENCE)
    token = token_of(issuer, TOKEN_BYTES)
    validator = TokenValidator(issuer.issuer, audience=AUDIENCE, fetcher=issuer.fetcher())
    validator.validate(token)
    with issuer.serve() as server:
        key = jwt.PyJWK(issuer.jwks()["keys"][0], algorithm=algorithm).key
        client = jwt.PyJWKClient(server.jwks_url)
        series = interleaved(
            {
                "bare": bare_verify(algorithm, key, token),
                "keyturn": lambda: validator.validate(token),
                "held": lambda: jwt.decode(token, key, algorithms=[algorithm], audience=AUDIENCE, issuer=issuer.issuer),
                "client": lambda: jwt.decode(
                    token, client.get_signing_key_from_jwt(token).key, algorithms=[algorithm], audience=AUDIENCE, issuer=issuer.issuer
                ),
            },
            rounds,
        )
    bare = series["bare"]
    return Row(
        algorithm=algorithm,
        token_bytes=len(token),
        bare_microseconds=bare.median * 1e6,
        keyturn=series["keyturn"].ratio_to(bare),
        pyjwt_held_key=series["held"].ratio_to(bare),
        pyjwt_client=series["client"].ratio_to(bare),
        keyturn_to_pyjwt_client=series["keyturn"].ratio_to(series["client"]),
        goal=GOALS.get(algorithm),
    )


def token_of(issuer: FakeIssuer, size: int) -> str:
    """Return a token of about *size* characters, with the claims of an access token and a list of groups."""
    groups = [f"{number:08d}-4a6c-4c1f-9d7e-2f6b1c0a9e51" for number in range(6)]
    token = issuer.token(scopes=["orders:read", "orders:write"], name="Alice Example", groups=groups, note="")
    missing = max(0, size - len(token)) * 3 // 4
    return issuer.token(scopes=["orders:read", "orders:write"], name="Alice Example", groups=groups, note="n" * missing)


def bare_verify(algorithm: str, key: Any, token: str) -> Callable[[], object]:
    """Return the one call that no validator can do without: the crypto library's verify, with everything made ready for it."""
    signing_input, _, segment = token.rpartition(".")
    data = signing_input.encode()
    signature = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    verify = key.verify
    digest = hashes.SHA256()
    if algorithm == "ES256":
        der, ecdsa = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:])), ec.ECDSA(digest)
        return lambda: verify(der, data, ecdsa)
    if algorithm == "EdDSA":
        return lambda: verify(signature, data)
    scheme = padding.PKCS1v15() if algorithm == "RS256" else padding.PSS(mgf=padding.MGF1(digest), salt_length=digest.digest_size)
    return lambda: verify(signature, data, scheme, digest)

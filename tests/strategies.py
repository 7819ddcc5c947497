"""What Hypothesis draws: entries and key sets, good, odd and hostile, and JOSE headers.

1. Good entries serve, each with a kid of its own or none.
2. Odd entries serve as well, in a way that parsers are known to trip over.
3. Hostile entries never serve, and take no other along.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from tests.unit.material import entry, rsa_entry

from keyturn import DEFAULT_ALGORITHMS

KIDS = st.none() | st.sampled_from(["k1", "k2", "k3", "", "0", "K1", "k1 ", "caf\u00e9", "cafe\u0301", "x" * 256])
ALGORITHMS = ("ES256", "ES384", "Ed25519", "RS256", "PS256")

SCALARS: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-(10**29), 10**29) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12)
)
ANY_JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3), max_leaves=6)

GOOD_ENTRIES = st.builds(
    lambda algorithm, number, kid, names_alg, use: entry(algorithm, number, kid=kid, alg=algorithm if names_alg else None, use=use),
    st.sampled_from(ALGORITHMS),
    st.integers(0, 2),
    KIDS,
    st.booleans(),
    st.sampled_from([None, "sig"]),
)

_HARMLESS = st.sampled_from(["x5u", "nbf", "acr", "endorsements", "spiffe_sequence", "ext", "unknown"])
ODD_ENTRIES = st.builds(
    lambda good, name, value: {**good, name: value},
    GOOD_ENTRIES,
    _HARMLESS,
    ANY_JSON,
) | st.builds(
    lambda good, member: {**good, **member},
    GOOD_ENTRIES,
    st.sampled_from([{"key_ops": ["verify"]}, {"key_ops": ["verify", "sign"]}, {"x5c": ["!"]}, {"x5c": []}, {"x5t": "short"}, {"x5t#S256": 5}]),
)

_SPOILED = st.sampled_from(
    [
        {"use": "enc"},
        {"use": None},
        {"key_ops": []},
        {"key_ops": ["sign"]},
        {"key_ops": ["verify", "verify"]},
        {"key_ops": "verify"},
        {"alg": "HS256"},
        {"alg": "none"},
        {"alg": 1},
        {"alg": "RSA-OAEP"},
        {"kid": 1},
        {"kid": None},
        {"kid": "x" * 257},
        {"kty": "oct"},
        {"kty": 1},
        {"kty": "unknown"},
        {"d": "AAAA"},
        {"k": "AAAA"},
        {"priv": "AAAA"},
        {"issuer": 1},
        {"cloud_instance_name": []},
    ]
)
HOSTILE_ENTRIES: st.SearchStrategy[Any] = (
    ANY_JSON
    | st.builds(lambda good, member: {**good, **member}, GOOD_ENTRIES, _SPOILED)
    | st.builds(
        lambda bits, kid: rsa_entry((1 << (bits - 1)) | 1, kid=kid), st.sampled_from([8, 512, 1024, 2047, 16_385]), st.sampled_from(["k1", "k2"])
    )
    | st.builds(lambda good, name: {key: value for key, value in good.items() if key != name}, GOOD_ENTRIES, st.just("kty"))
    | st.builds(lambda kid: {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43, "kid": kid}, st.sampled_from(["k1", "k2"]))
)


HEADERS: st.SearchStrategy[dict[str, Any]] = st.builds(
    lambda alg, more: {**alg, **more},
    st.sampled_from([*({"alg": name} for name in DEFAULT_ALGORITHMS), {"alg": "none"}, {"alg": "HS256"}, {"alg": None}, {}]),
    st.dictionaries(
        st.sampled_from(["kid", "typ", "cty", "x5t", "x5t#S256", "crit", "b64", "zip", "jwk", "jku", "x5c", "unknown"]), ANY_JSON, max_size=4
    ),
)
"""JOSE headers of all kinds."""

GOOD_HEADERS = st.builds(
    lambda alg, kid: {"alg": alg} if kid is None else {"alg": alg, "kid": kid},
    st.sampled_from([*ALGORITHMS, "EdDSA", "RS512", "ES512"]),
    KIDS,
)
"""Headers that a token may have."""

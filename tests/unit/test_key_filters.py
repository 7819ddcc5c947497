"""For which tokens a published key is a candidate, against a plain reading of the standards (R2; RFC 7517, sections 4.2 to 4.4)."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.material import entry, header_of

from keyturn import KeySet
from keyturn._core.signatures import DEFAULT_ALGORITHMS

ABSENT = "absent"
TYPES = (("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("ES256", "ES384", "ES512"), ("EdDSA", "Ed25519", "Ed448"))
"""The algorithms of each type of key."""

FAMILIES = (
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"},
    {"ES256"},
    {"ES384"},
    {"ES512"},
    {"EdDSA", "Ed25519"},
    {"EdDSA", "Ed448"},
)
"""What a key of each type and curve can verify (RFC 7518, section 3.1; RFC 8037; RFC 9864)."""

KINDS = {"RS256": FAMILIES[0], "ES256": FAMILIES[1], "ES384": FAMILIES[2], "ES512": FAMILIES[3], "Ed25519": FAMILIES[4], "Ed448": FAMILIES[5]}


def serves(kind: str, use: Any, operations: Any, alg: Any, asked: str) -> bool:
    """Return whether the standards let a key of *kind* whose entry says so verify a token of the algorithm *asked*."""
    able = KINDS[kind]
    if use not in {ABSENT, "sig"} or (operations != ABSENT and "verify" not in operations):
        return False
    if alg == ABSENT:
        return asked in able
    # Both names of an Edwards curve stand for one algorithm.
    return alg in able and (asked in able if "EdDSA" in able else asked == alg)


@settings(max_examples=300)
@given(
    kind=st.sampled_from(["RS256"] * 3 + sorted(KINDS)),
    use=st.sampled_from([ABSENT, ABSENT, "sig", "sig", "enc"]),
    operations=st.sampled_from([ABSENT, ABSENT, ["verify"], ["sign", "verify"], ["sign"], []]),
    alg=st.sampled_from([ABSENT, ABSENT, *DEFAULT_ALGORITHMS]),
    asked=st.sampled_from(DEFAULT_ALGORITHMS),
    near=st.booleans(),
    place=st.integers(0, 35),
)
def test_a_key_serves_what_its_entry_allows_and_nothing_else(
    *, kind: str, use: Any, operations: Any, alg: Any, asked: str, near: bool, place: int
) -> None:
    """Type, curve, use, operations and algorithm: one that does not fit is enough, and a decoy beside the key changes nothing (C18, AK6, M32)."""
    if near:
        # Most pairs of two random algorithms have nothing to do with the key; those of its type may miss it by curve or name alone.
        family = next(members for members in TYPES if kind in members)
        asked, alg = family[place % len(family)], alg if alg == ABSENT else family[place // 6 % len(family)]
    said = {name: value for name, value in {"use": use, "key_ops": operations, "alg": alg}.items() if value != ABSENT}
    keys = KeySet.from_jwks({"keys": [entry(kind, kid="k", **said), entry("ES256", 1, kid="decoy")]})
    assert [True] * serves(kind, use, operations, alg, asked) == [key.kid == "k" for key in keys.candidates(header_of("k", asked)).keys]

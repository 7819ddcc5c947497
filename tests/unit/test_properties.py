"""Properties of the whole path from published documents to a verdict: order means nothing, and what we do not know widens nothing.

Those of single modules stand with their modules: entries and keys in `test_jwk.py`, sets in `test_key_set.py`, JSON in
`test_strict_json.py`, what a store holds in `test_envelope.py`. Each is about a set, a header, a payload or a document.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import ANY_JSON, GOOD_ENTRIES, HOSTILE_ENTRIES
from tests.unit.attacks_by_documents import ISSUER, JWKS
from tests.unit.material import AUDIENCE, entry, key_set, private_key

from keyturn import DiscoveryDocument, DiscoveryError, KeySet, KeyturnError, StaticKeySet, TokenValidator
from keyturn.testing import FakeClock
from keyturn.testing.keys import base64url

CLOCK = FakeClock()
NOW = int(CLOCK.wall())
CLAIMS = {"iss": ISSUER, "sub": "alice", "aud": AUDIENCE, "iat": NOW, "exp": NOW + 60}
SPOILED: list[dict[str, Any]] = [{}, {"aud": "api://other"}, {"exp": NOW - 3_600}, {"nbf": NOW + 3_600}, {"iss": ISSUER + "/"}, {"sub": 1}]
NAMES = st.sampled_from(["kid", "typ", "cty", "x5t", "x5t#S256", "crit", "b64", "zip", "jwk", "jku", "x5u", "x5c"]) | st.text(max_size=8)
CLAIM_NAMES = st.text(max_size=8).filter(lambda name: name not in {*CLAIMS, "nbf"})


def signed(header: Mapping[str, Any], claims: Mapping[str, Any], signer: int) -> str:
    """Return a token of exactly these parts."""
    text = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
    return f"{text}.{base64url(private_key('ES256', signer).sign(text.encode()))}"


def verdict(document: bytes, token: str) -> tuple[str, str | None]:
    """Return what a token meets under a key set: `accepted` and the key, or the code of its error."""
    source = StaticKeySet.from_jwks(document)
    validator = TokenValidator(source, issuer=ISSUER, audience=AUDIENCE, clock=CLOCK)
    try:
        return "accepted", validator.validate(token).key_id
    except KeyturnError as error:
        return error.code, None


@settings(max_examples=40)
@given(
    st.sets(st.integers(0, 19), min_size=1),
    st.lists(HOSTILE_ENTRIES, max_size=3),
    st.sampled_from([{"kid": "k"}, {"kid": "other"}, {}]),
    st.integers(0, 19),
    st.randoms(),
)
def test_order_and_decoys_change_no_verdict(numbers: set[int], hostile: list[Any], named: dict[str, str], signer: int, chance: random.Random) -> None:
    """A set with decoys under the same kid, in any order: the same verdict, the same key (R2, M15, M16)."""
    entries = [*(entry(number=number, kid="k") for number in sorted(numbers)), entry(number=20), *hostile]
    token = signed({"alg": "ES256", **named}, CLAIMS, signer)
    before = verdict(key_set(*entries), token)
    for _ in range(2):
        chance.shuffle(entries)
        assert before == verdict(key_set(*entries), token)
    if named == {"kid": "k"} and signer in numbers and len(numbers) <= 16:
        assert before == ("accepted", "k")
    if named == {"kid": "other"} or signer not in numbers:
        assert before[0] in {"unknown_key", "invalid_signature"}


@given(NAMES, ANY_JSON, st.sampled_from([{"kid": "k"}, {"kid": "other"}, {}]), st.integers(0, 1))
def test_an_unknown_header_parameter_widens_nothing(name: str, value: Any, named: dict[str, str], signer: int) -> None:
    """What is added to a header may refuse a token; it lets none in, and names no key that its kid does not (AT30)."""
    document = key_set(entry(kid="k"), entry(number=2, kid="l"))
    header = {"alg": "ES256", **named}
    before, after = (verdict(document, signed(each, CLAIMS, signer)) for each in (header, {name: value, **header}))
    if after[0] == "accepted":
        assert (after, signer) == (before, 0)
        assert named != {"kid": "other"}


@given(CLAIM_NAMES, ANY_JSON, st.sampled_from(SPOILED))
def test_an_unknown_claim_widens_nothing(name: str, value: Any, spoiled: dict[str, Any]) -> None:
    """No claim makes up for another one that is wrong."""
    document, claims = key_set(entry(kid="k")), {**CLAIMS, **spoiled}
    after = verdict(document, signed({"alg": "ES256", "kid": "k"}, {**claims, name: value}, 0))
    assert after[0] != "accepted" or spoiled == {}


@given(st.lists(GOOD_ENTRIES, min_size=1, max_size=3), st.dictionaries(st.text(max_size=8).filter(lambda name: name != "keys"), ANY_JSON, max_size=3))
def test_an_unknown_member_of_a_set_changes_nothing(entries: list[Any], more: dict[str, Any]) -> None:
    """Whatever stands beside `keys` is not for us (RFC 7517, section 5)."""
    assert KeySet.from_jwks(key_set(*entries)).identity == KeySet.from_jwks(key_set(*entries, **more)).identity


@given(st.dictionaries(st.text(max_size=12), ANY_JSON, max_size=4), st.sampled_from([ISSUER, ISSUER + "/", "https://other.test"]))
def test_an_unknown_member_of_a_discovery_document_widens_nothing(more: dict[str, Any], issuer: str) -> None:
    """The document is of the configured issuer or is refused, and names the location that it named; printed and read again it is the same."""
    body = json.dumps({**more, "issuer": issuer, "jwks_uri": JWKS}).encode()
    try:
        document = DiscoveryDocument.parse(body, issuers=ISSUER)
    except DiscoveryError:
        assert issuer != ISSUER
        return
    assert (document.issuer, document.jwks_uri) == (ISSUER, JWKS) == (issuer, JWKS)
    assert document == DiscoveryDocument.parse(json.dumps(document.metadata).encode(), issuers=ISSUER)

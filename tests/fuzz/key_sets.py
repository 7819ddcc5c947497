"""Key sets: the bytes that an issuer, or whoever stands in its place, publishes.

Rules of this file:

1. What is accepted holds keys, each for algorithms of its own kind, and no signature of zeros, of ones or of nothing verifies under one.
2. Printed and read again, in another order, and as a store would keep it, a set says the same (R1, R2).
3. A key that tells its public numbers is read from them as the same key.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from tests.fuzz import json_edits
from tests.fuzz.fixed_keys import FixedKey
from tests.fuzz.target import Native, Target, outcome, require
from tests.fuzz.tokens import ISSUER, jwks, ring
from tests.unit.attacks_by_documents import REFUSED_SETS, bad_entries, odd_entries
from tests.unit.material import der_of, entry, key_set, rsa_entry, x5c

from keyturn import KeySet, SigningKey
from keyturn._core.jwk import signing_key
from keyturn._core.key_set import storable
from keyturn._core.strict_json import RepeatedMember, parse_document

LONGEST = 65_536
ODDS_OF_BLIND = 0.25
_TWICE = "an object that names a member twice"
_LENGTHS = (0, 1, 64, 96, 114, 132, 256)

WORDS: tuple[Any, ...] = (
    *("keys", "kty", "kid", "use", "alg", "key_ops", "n", "e", "d", "crv", "x", "y", "k", "pub", "x5c", "x5t", "x5t#S256", "x5u", "issuer"),
    *("cloud_instance_name", "sig", "enc", "verify", "RSA", "EC", "OKP", "oct", "AKP", "P-256", "P-384", "P-521", "Ed25519", "Ed448", "X25519"),
    *("secp256k1", "RS256", "PS512", "ES256", "EdDSA", "HS256", "none", ISSUER, "AQAB", "AA", "Aw", "AQAAAAE", ["verify"], ["sign", "verify"]),
)


def read(data: bytes) -> Any:
    """Hand bytes to the reader of key sets."""
    return outcome(lambda: KeySet.from_jwks(data))


def check(data: bytes) -> bool:
    """Judge bytes as a key set, by the rules of this file."""
    found = read(data)
    for_one = outcome(lambda: KeySet.from_jwks(data, issuer=ISSUER))
    if not isinstance(found, KeySet):
        require(not isinstance(for_one, KeySet), "a set that is none serves one issuer")
        return False
    require(found.keys and all(entry.reason.isprintable() for entry in found.skipped), "a set without keys, or with reasons that no log should hold")
    require_same(data, found)
    require(KeySet.from_jwks(storable(data)).identity == found.identity, "a set that was kept reads differently")
    for key in found.keys:
        require_sound(key)
        fitting = found.candidates({"alg": min(key.algorithms), "kid": key.kid}, limit=len(found.keys)).keys
        # One key under two names may stand for both where the token names none.
        require(key.thumbprint in {candidate.thumbprint for candidate in fitting}, "a key is no candidate under its kid")
    return True


def require_same(data: bytes, found: KeySet) -> None:
    """Raise `Broken` unless the set says the same when it is printed, in any order."""
    document = parse_document(data)
    for entries in (document["keys"], document["keys"][::-1]):
        again = KeySet.from_jwks(_printed({**document, "keys": entries}))
        require(
            (again.identity, _in_order(again)) == (found.identity, _in_order(found)), "a set that was printed, or in another order, reads differently"
        )


def _in_order(keys: KeySet) -> list[tuple[object, ...]]:
    return [key.identity for key in keys.keys]


def require_sound(key: SigningKey) -> None:
    """Raise `Broken` if the key takes what nobody signed, or is another one when it is read from its own numbers."""
    require(key.algorithms, "a key without an algorithm was kept")
    for algorithm in key.algorithms:
        for length in _LENGTHS:
            for octet in (b"\0", b"\1", b"\xff"):
                require(not key.verifies(algorithm, octet * length, b"signed by nobody"), f"{length} octets {octet!r} verify under {algorithm}")
    again = signing_key(key.public_jwk())
    require(again.thumbprint == key.thumbprint, "a key that tells its numbers is another key")


def _printed(document: Any) -> bytes:
    """Print what was parsed, an object that names a member twice as one that does so again."""
    text = json.dumps(document, ensure_ascii=False, default=lambda value: _TWICE if isinstance(value, RepeatedMember) else None)
    return text.replace("Infinity", "1e400").replace(json.dumps(_TWICE), '{"a":1,"a":2}').encode()


def seeds() -> Iterator[bytes]:
    """Yield good sets, every hostile set of the catalogue, and its hostile entries beside a good key."""
    yield jwks()
    good = {"kid": "k1", **ring()["k1"].public_members()}
    for algorithm in ("ES256", "RS256", "Ed25519"):
        yield key_set(entry(algorithm, kid="c", x5c=x5c(der_of(algorithm))), good)
    yield key_set(*[{"kid": f"n{number}", **FixedKey(f"n{number}", "EdDSA").public_members()} for number in range(20)])
    for cases in REFUSED_SETS.values():
        yield from (body for _, body in cases() if len(body) <= LONGEST)
    for _, value in (*bad_entries(), *odd_entries()):
        yield from (body for body in (key_set(good, value), key_set(value)) if len(body) <= LONGEST)
    yield key_set(rsa_entry((1 << 16_383) | 1))


def mutate(data: bytes, limit: int, chance: random.Random, native: Native) -> bytes:
    """Change the document as JSON, or blindly."""
    return mutated_json(data, limit, chance, native, (*WORDS, json_edits.Members({"kid": "n", **ring()["k1"].public_members()}.items())))


def mutated_json(data: bytes, limit: int, chance: random.Random, native: Native, words: tuple[Any, ...]) -> bytes:
    """Change a JSON document at one place, or blindly where it is none, and now and then where it is one."""
    if chance.random() >= ODDS_OF_BLIND:
        try:
            return json_edits.printed(json_edits.edited(json_edits.parsed(data), chance, words))[:limit]
        except ValueError:
            pass
    return native(data, limit)


TARGET = Target("key-set", read, check, seeds, mutate, [word for word in WORDS if isinstance(word, str)], LONGEST)

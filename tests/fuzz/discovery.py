"""Discovery documents, and the location that one names.

Rules of this file:

1. What is accepted is of the configured issuer, code point by code point, and names a location.
2. A location that may be read has one meaning: the standard library's parser sees the same scheme and host in it, no user and no fragment,
   and it is https.
3. Printed and read again, a document says the same.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from tests.fuzz.key_sets import LONGEST, mutated_json
from tests.fuzz.target import Native, Target, outcome, require
from tests.unit.attacks_by_documents import BAD_PLACES, DISCOVERY, ISSUER

from keyturn import DiscoveryDocument
from keyturn._core.location import Reach, host_of, literal_address, named_refusal
from keyturn._core.strict_json import RepeatedMember

WORDS: tuple[Any, ...] = (
    *("issuer", "jwks_uri", "keys", "signed_metadata", "token_endpoint", "authorization_endpoint", "id_token_signing_alg_values_supported"),
    *(ISSUER, f"{ISSUER}/", f"{ISSUER}/jwks.json", f"{ISSUER}:443/a?b#c", "https://ISSUER.test./", "http://issuer.test/", "https://a@b@c/"),
    *("https://[::1]/", "https://[::ffff:8.8.8.8]/", "https://8.8.8.8/", "https://0x8.8/", "https://1.1.1.1.:0443/%2e%2e/", "https://xn--a/"),
    *BAD_PLACES,
)


def read(data: bytes) -> Any:
    """Hand bytes to the reader of discovery documents."""
    return outcome(lambda: DiscoveryDocument.parse(data, issuers=ISSUER))


def check(data: bytes) -> bool:
    """Judge bytes as a discovery document, by the rules of this file."""
    found = read(data)
    if not isinstance(found, DiscoveryDocument):
        return False
    require(found.issuer == ISSUER, "another issuer's document was accepted")
    if named_refusal(found.jwks_uri, Reach.PUBLIC) is None:
        require_one_meaning(found.jwks_uri)
    printed = _printed(found)
    again = DiscoveryDocument.parse(printed, issuers=[ISSUER])
    require((again.issuer, again.jwks_uri) == (found.issuer, found.jwks_uri), "a document that was printed reads differently")
    require(_printed(again) == printed, "a document that was printed reads differently")
    return True


def require_one_meaning(url: str) -> None:
    """Raise `Broken` unless another parser sees what ours sees in a location that may be read."""
    seen = urlsplit(url)
    host = (seen.hostname or "").removesuffix(".")
    require(seen.scheme == "https" and seen.username is None and not seen.fragment, "a location may be read that is not plain https")
    require(host_of(url) in {host, str(literal_address(host))}, "two parsers see two hosts in one location")


def _printed(document: DiscoveryDocument) -> bytes:
    return json.dumps(document.metadata, ensure_ascii=False, default=_repeated).replace("Infinity", "1e400").encode()


def _repeated(value: object) -> str:
    require(isinstance(value, RepeatedMember), f"a document holds a {type(value).__name__}")
    return "an object that names a member twice"


def seeds() -> Iterator[bytes]:
    """Yield the documents of the catalogue, and a document for each location that it has."""
    for cases in DISCOVERY.values():
        yield from (case.body for case in cases() if len(case.body) <= LONGEST)
    for word in WORDS:
        yield json.dumps({"issuer": ISSUER, "jwks_uri": word}).encode()


def mutate(data: bytes, limit: int, chance: random.Random, native: Native) -> bytes:
    """Change the document as JSON, or blindly."""
    return mutated_json(data, limit, chance, native, WORDS)


TARGET = Target("discovery", read, check, seeds, mutate, WORDS, LONGEST)

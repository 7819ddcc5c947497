"""What fuzzing found, as fixed cases: bytes that once broke a promise go through the same check for ever.

A new find is a file below `.fuzz/finds`; its bytes, made as small as they can be, are entered here before the fault is mended.
"""

from __future__ import annotations

import json

import pytest
from tests.fuzz import key_sets, metadata_documents
from tests.unit.material import der_of, entry, x5c
from tests.unit.metadata import DS, MD

_EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"

METADATA = {
    "a namespace that is no URI, which the reader of signatures refuses": f'<EntityDescriptor xmlns="{MD}" xmlns:a="&lt;"/>',
    "a transform of a signature that names no algorithm": (
        f'<EntityDescriptor xmlns="{MD}" xmlns:ds="{DS}" ID="a"><ds:Signature><ds:SignedInfo><ds:Reference URI="#a"><ds:Transforms>'
        f'<ds:Transform/><ds:Transform Algorithm="{_EXCLUSIVE}"/></ds:Transforms></ds:Reference></ds:SignedInfo></ds:Signature></EntityDescriptor>'
    ),
}

_GOOD = json.dumps(entry(kid="good"))

KEY_SETS = {
    "a kid beside an object that repeats a member": f'{{"keys":[{{"kid":"c","kty":{{"a":1,"a":2}}}},{_GOOD}]}}',
    "a number beyond all others beside a secret": f'{{"keys":[{{"kty":"oct","k":"c2VjcmV0","a":[1e400,-1e400,"Infinity"]}},{_GOOD}]}}',
    "a kid that is a number beyond all others beside a secret": f'{{"keys":[{{"kty":"oct","k":"c2VjcmV0"}},{{"kid":-1e400}},{_GOOD}]}}',
    "one key with a certificate that can be read and with one that cannot": json.dumps(
        {"keys": [entry(x5c=x5c(der_of())), entry(x5c=["\x1b[2J"])]},
    ),
}


@pytest.mark.parametrize("document", KEY_SETS.values(), ids=KEY_SETS)
def test_a_key_set_that_was_found(document: str) -> None:
    """The set is read, and says the same when it is printed, in another order, and as a store keeps it."""
    assert key_sets.check(document.encode())


@pytest.mark.parametrize("document", METADATA.values(), ids=METADATA)
def test_metadata_that_was_found(document: str) -> None:
    """Nothing but our errors comes out, with a pinned signer and without; nothing of it is accepted."""
    assert not metadata_documents.check(document.encode())

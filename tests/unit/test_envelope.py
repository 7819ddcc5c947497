"""Envelopes: what opens, what does not, and that every defect ends in one kind of error (F80, F85, F90)."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn._core.revocation import Revocation
from keyturn.errors import ConfigurationError
from keyturn.stores.envelope import (
    MAX_DOCUMENT_BYTES,
    MAX_ENTRY_BYTES,
    UNSEALED,
    EnvelopeError,
    Seal,
    Sealer,
    decode_document,
    decode_revocation,
    enclose,
    encode_document,
    encode_revocation,
    is_current,
)
from keyturn.stores.store import Snapshot, Stored, source_id

SOURCE = source_id("https://login.example.com", "https://login.example.com/keys")
OTHER = source_id("https://login.example.org", "https://login.example.org/keys")
STORED = Stored(Snapshot("https://login.example.com", "https://login.example.com/keys", "https://k.example.com", 1.8e9, b'{"keys":[]}', 60.0), 42)
ENTRY = Revocation("kid", "key-1", 1_800_000_000_000, "revoked")
SEAL = Seal("the secret of the application")
DOCUMENT = encode_document(STORED, SOURCE, SEAL)
FIELDS = {
    "issuer": "i",
    "location": "l",
    "keys_url": "k",
    "asked_at": 1.5,
    "max_age": None,
    "body": "e30",
    "fence": 1,
}
REVOCATION_FIELDS = {"kind": "kid", "subject": "s", "sequence": 1, "state": "revoked", "kid": None}


@pytest.mark.parametrize("sealer", [SEAL, Seal([b"0123456789abcdef", "fedcba9876543210"]), UNSEALED])
def test_document_and_revocation_come_back(sealer: Sealer) -> None:
    """What was enclosed opens to the same, sealed or not."""
    assert STORED == decode_document(encode_document(STORED, SOURCE, sealer), SOURCE, sealer)
    assert ENTRY == decode_revocation(encode_revocation(ENTRY, SOURCE, sealer), SOURCE, sealer)


@given(
    issuer=st.text(),
    body=st.binary(max_size=200),
    asked_at=st.floats(0, 1e12),
    max_age=st.none() | st.floats(0, 1e9),
    fence=st.integers(0, 2**63 - 1),
)
def test_any_snapshot_comes_back(issuer: str, body: bytes, asked_at: float, max_age: float | None, fence: int) -> None:
    """Every snapshot that can be enclosed opens to the same snapshot."""
    stored = Stored(replace(STORED.snapshot, issuer=issuer, body=body, asked_at=asked_at, max_age=max_age), fence)
    assert stored == decode_document(encode_document(stored, SOURCE, SEAL), SOURCE, SEAL)


def test_envelope_is_one_json_object() -> None:
    """An operator reads it with any JSON tool, and finds version, kind and source."""
    value = json.loads(DOCUMENT)
    assert (1, "document", SOURCE) == (value["version"], value["record"], value["source"])


@pytest.mark.parametrize("field", ["version", "record", "source", *FIELDS])
def test_every_field_is_sealed(field: str) -> None:
    """Whoever changes any field without the secret gets nothing in (F85)."""
    value = json.loads(DOCUMENT)
    value[field] = {"asked_at": 5.0, "max_age": 5.0, "fence": 10**15, "version": 2}.get(field, "AAAA")
    with pytest.raises(EnvelopeError, match="does not open"):
        decode_document(json.dumps(value, separators=(",", ":")).encode(), SOURCE, SEAL)


def test_every_byte_is_sealed() -> None:
    """A changed byte anywhere, the seal's own among them, refuses the envelope (F80)."""
    for position in range(len(DOCUMENT)):
        changed = bytearray(DOCUMENT)
        changed[position] ^= 1
        with pytest.raises(EnvelopeError):
            decode_document(bytes(changed), SOURCE, SEAL)


def test_every_cut_is_refused() -> None:
    """A file that was cut anywhere, and an empty one, is as good as none (F80)."""
    for length in range(len(DOCUMENT)):
        with pytest.raises(EnvelopeError):
            decode_document(DOCUMENT[:length], SOURCE, SEAL)


@pytest.mark.parametrize("tail", [b" ", b"\n", b"{}", DOCUMENT])
def test_anything_after_the_envelope_is_refused(tail: bytes) -> None:
    """Nothing may follow, since the seal does not cover it."""
    with pytest.raises(EnvelopeError):
        decode_document(DOCUMENT + tail, SOURCE, SEAL)


@given(st.binary(max_size=300))
def test_random_bytes_end_in_our_error(data: bytes) -> None:
    """Whatever stands in the file, only `EnvelopeError` comes out (F80)."""
    for hostile in (data, b'{"seal":"' + UNSEALED.mark(data).encode() + b'",' + data):
        with pytest.raises(EnvelopeError):
            decode_document(hostile, SOURCE, UNSEALED)


@pytest.mark.parametrize(
    "inside",
    [
        b"",
        b"}",
        b'"a":NaN}',
        b'"a":' + b"[" * 100_000,
        b'"a":' + b"9" * 5000 + b"}",
        b'"version":1,"version":1}',
        b'"version":1} {}',
        b'"a":"\\ud800"}',
        "\ufeff{}".encode("utf-16"),
    ],
    ids=["nothing", "no fields", "not a number", "deep", "long number", "repeated", "two values", "half a pair", "UTF-16"],
)
def test_sealed_nonsense_ends_in_our_error(inside: bytes) -> None:
    """Even what carries a good seal is read strictly (F80)."""
    with pytest.raises(EnvelopeError):
        decode_document(f'{{"seal":"{SEAL.mark(inside)}",'.encode() + inside, SOURCE, SEAL)


def test_entry_moved_to_another_source_is_refused() -> None:
    """The source is part of what is sealed: an envelope belongs to one client (F80, F85, R15)."""
    with pytest.raises(EnvelopeError, match="belongs to the source"):
        decode_document(DOCUMENT, OTHER, SEAL)
    with pytest.raises(EnvelopeError, match="belongs to the source"):
        decode_revocation(encode_revocation(ENTRY, SOURCE, SEAL), OTHER, SEAL)


def test_record_of_another_kind_is_refused() -> None:
    """A document cannot be passed off as a revocation, nor the other way round."""
    with pytest.raises(EnvelopeError, match='record is "document"'):
        decode_revocation(DOCUMENT, SOURCE, SEAL)
    with pytest.raises(EnvelopeError, match='record is "revocation"'):
        decode_document(encode_revocation(ENTRY, SOURCE, SEAL), SOURCE, SEAL)


@pytest.mark.parametrize("version", [0, 2, 1.0, "1", True, None])
def test_other_version_is_refused_although_sealed(version: object) -> None:
    """An entry of another version is ignored, never half understood (F80, F90)."""
    with pytest.raises(EnvelopeError, match="version of the document is"):
        decode_document(enclose({**FIELDS, "version": version}, "document", SOURCE, SEAL), SOURCE, SEAL)


def test_unknown_field_is_refused_although_sealed() -> None:
    """A field that this version does not know may change what the others mean (F90)."""
    with pytest.raises(EnvelopeError, match="does not know: .*not_before"):
        decode_document(enclose({**FIELDS, "not_before": 5}, "document", SOURCE, SEAL), SOURCE, SEAL)
    with pytest.raises(EnvelopeError, match="does not know: .*until"):
        decode_revocation(enclose({**REVOCATION_FIELDS, "until": 5}, "revocation", SOURCE, SEAL), SOURCE, SEAL)


@pytest.mark.parametrize("missing", FIELDS)
def test_missing_field_is_refused_although_sealed(missing: str) -> None:
    """No field of a document has a default."""
    fields = {name: value for name, value in FIELDS.items() if name != missing}
    with pytest.raises(EnvelopeError, match=f"lacks .*{missing}"):
        decode_document(enclose(fields, "document", SOURCE, SEAL), SOURCE, SEAL)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, value) for name in ("issuer", "location", "keys_url") for value in (None, 1, ["a"])),
        *(("asked_at", value) for value in (None, "1", True, -1.0, 2**63)),
        *(("max_age", value) for value in ("1", True, -1, [])),
        *(("body", value) for value in (None, "e30=", "a", "e3 0", "é", ["e30"])),
        *(("fence", value) for value in (None, 1.0, True, "1", -1, 2**63)),
    ],
)
def test_wrong_type_in_a_document_is_refused_although_sealed(field: str, value: object) -> None:
    """Types are checked without being converted."""
    assert decode_document(enclose(FIELDS, "document", SOURCE, SEAL), SOURCE, SEAL)
    with pytest.raises(EnvelopeError, match=field):
        decode_document(enclose({**FIELDS, field: value}, "document", SOURCE, SEAL), SOURCE, SEAL)


def test_number_beyond_all_floats_is_refused() -> None:
    """`1e999` reads as infinity, which would be an instant that never passes."""
    inside = enclose(FIELDS, "document", SOURCE, SEAL).partition(b'",')[2].replace(b"1.5", b"1e999")
    with pytest.raises(EnvelopeError, match="asked_at"):
        decode_document(f'{{"seal":"{SEAL.mark(inside)}",'.encode() + inside, SOURCE, SEAL)


@pytest.mark.parametrize(
    ("field", "value"),
    [("kind", "key"), ("kind", ["kid"]), ("subject", 1), ("sequence", 1.0), ("sequence", -1), ("state", "gone"), ("state", None), ("kid", 1)],
)
def test_wrong_type_in_a_revocation_is_refused_although_sealed(field: str, value: object) -> None:
    """An entry whose state is unknown must not count as either state (F90)."""
    assert decode_revocation(enclose(REVOCATION_FIELDS, "revocation", SOURCE, SEAL), SOURCE, SEAL)
    with pytest.raises(EnvelopeError, match=field):
        decode_revocation(enclose({**REVOCATION_FIELDS, field: value}, "revocation", SOURCE, SEAL), SOURCE, SEAL)


@pytest.mark.parametrize(
    "broken",
    [
        lambda: encode_document(replace(STORED, fence=-1), SOURCE, SEAL),
        lambda: encode_document(replace(STORED, snapshot=replace(STORED.snapshot, asked_at=float("nan"))), SOURCE, SEAL),
        lambda: encode_document(replace(STORED, snapshot=replace(STORED.snapshot, issuer="\ud800")), SOURCE, SEAL),
        lambda: encode_document(replace(STORED, snapshot=replace(STORED.snapshot, body=bytes(MAX_DOCUMENT_BYTES))), SOURCE, SEAL),
        lambda: encode_revocation(replace(ENTRY, sequence=2**63), SOURCE, SEAL),
        lambda: encode_revocation(replace(ENTRY, subject="x" * MAX_ENTRY_BYTES), SOURCE, SEAL),
        lambda: enclose({"a": object()}, "document", SOURCE, SEAL),
    ],
    ids=["fence", "not a number", "half a pair", "large document", "sequence", "large entry", "no JSON"],
)
def test_what_could_not_be_read_back_is_not_written(broken: Callable[[], bytes]) -> None:
    """A writer learns at once that nobody could open its envelope."""
    with pytest.raises(EnvelopeError):
        broken()


def test_size_is_refused_before_anything_else() -> None:
    """A huge envelope costs neither a hash nor a parse (F80)."""
    with pytest.raises(EnvelopeError, match=f"has {MAX_DOCUMENT_BYTES + 1} bytes"):
        decode_document(DOCUMENT.ljust(MAX_DOCUMENT_BYTES + 1), SOURCE, SEAL)


@pytest.mark.parametrize("sealer", [Seal("some other secret of this size"), Seal("The secret of the application"), UNSEALED])
def test_other_secret_does_not_open(sealer: Sealer) -> None:
    """Without the secret nothing gets in, and an unsealed store does not take a sealed entry either (F85)."""
    with pytest.raises(EnvelopeError, match="does not open"):
        decode_document(DOCUMENT, SOURCE, sealer)


def test_unsealed_does_not_open_under_a_secret() -> None:
    """A checksum is no seal: whoever can write could make one (F85)."""
    with pytest.raises(EnvelopeError, match="does not open"):
        decode_document(encode_document(STORED, SOURCE, UNSEALED), SOURCE, SEAL)


def test_secrets_roll() -> None:
    """The first secret seals, all open: old processes read old entries, new ones both."""
    old, both, new = Seal("old secret, 16 bytes"), Seal(["new secret, 16 bytes", "old secret, 16 bytes"]), Seal("new secret, 16 bytes")
    sealed_before, sealed_now = encode_document(STORED, SOURCE, old), encode_document(STORED, SOURCE, both)
    assert STORED == decode_document(sealed_before, SOURCE, both)
    assert STORED == decode_document(sealed_now, SOURCE, new)
    assert (False, True) == (is_current(sealed_before, both), is_current(sealed_now, both))
    with pytest.raises(EnvelopeError):
        decode_document(sealed_now, SOURCE, old)


def test_text_and_bytes_are_one_secret() -> None:
    """A secret means the same as text and as its UTF-8."""
    assert Seal("sécret of sixteen").mark(b"x") == Seal("sécret of sixteen".encode()).mark(b"x")


def test_seal_is_not_a_plain_hmac_of_the_secret() -> None:
    """A secret that is used elsewhere too must not make marks that are good here."""
    import hmac

    assert hmac.new(b"the secret of the application", b"x", "sha256").hexdigest() not in SEAL.mark(b"x")


@pytest.mark.parametrize(
    ("secrets", "message"),
    [
        ("", "at least 16 bytes, got 0"),
        ("fifteen bytes..", "at least 16 bytes, got 15"),
        (b"fourteen bytes", "at least 16 bytes, got 14"),
        (["0123456789abcdef", "short"], "at least 16 bytes, got 5"),
        ([], "at least one secret"),
        ((), "at least one secret"),
        (None, 'got "NoneType"'),
        (2**70, 'got "int"'),
        ({"0123456789abcdef"}, 'got "set"'),
        (bytearray(16), 'got "bytearray"'),
        ([None], 'got "NoneType"'),
        ([2**70], 'got "int"'),
        pytest.param("\ud800" * 16, "surrogate", id="surrogate"),
    ],
)
def test_bad_secret_is_a_configuration_error(secrets: object, message: str) -> None:
    """A weak or mistyped secret is told at construction, by the name of its setting."""
    with pytest.raises(ConfigurationError, match=r"\(setting: secret\)") as caught:
        Seal(secrets)
    assert message in caught.value.message


def test_sixteen_bytes_are_enough() -> None:
    """The limit counts bytes of UTF-8, not characters."""
    assert Seal("é" * 8).mark(b"x") != Seal("è" * 8).mark(b"x")


def test_secret_is_never_shown() -> None:
    """No error, `repr` or pickle of a seal holds the secret (I5)."""
    with pytest.raises(ConfigurationError) as caught:
        Seal("hunter2")
    assert "hunter2" not in f"{caught.value!r}{caught.value.hint}"
    assert ("<Seal of 1 secrets>", "UNSEALED") == (repr(SEAL), repr(UNSEALED))
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(SEAL)


def test_message_does_not_show_the_content() -> None:
    """Foreign text in a message is escaped and cut."""
    envelope = enclose({**FIELDS, "issuer": ["\x1b[31m" + "x" * 500]}, "document", SOURCE, SEAL)
    with pytest.raises(EnvelopeError) as caught:
        decode_document(envelope, SOURCE, SEAL)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 200

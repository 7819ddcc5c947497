"""Key sets as documents: empty, with bad entries, with doubled or missing names, beyond the limits (F34-F38, F40).

Rules of this file:

1. A row about callers is played in every way once; further variants of it in two ways.
2. An answer is made of what the issuer publishes at that moment, so that good keys always stand beside what is odd.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from tests.faults.harness import CASES, ONE_EACH, UNHURRIED, Case, Scene
from tests.unit.attacks_by_documents import other_texts, too_much
from tests.unit.material import entry, key_set, rsa_entry

from keyturn import (
    FetchError,
    FetchFailed,
    InvalidKeySetError,
    InvalidSignatureError,
    KeySet,
    KeySetChanged,
    KeysUnavailableError,
    RevokedKeyError,
    UnknownKeyError,
)
from keyturn._core import key_set as key_set_module
from keyturn._core import strict_json

in_every_way = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
in_two_ways = pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.name)

WITHOUT_ENTRIES = {"empty": b'{"keys": []}', "null": b'{"keys": null}', "missing": b"{}", "an object": b'{"keys": {}}'}
BROKEN: list[Any] = [
    None,
    "text",
    7,
    {},
    {"kty": "EC", "crv": "P-256", "kid": "half"},
    {"kty": "unheard-of", "kid": "odd"},
]
HOUR = 3_600


def answering(scene: Scene, amend: Callable[[list[Any]], list[Any]]) -> dict[str, Any]:
    """Return a fault for a row: the issuer answers with what *amend* makes of the entries that it publishes after the rollover."""
    during = ExitStack()
    return {
        "fault": lambda: during,
        "publish": lambda: during.enter_context(scene.issuer.answer(json.dumps({"keys": amend(scene.issuer.jwks()["keys"])}).encode())),
    }


@in_every_way
def test_f34_no_entries(case: Case) -> None:
    """An empty list is a failed refresh, and the set stays."""
    with Scene(case, policy=UNHURRIED) as scene:
        scene.fails(lambda: scene.issuer.answer(WITHOUT_ENTRIES["empty"]), InvalidKeySetError)


@in_two_ways
@pytest.mark.parametrize("body", [WITHOUT_ENTRIES[name] for name in ("null", "missing", "an object")])
def test_f34_no_list_of_entries(case: Case, body: bytes) -> None:
    """The same without a list at all."""
    with Scene(case, policy=UNHURRIED) as scene:
        scene.fails(lambda: scene.issuer.answer(body), InvalidKeySetError)


@pytest.mark.parametrize("body", WITHOUT_ENTRIES.values(), ids=WITHOUT_ENTRIES)
def test_f34_however_often_it_is_repeated(body: bytes) -> None:
    """The keys serve on to their 48 hours and no further, no key is told as gone, and a revocation takes effect meanwhile."""
    with Scene(policy=UNHURRIED) as scene:
        scene.client._keeper._draw = lambda: 0.0
        scene.issuer.publish("k2")
        scene.warm()
        with scene.issuer.answer(body):
            for _ in range(47):
                scene.clock.advance(HOUR)
                scene.accepts(scene.token(), scene.token(key="k2"))
                scene.settle()
            scene.client.revoke(kid="k2")
            scene.refuses(RevokedKeyError, scene.token(key="k2"))
            scene.accepts(scene.token())
            scene.clock.advance(HOUR)
            scene.refuses((InvalidKeySetError, KeysUnavailableError), scene.token())
            assert {event.code for event in scene.told(FetchFailed)} == {"invalid_key_set"}
            assert scene.told(KeySetChanged) == []
        scene.heals(scene.token())


@in_every_way
def test_f35_broken_entries_among_good_ones(case: Case) -> None:
    """Each is left out with its reason, and every good key serves."""
    with Scene(case, policy=UNHURRIED) as scene:
        scene.works(**answering(scene, lambda keys: [*keys[:1], *BROKEN, *keys[1:]]))
        scene.accepts(scene.token(key="k1"))
        skipped = scene.told(KeySetChanged)[-1].skipped
        assert sorted(kid or "" for kid, _ in skipped) == ["", "", "", "", "half", "odd"]
        assert all(reason for _, reason in skipped)
        assert tuple((entry.kid or None, entry.reason) for entry in scene.client.status().skipped) == skipped


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_f35_wherever_it_stands(broken: Any, place: int) -> None:
    """First, in the middle and last are the same."""
    with Scene(policy=UNHURRIED) as scene:
        scene.works(**answering(scene, lambda keys: [*keys[:place], broken, *keys[place:]]))
        scene.accepts(scene.token(key="k1"))
        assert len(scene.told(KeySetChanged)[-1].skipped) == 1


def test_f35_token_of_a_broken_entry() -> None:
    """Who asks for it is told that it is published, and why it cannot serve (Z12)."""
    with Scene(policy=UNHURRIED) as scene:
        scene.issuer.add_entry(BROKEN[-1])
        (error,) = scene.refuses(UnknownKeyError, scene.bad(scene.issuer.forge(key="odd")))
        assert "published" in error.hint
        assert "unheard-of" in error.hint


@in_every_way
def test_f36_no_entry_is_usable(case: Case) -> None:
    """A failed refresh, whose error has the reason of every entry."""
    body = key_set(None, {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"}, rsa_entry(35, kid="weak"), entry(use="enc", kid="other"))
    reasons = [skipped.reason for skipped in KeySet.read(body).skipped]
    assert len(reasons) == 4
    with Scene(case, policy=UNHURRIED) as scene:
        outcomes = scene.fails(lambda: scene.issuer.answer(body), InvalidKeySetError)
        for outcome in outcomes:
            assert all(reason in str(outcome) for reason in reasons)
            assert "c2VjcmV0" not in str(outcome)


@in_every_way
def test_f37_one_kid_for_several_keys(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    """Keys of one algorithm are each tried, one of another algorithm is found by it, and the doubled name is a warning."""
    with Scene(case, policy=UNHURRIED) as scene:
        if case.warm:
            scene.warm()
        scene.issuer.publish("twin", kid="k1")
        scene.issuer.publish("cousin", algorithm="Ed25519", kid="k1")
        scene.accepts(*[scene.token(key=key) for key in ("k1", "twin", "cousin")] * case.callers)
        scene.refuses(InvalidSignatureError, scene.bad(scene.issuer.forge(key="k1")))
        assert scene.told(KeySetChanged)[-1].ambiguous == ("k1",)
        (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING and "KeySetChanged" in record.message]
        assert "ambiguous=1 of them" in warning.message


@pytest.mark.parametrize("seed", range(6))
def test_f37_in_any_order(seed: int) -> None:
    """The verdicts are those of any other order (R2)."""
    with Scene(policy=UNHURRIED) as scene:
        scene.issuer.publish("twin", kid="k1")
        scene.issuer.publish("cousin", algorithm="ES384", kid="k1")
        scene.issuer.shuffle(seed)
        scene.accepts(*[scene.token(key=key) for key in ("k1", "twin", "cousin")])
        for key in ("k1", "twin", "cousin"):
            scene.refuses(InvalidSignatureError, scene.bad(scene.issuer.forge(key=key)))


@in_two_ways
def test_f37_one_entry_twice(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    """It is one key, and no reason for a warning."""
    with Scene(case, policy=UNHURRIED) as scene:
        scene.works(**answering(scene, lambda keys: keys * 2))
        assert [key.kid for key in sorted(scene.client.snapshot().keys, key=lambda key: key.kid or "")] == ["k1", "k2"]
        assert scene.told(KeySetChanged)[-1].ambiguous == ()
        assert "KeySetChanged" not in caplog.text


def test_f37_one_kid_for_two_algorithms(caplog: pytest.LogCaptureFixture) -> None:
    """What fits the header is chosen, so the name is not doubled."""
    with Scene(policy=UNHURRIED) as scene:
        scene.issuer.publish("cousin", algorithm="Ed25519", kid="k1")
        scene.accepts(scene.token(), scene.token(key="cousin"))
        assert scene.told(KeySetChanged)[-1].ambiguous == ()
        assert "KeySetChanged" not in caplog.text


@in_every_way
def test_f38_entries_without_kid(case: Case) -> None:
    """They serve tokens without a kid, beside every other key that fits, and never one whose kid is unknown."""
    with Scene(case, policy=UNHURRIED) as scene:
        if case.warm:
            scene.warm()
        scene.issuer.publish("bare", kid=None)
        scene.issuer.publish("naked", kid=None)
        unnamed = scene.token(key="k1", headers={"kid": None})
        scene.accepts(*[scene.token(key="bare"), scene.token(key="naked"), unnamed] * case.callers)
        scene.refuses(UnknownKeyError, scene.bad(scene.issuer.token(key="bare", headers={"kid": "other"})))
        scene.refuses(InvalidSignatureError, scene.bad(scene.issuer.forge(key="bare")))


@pytest.mark.parametrize("seed", range(3))
def test_f38_at_most_sixteen_are_tried(seed: int) -> None:
    """The first sixteen by thumbprint, wherever they stand; the error of the others names the number and the setting (Z14)."""
    with Scene(policy=UNHURRIED) as scene:
        names = [f"bare-{number}" for number in range(19)]
        for name in names:
            scene.issuer.publish(name, kid=None)
        scene.issuer.shuffle(seed)
        tokens = {name: scene.token(key=name, headers={"kid": None}) for name in (*names, "k1")}
        outcomes = dict(zip(tokens, scene.call(*tokens.values()), strict=True))
        refused = [outcome for outcome in outcomes.values() if isinstance(outcome, InvalidSignatureError)]
        assert (len(outcomes), len(refused)) == (20, 4)
        assert all("20 keys" in error.hint and "max_candidates" in error.hint for error in refused)
        by_thumbprint = sorted(scene.client.snapshot().keys, key=lambda key: key.thumbprint)
        tried = {key.public_jwk()["x"] for key in by_thumbprint[:16]}
        for name, outcome in outcomes.items():
            assert (scene.issuer._keys[name].entry()["x"] in tried) is not isinstance(outcome, InvalidSignatureError)


BEYOND = {label: body for cases in (too_much, other_texts) for label, body in cases()}


@in_every_way
def test_f40_more_than_500_keys(case: Case) -> None:
    """A cut would make the order count, so the whole set is refused."""
    with Scene(case, policy=UNHURRIED) as scene:
        outcomes = scene.fails(lambda: scene.issuer.answer(BEYOND["501 entries"]), InvalidKeySetError)
        assert any("max_keys" in str(outcome) for outcome in outcomes)


@pytest.mark.parametrize("label", [label for label in BEYOND if label != "501 entries"])
def test_f40_beyond_the_limits_of_the_text(label: str) -> None:
    """Numbers, nesting, encodings, repeated members: the answer is refused, and the set stays."""
    with Scene(ONE_EACH[1], policy=UNHURRIED) as scene:
        scene.fails(lambda: scene.issuer.answer(BEYOND[label]), InvalidKeySetError)


@in_two_ways
@pytest.mark.parametrize("size", ["10,000 keys", "10 MB"])
def test_f40_beyond_the_limit_of_bytes(case: Case, size: str) -> None:
    """The fetcher refuses it, so nothing of it is parsed."""
    bodies = {"10,000 keys": key_set(*[entry()] * 10_000), "10 MB": key_set(entry(more="A" * 10_000_000))}
    with Scene(case, policy=UNHURRIED) as scene:
        outcomes = scene.fails(lambda: scene.issuer.answer(bodies[size]), FetchError)
        assert any("max_document_bytes" in str(outcome) for outcome in outcomes)


@pytest.mark.parametrize("label", ["501 entries", "10,000 entries"])
def test_f40_no_entry_is_looked_at(label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entries are counted before the first is read; with 500 all are."""
    looked_at: list[object] = []
    read = key_set_module.signing_key

    def counting(raw: object) -> Any:
        looked_at.append(raw)
        return read(raw)

    monkeypatch.setattr(key_set_module, "signing_key", counting)
    with Scene(policy=UNHURRIED) as scene:
        with scene.issuer.answer(BEYOND[label]):
            scene.refuses(InvalidKeySetError, scene.token())
        assert looked_at == []
        with scene.issuer.answer(key_set(*[entry(kid=f"k{number}") for number in range(500)])):
            scene.client.refresh()
        assert len(looked_at) == 500


@pytest.mark.parametrize("label", ["200,000 levels", "closed levels"])
def test_f40_nesting_is_measured_before_anything_is_parsed(label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser recurses, so none sees it."""
    parsed: list[str] = []
    scan = strict_json._scan_document

    def counting(text: str, start: int) -> tuple[Any, int]:
        parsed.append(text)
        return scan(text, start)

    with Scene(policy=UNHURRIED) as scene:
        # The discovery document is parsed, and is no part of this.
        scene.warm()
        monkeypatch.setattr(strict_json, "_scan_document", counting)
        new = scene.roll()
        with scene.issuer.answer(BEYOND[label]):
            scene.refuses(InvalidKeySetError, new)
        assert parsed == []
        scene.heals(new)
        assert parsed != []


def test_f40_what_is_at_the_limit_is_read() -> None:
    """500 entries and 16 levels are no reason to refuse; the row would pass if everything were refused."""
    with Scene(policy=UNHURRIED) as scene:
        more = [entry(kid=f"more-{number}") for number in range(498)]
        deep: Any = "bottom"
        for _ in range(13):
            deep = [deep]
        scene.works(**answering(scene, lambda keys: [{**keys[0], "more": deep}, *keys[1:], *more]))
        assert len(scene.client.snapshot().keys) == 500

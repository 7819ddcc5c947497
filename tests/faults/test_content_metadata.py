"""Hostile federation metadata through the client (F48): the refresh fails, the keys stay, and nothing is opened or expanded.

Rules of this file:

1. The documents are those of the catalogue AX1-AX16; what each of them says is judged there, and here what a client makes of it.
2. A document longer than the limit of bytes is the fetcher's to refuse, and never parsed.
"""

from __future__ import annotations

import builtins
import io
import os
import socket
from contextlib import AbstractContextManager
from typing import Any

import pytest
from tests.faults.harness import CASES, ONE_EACH, UNHURRIED, Case, Scene, nothing
from tests.unit import metadata
from tests.unit.attacks_by_metadata import METADATA
from tests.unit.metadata import ISSUER, PATH, MetadataIssuer

from keyturn import FetchFailed, InvalidKeySetError, KeySetChanged, KeysUnavailableError
from keyturn.testing import FakeClock

in_every_way = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
in_two_ways = pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.name)

REFUSED = {name: [document for document in cases() if not document.keys] for name, cases in METADATA.items()}
SETTINGS = ("max_keys", "content_type")
_OPENING = ((builtins, "open"), (io, "open"), (os, "open"), (socket, "getaddrinfo"), (socket, "create_connection"))


class Farm(MetadataIssuer):
    """An issuer as AD FS is one: its name is no place, and its document stands at another."""

    @property
    def metadata_url(self) -> str:
        """Where the document stands."""
        return "https://fs.example.com" + PATH


def scene_of(case: Case = CASES[0], **policy: Any) -> Scene:
    """Return a scene of an issuer whose keys stand in federation metadata."""
    issuer = Farm(ISSUER, clock=FakeClock())
    return Scene(case, issuer, policy=type(UNHURRIED)(deadline=UNHURRIED.deadline, **policy), metadata_url=issuer.metadata_url)


def answering(scene: Scene, document: metadata.Case) -> AbstractContextManager[object]:
    """Let the issuer answer with a document of the catalogue."""
    content_type = document.settings.get("content_type", "application/samlmetadata+xml")
    return scene.issuer.answer(document.body, headers={"content-type": content_type})


def the(name: str, label: str) -> metadata.Case:
    """Return one document of the catalogue."""
    (document,) = [document for document in REFUSED[name] if document.label == label]
    return document


@in_every_way
def test_f48_entity_bomb(case: Case) -> None:
    """Refused at its DOCTYPE; the keys that are held serve on."""
    with scene_of(case) as scene:
        outcomes = scene.fails(lambda: answering(scene, the("AX2", "exponential")), InvalidKeySetError)
        assert any("DOCTYPE" in str(outcome) for outcome in outcomes)


@in_two_ways
@pytest.mark.parametrize(("name", "label"), [("AX3", "an external entity"), ("AX3", "an external parameter entity")])
def test_f48_external_entities(case: Case, name: str, label: str) -> None:
    """Refused at their DOCTYPE, in every way to call."""
    with scene_of(case) as scene:
        scene.fails(lambda: answering(scene, the(name, label)), InvalidKeySetError)


@in_two_ways
def test_f48_metadata_that_is_not_hostile(case: Case) -> None:
    """A rollover in a good document is followed; the row would pass if everything were refused."""
    with scene_of(case) as scene:
        scene.works(nothing)


@pytest.mark.parametrize("name", [name for name, documents in REFUSED.items() if documents])
def test_f48_every_class_of_documents(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a failed refresh that changes no key and opens nothing, and after the last one a good document is read again."""
    opened: list[object] = []
    with scene_of(max_document_bytes=3_000_000, max_keys=6) as scene:
        held = scene.warm()
        with monkeypatch.context() as patch:
            for module, function in _OPENING:
                patch.setattr(module, function, _noting(opened, getattr(module, function)))
            for document in REFUSED[name]:
                assert document.settings.keys() <= set(SETTINGS), document.label
                scene.clock.advance(1)
                with answering(scene, document), pytest.raises(KeysUnavailableError) as caught:
                    scene.client.refresh()
                assert type(caught.value) is InvalidKeySetError, f"{document.label}: {caught.value}"
                scene.refusals.append(caught.value)
                scene.settle()
        assert opened == []
        scene.accepts(held)
        assert [event.code for event in scene.told(FetchFailed)] == ["invalid_key_set"] * len(REFUSED[name])
        assert scene.told(KeySetChanged) == []
        scene.heals(scene.roll())


def _noting(opened: list[object], function: Any) -> Any:
    def noted(*args: Any, **settings: Any) -> Any:
        opened.append(args[:1])
        return function(*args, **settings)

    return noted


def test_f48_document_that_is_too_long() -> None:
    """By the policy's own limit the fetcher refuses it before anybody parses it."""
    (document,) = [document for document in REFUSED["AX13"] if document.label == "2 MB + 1"]
    with scene_of() as scene:
        scene.warm()
        with answering(scene, document), pytest.raises(KeysUnavailableError) as caught:
            scene.client.refresh()
        assert caught.value.code == "fetch_failed"
        assert "max_document_bytes" in str(caught.value)
        scene.accepts(scene.token())

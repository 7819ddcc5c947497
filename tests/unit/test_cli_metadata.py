"""The commands over federation metadata: `keyturn keys` lists its certificates' keys, `keyturn token` judges with them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.metadata import CERT, LONG_AGO, OTHER, MetadataIssuer, descriptor, entities, entity, issuing, role, typed_role

from keyturn.cli import main
from keyturn.fetching import FetchedDocument, Fetcher, HttpxFetcher


class InProcess(HttpxFetcher):
    """The command's fetcher, with an issuer of this process at its other end."""

    def __init__(self, issuer: MetadataIssuer) -> None:
        super().__init__()
        self._issuer = issuer

    def fetch(self, url: str, *, headers: Mapping[str, str], max_bytes: int, deadline: float) -> FetchedDocument:
        return self._issuer.fetcher().fetch(url, headers=headers, max_bytes=max_bytes, deadline=deadline)

    def within(self, reach: object) -> Fetcher:
        return self


@pytest.fixture
def issuer(monkeypatch: pytest.MonkeyPatch) -> MetadataIssuer:
    """An issuer that both commands reach."""
    made = MetadataIssuer()
    for command in ("keys", "token"):
        monkeypatch.setattr(f"keyturn.cli.{command}.fetcher_of", lambda _: InProcess(made))
    return made


def listed(capsys: pytest.CaptureFixture[str], place: str) -> tuple[int, dict[str, Any]]:
    """Return the exit code of `keyturn keys` and what it printed."""
    code = main(["keys", "--json", place])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else {"err": err}


def test_a_location_is_listed(issuer: MetadataIssuer, capsys: pytest.CaptureFixture[str]) -> None:
    """Every key by its certificate's name, with the dates, and whose document it is."""
    code, record = listed(capsys, issuer.metadata_url)
    assert (0, issuer.issuer, issuer.metadata_url) == (code, record["issuer"], record["location"])
    (key,) = record["keys"]
    assert (issuer.x5t("k1"), issuer.x5t("k1"), "sig") == (key["kid"], key["x5t"], key["use"])
    assert key["certificate"]["not_before"] < key["certificate"]["not_after"]


@pytest.mark.parametrize("standard_input", [True, False])
def test_a_file_is_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, standard_input: bool) -> None:
    """What cannot serve is listed with the reason, and a byte order mark is none."""
    document = b"\xef\xbb\xbf" + entity(typed_role(descriptor(CERT), "<KeyDescriptor/>"), role(descriptor(OTHER), name="SPSSODescriptor")).encode()
    file = tmp_path / "metadata.xml"
    file.write_bytes(document)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(document)))
    code, record = listed(capsys, "-" if standard_input else str(file))
    assert (0, 1) == (code, len(record["keys"]))
    reasons = {entry["reason"] for entry in record["skipped"]}
    assert {"has no certificate", 'stands in the role "SPSSODescriptor", which issues no tokens'} == reasons


@pytest.mark.parametrize(
    ("document", "code", "said"),
    [
        (entity(role(descriptor("!"))), 1, ""),
        (entity(role(descriptor(OTHER), name="SPSSODescriptor")), 1, ""),
        (entities(issuing(), entity(role(descriptor(OTHER)), entity_id="urn:other")), 3, "2 entities"),
        (entity(role(descriptor(CERT)), attributes=f'validUntil="{LONG_AGO}"'), 3, "valid until"),
        ("<!DOCTYPE EntityDescriptor>" + issuing(), 3, "DOCTYPE"),
        ("<html><body>EntityDescriptor</body></html>", 3, "html"),
        ("<html/>", 3, "HTML or XML page"),
    ],
)
def test_what_cannot_be_used(capsys: pytest.CaptureFixture[str], tmp_path: Path, document: str, code: int, said: str) -> None:
    """1 where no key is usable, 3 where it is no document that could be read."""
    file = tmp_path / "metadata.xml"
    file.write_text(document, encoding="utf-8")
    found, record = listed(capsys, str(file))
    assert code == found
    assert said in record.get("err", "")


def test_a_key_set_in_the_place_of_a_jwks_uri_is_none(issuer: MetadataIssuer, capsys: pytest.CaptureFixture[str]) -> None:
    """A discovery document that leads to metadata is no issuer that a client could use, so its keys are not listed as usable."""
    with issuer.answer(issuing().encode()):
        code, record = listed(capsys, issuer.issuer)
    assert 3 == code
    assert "XML page instead of JSON" in record["err"]


@pytest.mark.parametrize(("forged", "code"), [(False, 0), (True, 1)])
def test_a_token_is_judged(
    issuer: MetadataIssuer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, forged: bool, code: int
) -> None:
    """The keys are asked for as a service would ask for them."""
    token = issuer.forge(headers={"kid": issuer.x5t("k1")}) if forged else issuer.token()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(token.encode())))
    assert code == main(["token", issuer.issuer, "--audience", "api://test", "--metadata-url", issuer.metadata_url, "--json"])
    record = json.loads(capsys.readouterr().out)
    assert [not forged] == [record["valid"]]


def test_locations_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """At most one place where the keys are."""
    assert 2 == main(["token", "urn:x", "--audience", "a", "--metadata-url", "https://a.test/m", "--jwks-url", "https://a.test/j"])
    assert "--metadata-url" in capsys.readouterr().err

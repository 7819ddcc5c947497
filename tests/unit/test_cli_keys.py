"""`keyturn keys`: every entry with its reason, whether from a file, standard input, a key set's URL or an issuer."""

from __future__ import annotations

import base64
import datetime as dt
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from keyturn.cli import main
from keyturn.errors import FetchError
from keyturn.fetching import FetchedDocument, Fetcher, HttpxFetcher
from keyturn.testing import FakeIssuer

ENCRYPTION = {"kty": "RSA", "kid": "enc", "use": "enc", "n": "AQAB", "e": "AQAB"}
SECRET = {"kty": "oct", "k": "c2VjcmV0"}


@pytest.fixture
def issuer() -> FakeIssuer:
    """An issuer with one EC key that says what it is for."""
    return FakeIssuer()


class InProcess(HttpxFetcher):
    """The command's fetcher, with an issuer of this process at its other end."""

    def __init__(self, issuer: FakeIssuer, answers: Mapping[str, bytes]) -> None:
        super().__init__()
        self._issuer = issuer
        self._answers = answers
        self.asked: list[str] = []

    def fetch(self, url: str, *, headers: Mapping[str, str], max_bytes: int, deadline: float) -> FetchedDocument:
        self.asked.append(url)
        if url in self._answers:
            return FetchedDocument(self._answers[url])
        return self._issuer.fetcher().fetch(url, headers=headers, max_bytes=max_bytes, deadline=deadline)

    def within(self, reach: object) -> Fetcher:
        return self


def over_http(monkeypatch: pytest.MonkeyPatch, issuer: FakeIssuer, **answers: bytes) -> InProcess:
    """Let the command reach *issuer*; *answers* are given at its own address and at "other"."""
    urls = {{"root": "https://issuer.test", "other": "https://other.test/keys"}[name]: body for name, body in answers.items()}
    fetcher = InProcess(issuer, urls)
    monkeypatch.setattr("keyturn.cli.keys.fetcher_of", lambda _: fetcher)
    return fetcher


def written(path: Path, document: object) -> str:
    """Write *document* as JSON; return its path."""
    file = path / "jwks.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return str(file)


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the one JSON object on standard output."""
    (line,) = capsys.readouterr().out.splitlines()
    return json.loads(line)


def with_certificate(start: dt.datetime, end: dt.datetime) -> dict[str, Any]:
    """Return an Ed25519 entry that comes with a certificate of these dates."""
    private = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer.test")])
    builder = x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number(), start, end)
    x = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "kid": "certified",
        "x": base64.urlsafe_b64encode(x).rstrip(b"=").decode(),
        "x5c": [base64.b64encode(builder.sign(private, None).public_bytes(Encoding.DER)).decode()],
    }


def test_every_entry_of_a_file_is_listed(issuer: FakeIssuer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Usable keys with what they are, the others with the reason; one usable key makes the set fine (R1)."""
    assert 0 == main(["keys", written(tmp_path, {"keys": [ENCRYPTION, *issuer.jwks()["keys"], SECRET]})])
    out, err = capsys.readouterr()
    head, usable, *skipped = out.splitlines()
    assert ["KID", "KEY", "ALG", "USE", "THUMBPRINT", "X5T", "CERTIFICATE", "USABLE"] == head.split()
    assert ['"k1"', "EC", "P-256", "ES256", "sig"] == usable.split()[:5]
    assert usable.endswith("  yes")
    assert "is a symmetric key" in skipped[0]
    assert '"enc"' in skipped[1]
    assert "1 usable, 2 not" in err


def test_json_has_a_stable_shape(issuer: FakeIssuer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints one object with its schema, and everything that the table shows."""
    path = written(tmp_path, {"keys": [*issuer.jwks()["keys"], SECRET]})
    assert 0 == main(["keys", path, "--json", "-q"])
    record = listed(capsys)
    assert ["schema", "location", "issuer", "keys", "skipped"] == list(record)
    assert (1, path, None) == (record["schema"], record["location"], record["issuer"])
    (key,) = record["keys"]
    assert {"kid": "k1", "kty": "EC", "curve": "P-256", "size": 256, "alg": "ES256", "algorithms": ["ES256"], "use": "sig"}.items() <= key.items()
    assert [{"kid": None, "reason": "is a symmetric key, which never comes from a key set"}] == record["skipped"]


def test_a_set_without_a_usable_key_is_listed_and_is_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No validator takes such a set, so the exit code is 1; every entry still tells its reason."""
    twice = '{"kty": "oct", "kid": "a", "kid": "b"}'
    path = written(tmp_path, f'{{"keys": [{json.dumps(ENCRYPTION)}, {json.dumps(SECRET)}, {twice}]}}')
    assert 1 == main(["keys", path, "--json"])
    record = listed(capsys)
    assert [] == record["keys"]
    assert 3 == len(record["skipped"])
    assert any("twice" in entry["reason"] for entry in record["skipped"])


def test_a_member_that_is_repeated_further_inside_is_told(issuer: FakeIssuer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key that would be good by itself is refused by its set for a repeated name."""
    (entry,) = issuer.jwks()["keys"]
    path = written(tmp_path, '{"keys": [' + json.dumps(entry)[:-1] + ', "extra": {"a": 1, "a": 2}}]}')
    assert 1 == main(["keys", path, "--json"])
    assert [{"kid": "k1", "reason": "names a member twice"}] == listed(capsys)["skipped"]


def test_an_empty_set_is_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An issuer that publishes nothing was read, and is at fault."""
    assert 1 == main(["keys", written(tmp_path, {"keys": []})])
    assert 1 == len(capsys.readouterr().out.splitlines())


@pytest.mark.parametrize(
    "document", ["", "<html></html>", "[]", '{"issuer": "https://a"}', '{"keys": {}}', '{"keys": [' + "{}," * 500 + "{}]}", " " * 600_000]
)
def test_what_is_no_key_set_leaves_us_without_knowledge(document: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No key set was read, so nothing is listed and the exit code is 3."""
    assert 3 == main(["keys", written(tmp_path, document)])
    out, err = capsys.readouterr()
    assert "" == out
    assert "token is not at fault" not in err


def test_a_folder_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A path that exists and is no file is a wrong call."""
    assert 2 == main(["keys", str(tmp_path)])
    assert "cannot read the file" in capsys.readouterr().err


def test_standard_input_is_read(issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A dash means standard input, so that the command stands at the end of a pipe."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(issuer.jwks()).encode())))
    assert 0 == main(["keys", "-", "--json"])
    assert "-" == listed(capsys)["location"]


def test_an_odd_kid_cannot_harm_the_terminal(issuer: FakeIssuer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Text of an issuer is escaped in the table."""
    (entry,) = issuer.jwks()["keys"]
    assert 0 == main(["keys", written(tmp_path, {"keys": [entry | {"kid": "\x1b[2Jk\n"}]})])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert '"\\x1b[2Jk\\n"' in out


def test_dates_of_a_certificate_are_shown_and_decide_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key whose certificate has expired, or has not begun, is usable (RFC 7517, section 4.7)."""
    old = with_certificate(dt.datetime(2001, 1, 1, tzinfo=dt.UTC), dt.datetime(2002, 1, 1, tzinfo=dt.UTC))
    new = with_certificate(dt.datetime(2900, 12, 31, tzinfo=dt.UTC), dt.datetime(2902, 1, 1, tzinfo=dt.UTC))
    assert 0 == main(["keys", written(tmp_path, {"keys": [old, new]})])
    rows = capsys.readouterr().out.splitlines()[1:]
    assert any(row.endswith("2001-01-01 to 2002-01-01, expired        yes") for row in rows)
    assert any(row.endswith("2900-12-31 to 2902-01-01, not yet valid  yes") for row in rows)


def test_the_url_of_a_key_set_is_asked_as_given(issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An answer with keys is the key set, and nothing else is asked (2)."""
    fetcher = over_http(monkeypatch, issuer)
    assert 0 == main(["keys", issuer.jwks_url, "--json"])
    assert (issuer.jwks_url, None) == (listed(capsys)["location"], None)
    assert [issuer.jwks_url] == fetcher.asked


@pytest.mark.parametrize("root", [b"<html>welcome</html>", b'{"keys_of": "nothing"}'])
def test_any_other_answer_makes_the_url_an_issuer(
    root: bytes, issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its discovery document is asked, and the key set that it names is listed with the issuer's name (2)."""
    fetcher = over_http(monkeypatch, issuer, root=root)
    assert 0 == main(["keys", issuer.issuer, "--json"])
    record = listed(capsys)
    assert (issuer.jwks_url, issuer.issuer) == (record["location"], record["issuer"])
    assert [issuer.issuer, issuer.discovery_url, issuer.jwks_url] == fetcher.asked


def test_an_issuer_need_not_answer_at_its_own_address(
    issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A 404 at the issuer's own address is no failure."""
    over_http(monkeypatch, issuer)
    assert 0 == main(["keys", issuer.issuer, "--json"])
    assert issuer.jwks_url == listed(capsys)["location"]


def test_a_discovery_document_is_followed(issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its URL may be given in place of the issuer's."""
    over_http(monkeypatch, issuer)
    assert 0 == main(["keys", issuer.discovery_url, "--json"])
    assert issuer.jwks_url == listed(capsys)["location"]


def test_an_issuer_s_set_without_a_usable_key_is_listed(
    issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over discovery, too, the reasons are told, and the exit code is 1."""
    issuer.withhold("k1")
    issuer.add_entry(SECRET)
    over_http(monkeypatch, issuer)
    assert 1 == main(["keys", issuer.issuer, "--json"])
    record = listed(capsys)
    assert (issuer.jwks_url, 1) == (record["location"], len(record["skipped"]))


def test_an_issuer_that_is_down_leaves_us_without_knowledge(
    issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error tells of both attempts, and the hint is for somebody without a token."""
    over_http(monkeypatch, issuer)
    with issuer.down(503, document="both"):
        assert 3 == main(["keys", issuer.issuer])
    out, err = capsys.readouterr()
    assert "" == out
    assert "as given" in err
    assert "as an issuer" in err
    assert "hint: Check the address" in err


def test_a_discovery_document_of_another_issuer_is_told(
    issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that differs from the one asked for is a fault of the issuer's document, with the hint of the library."""
    document = json.dumps({**issuer.discovery(), "issuer": "https://issuer.test/"}).encode()
    over_http(monkeypatch, issuer)
    with issuer.answer(document, document="discovery"):
        assert 3 == main(["keys", issuer.issuer])
    assert "character by character" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["http://login.example.com", "ftp://login.example.com", "https://user@login.example.com"])
def test_a_url_that_may_not_be_asked_is_a_wrong_call(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Clear text needs --http-host; nothing is sent before that is known (R16)."""
    assert 2 == main(["keys", url])
    assert "" == capsys.readouterr().out


def test_a_ca_file_that_is_missing_is_a_wrong_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--ca is checked before anything is asked."""
    assert 2 == main(["keys", "https://login.example.com", "--ca", str(tmp_path / "missing.pem")])
    assert "ca" in capsys.readouterr().err


def test_clear_text_is_permitted_to_the_named_host_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """--http-host lets http through for its host; the fetch is then tried."""

    def unreachable(*_: object, **__: object) -> FetchedDocument:
        raise FetchError("no network here")

    monkeypatch.setattr(HttpxFetcher, "fetch", unreachable)
    assert 3 == main(["keys", "http://idp.internal", "--http-host", "idp.internal"])
    assert 2 == main(["keys", "http://other.internal", "--http-host", "idp.internal"])
    assert "no network here" in capsys.readouterr().err

"""`keyturn token`: why a token passes or fails, step by step, and that it is never shown."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keyturn.cli import main
from keyturn.testing import FakeIssuer

STEPS = ["form", "header", "issuer", "claims", "key look-up", "signature"]


@pytest.fixture
def issuer() -> FakeIssuer:
    """An issuer whose tokens are good now, by the machine's clock."""
    return FakeIssuer()


@pytest.fixture
def judge(issuer: FakeIssuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Judge a token from standard input, with the issuer's keys in a file; return the exit code and the JSON object."""
    keys = tmp_path / "jwks.json"

    def judged(token: str, *options: str) -> tuple[int, dict[str, Any]]:
        keys.write_text(json.dumps(issuer.jwks()), encoding="utf-8")
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(token.encode())))
        code = main(["token", issuer.issuer, "--audience", "api://test", "--keys", str(keys), "--json", *options])
        out, err = capsys.readouterr()
        signature = token.rpartition(".")[2].strip()
        assert len(signature) < 8 or signature not in out + err
        return code, json.loads(out) if out else {"err": err}

    return judged


def outcomes(record: dict[str, Any]) -> dict[str, str]:
    """Return what became of each step."""
    return {step["step"]: step["outcome"] for step in record["steps"]}


def test_a_good_token_passes_every_step(issuer: FakeIssuer, judge: Callable[..., Any]) -> None:
    """Exit code 0, every step told, and what a service would get."""
    code, record = judge(issuer.token(scopes=["read"]) + "\n")
    assert (0, True, None) == (code, record["valid"], record["error"])
    assert dict.fromkeys(STEPS, "passed") == outcomes(record)
    assert ('"alice"', '["read"]', '"k1"') == (record["token"]["subject"], record["token"]["scopes"], record["token"]["key"])
    assert {"schema", "valid", "steps", "error", "token"} == set(record)


@pytest.mark.parametrize(
    ("make", "step", "code"),
    [
        (lambda _: "not a token", "form", "malformed_token"),
        (lambda _: "a.b.c", "form", "malformed_token"),
        (lambda i: "Bearer " + i.token(), "form", "malformed_token"),
        (lambda i: i.token() + "é", "form", "malformed_token"),
        (lambda i: i.token().replace(".", "..", 1), "form", "malformed_token"),
        (lambda i: i.encode({"alg": "ES256", "kid": "k1"}, b"[]"), "form", "malformed_token"),
        (lambda i: i.token(headers={"crit": ["b64"]}), "header", "malformed_token"),
        (lambda i: i.encode({"typ": "JWT"}, {}), "header", "malformed_token"),
        (lambda i: i.encode({"alg": "none"}, {}, signature=b""), "header", "disallowed_algorithm"),
        (lambda i: i.token(headers={"typ": "logout+jwt"}), "header", "wrong_token_type"),
        (lambda i: i.token(iss="https://other.test"), "issuer", "invalid_issuer"),
        (lambda i: i.token(iss=None), "issuer", "missing_claim"),
        (lambda i: i.token(audience="api://other"), "claims", "invalid_audience"),
        (lambda i: i.token(lifetime=-3600), "claims", "expired_token"),
        (lambda i: i.token(exp=None), "claims", "missing_claim"),
        (lambda i: i.token(exp="soon"), "claims", "invalid_claim"),
        (lambda i: i.token(at_hash="x"), "claims", "wrong_token_type"),
        (lambda i: i.forge(key="unknown"), "key look-up", "unknown_key"),
        (lambda i: i.forge(), "signature", "invalid_signature"),
    ],
)
def test_the_first_failure_is_told_at_its_step(
    make: Callable[[FakeIssuer], str], step: str, code: str, issuer: FakeIssuer, judge: Callable[..., Any]
) -> None:
    """Steps before it passed, it failed with the validator's own words, and none after it was reached."""
    exit_code, record = judge(make(issuer))
    at = STEPS.index(step)
    assert (1, False, code) == (exit_code, record["valid"], record["error"]["code"])
    assert {name: "passed" if n < at else "failed" if n == at else "not reached" for n, name in enumerate(STEPS)} == outcomes(record)
    assert record["error"]["message"] == record["steps"][at]["detail"]


def test_a_key_of_another_issuer_fails_at_the_look_up(issuer: FakeIssuer, judge: Callable[..., Any]) -> None:
    """The token's own issuer is right, so it is the key that is wrong for it (R15)."""
    issuer.cut_over("k2", issuer="https://other.test")
    code, record = judge(issuer.token())
    assert (1, "invalid_issuer", "failed") == (code, record["error"]["code"], outcomes(record)["key look-up"])


def test_of_a_failed_token_only_six_values_are_shown(issuer: FakeIssuer, judge: Callable[..., Any]) -> None:
    """Kid, alg, typ, iss, aud and exp, escaped and marked as unverified; no other claim at all."""
    _, record = judge(issuer.forge(key="\x1b[31mred", secret="do not show"))
    assert [f"unverified {name}" for name in ("kid", "alg", "typ", "iss", "aud", "exp")] == list(record["token"])
    assert '"\\x1b[31mred"' == record["token"]["unverified kid"]
    assert "do not show" not in json.dumps(record)
    assert "alice" not in json.dumps(record)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--algorithm", "RS256"), "disallowed_algorithm"),
        (("--token-type", "at+jwt"), "wrong_token_type"),
        (("--leeway", "0"), "expired_token"),
    ],
)
def test_the_options_decide_as_in_a_service(options: tuple[str, ...], code: str, issuer: FakeIssuer, judge: Callable[..., Any]) -> None:
    """Algorithms, kind of token and leeway are those of the validator."""
    token = issuer.token(lifetime=-30)
    assert 0 == judge(token)[0]
    assert (1, code) == ((verdict := judge(token, *options))[0], verdict[1]["error"]["code"])


def test_several_audiences_may_be_given(issuer: FakeIssuer, judge: Callable[..., Any]) -> None:
    """--audience may be given again; one of them is enough."""
    assert 0 == judge(issuer.token(audience="api://second"), "--audience", "api://second")[0]


@pytest.mark.parametrize(
    ("token", "options"),
    [
        ("", ()),
        (" \n", ()),
        ("x" * 1_100_000, ()),
        ("x", ("--file", "missing.txt")),
        ("x", ("--leeway", "301")),
        ("x", ("--algorithm", "HS256")),
        ("x", ("--keys", "missing.json")),
    ],
)
def test_a_wrong_call_judges_nothing(token: str, options: tuple[str, ...], judge: Callable[..., Any]) -> None:
    """No token, an unreadable file or a wrong setting ends with 2 and an error on standard error."""
    code, record = judge(token, *options)
    assert 2 == code
    assert "error: " in record["err"]


def test_keys_that_cannot_be_used_leave_us_without_knowledge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file without a usable key says nothing about the token: 3, as a service would answer 503."""
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    assert 3 == main(["token", "https://issuer.test", "--audience", "a", "--keys", str(tmp_path / "jwks.json")])
    assert "empty" in capsys.readouterr().err


def test_a_token_is_read_from_a_file(issuer: FakeIssuer, judge: Callable[..., Any], tmp_path: Path) -> None:
    """--file takes the place of standard input."""
    (tmp_path / "token.txt").write_text(issuer.token() + "\n")
    assert 0 == judge("not a token", "--file", str(tmp_path / "token.txt"))[0]


@pytest.mark.parametrize("colour", [False, True])
def test_people_get_a_line_for_each_step(
    colour: bool, issuer: FakeIssuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each step with its mark, the verdict, why, and what to do; in colour only where that is wanted."""
    monkeypatch.setenv("FORCE_COLOR" if colour else "NO_COLOR", "1")
    monkeypatch.delenv("NO_COLOR" if colour else "FORCE_COLOR", raising=False)
    (tmp_path / "token.txt").write_text(issuer.forge())
    (tmp_path / "jwks.json").write_text(json.dumps(issuer.jwks()))
    files = ["--file", str(tmp_path / "token.txt"), "--keys", str(tmp_path / "jwks.json")]
    assert 1 == main(["token", issuer.issuer, "--audience", "api://test", *files])
    lines = capsys.readouterr().out.splitlines()
    assert STEPS == [line[:12].strip() for line in lines[:6]]
    assert colour is any("\x1b[" in line for line in lines)
    assert any("The token is bad." in line for line in lines)
    assert any(line.startswith("  why   the signature verifies under none") for line in lines)
    assert any(line.startswith("  hint  ") for line in lines)
    assert any(line.startswith("  unverified kid") for line in lines)

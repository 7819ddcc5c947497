"""Arguments of `keyturn serve`: what is refused before anything listens."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyturn import cli
from keyturn.serving.server import Server, authority, is_loopback


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--port", "65536"], "--port"),
        (["--port", "-1"], "--port"),
        (["--port", "http"], "--port"),
        (["--lifetime", "0"], "--lifetime"),
        (["--lifetime", "1.5"], "--lifetime"),
        (["--lifetime", "31536001"], "--lifetime"),
        (["--allow-host", "http://a"], "--allow-host"),
        (["--allow-host", "a:80"], "--allow-host"),
        (["--host", "example.com"], "--host"),
        (["--host", ""], "--host"),
        (["--issuer", "login.example.com"], "--issuer"),
        (["--issuer", "ftp://login.example.com"], "--issuer"),
        (["--issuer", "https://login.example.com/?tenant=a"], "--issuer"),
        (["--issuer", "https://login.example.com/#a"], "--issuer"),
        (["--issuer", "https://login.example.com:99999"], "--issuer"),
        (["--issuer", "https://login.example.com/control"], "--issuer"),
        (["--issuer", "https://login.example.com/control/a"], "--issuer"),
        (["--issuer", "https://login.example.com//control/a"], "--issuer"),
        (["--issuer", "https://login.example.com/?"], "--issuer"),
        (["--issuer", "https://login.example.com/a b"], "--issuer"),
        (["--issuer", "https://login.example.com/\u00e9"], "--issuer"),
        (["--issuer", "https://l\u00f6gin.example.com"], "--issuer"),
        (["--issuer", "https://somebody@login.example.com"], "--issuer"),
        (["--kid", ""], "--kid"),
        (["--kid", "k" * 257], "--kid"),
        (["--audience", ""], "--audience"),
        (["--tls", "--allow-host", "my_issuer"], "--allow-host"),
        (["--tls", "--issuer", "https://my_issuer:9000"], "--issuer"),
        (["--algorithm", "HS256"], "--algorithm"),
        (["--client-id", "a"], "--client-secret"),
        (["--client-secret", "a"], "--client-id"),
        (["--client-id", "", "--client-secret", "a"], "--client-id"),
        (["--ca-out", "ca.pem"], "--tls"),
    ],
)
def test_a_wrong_argument_is_told_by_name(
    arguments: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, nothing on standard output, and the option to change."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Server, "server_bind", lambda _: pytest.fail("it listens"))
    assert 2 == cli.main(["serve", *arguments])
    out, err = capsys.readouterr()
    assert "" == out
    assert named in err
    assert [] == list(tmp_path.iterdir())


def test_an_existing_file_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever takes `--ca-out` for an input does not lose a key."""
    path = tmp_path / "private.pem"
    path.write_text("-----BEGIN PRIVATE KEY-----\n", encoding="utf-8")
    assert 2 == cli.main(["serve", "--tls", "--ca-out", str(path)])
    assert "--ca-out" in capsys.readouterr().err
    assert "-----BEGIN PRIVATE KEY-----\n" == path.read_text(encoding="utf-8")


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is not there is no fault of keyturn's."""
    assert 2 == cli.main(["serve", "--tls", "--ca-out", str(tmp_path / "missing" / "ca.pem")])
    assert "--ca-out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "loopback", "expected"),
    [
        ("127.0.0.1", True, "127.0.0.1:1"),
        ("127.0.0.2", True, "127.0.0.2:1"),
        ("localhost", True, "localhost:1"),
        ("::1", True, "[::1]:1"),
        ("0.0.0.0", False, "127.0.0.1:1"),
        ("::", False, "[::1]:1"),
        ("192.0.2.1", False, "192.0.2.1:1"),
        ("2001:db8::1", False, "[2001:db8::1]:1"),
    ],
)
def test_where_it_is_reached(host: str, loopback: bool, expected: str) -> None:
    """Addresses of all interfaces are reached at the loopback from here; everything beyond loopback is warned about."""
    assert (loopback, expected) == (is_loopback(host), authority(host, 1))


def test_help_says_how_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    """The help text has the exit codes and an example."""
    assert 0 == cli.main(["serve", "--help"])
    out, err = capsys.readouterr()
    assert "" == err
    assert "exit codes: 0 ended by SIGTERM; 2 usage, or the port is in use; 130 interrupted" in out
    assert "\n  keyturn serve --port 9000 " in out

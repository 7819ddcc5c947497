"""`keyturn drill` against real services: good ones, bad ones, useless ones, and none at all."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.integration import drill_target

from keyturn.cli import main
from keyturn.clock import Deadline
from keyturn.testing.private_ca import PrivateCa

TARGET = Path(__file__).parent / "drill_target.py"
ANY_PORT = "http://127.0.0.1:0/orders"


def starting(habit: str) -> list[str]:
    """Return the options that start a service of this habit."""
    return ["--start", f"'{sys.executable}' '{TARGET}' {habit} {{issuer}}"]


def drill(capsys: pytest.CaptureFixture[str], url: str, *options: str, only: tuple[str, ...] = ()) -> tuple[int, dict[str, Any], str]:
    """Run a drill; return its exit code, its report (empty if it wrote none), and its words."""
    code = main(["drill", url, "--json", "--name", "the service", *options, *(word for name in only for word in ("--only", name))])
    written = capsys.readouterr()
    return code, json.loads(written.out) if written.out else {}, written.err


def verdicts(report: dict[str, Any]) -> dict[str, str]:
    """Return the verdict of every scenario."""
    return {scenario["name"]: scenario["verdict"] for scenario in report["scenarios"]}


def scenario(report: dict[str, Any], name: str) -> dict[str, Any]:
    """Return one scenario of a report."""
    (found,) = (each for each in report["scenarios"] if each["name"] == name)
    return found


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def listens(port: int) -> bool:
    """Return whether somebody listens on *port*."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(habit: str, issuer: str, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Run a service that nobody starts anew, with TLS if there is a *context*; hand over its URL."""
    server = drill_target.server(habit, issuer, "api://drill", 0)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"{'http' if context is None else 'https'}://127.0.0.1:{server.server_port}/orders"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_service_with_keyturn_passes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Every scenario that takes no long time passes, with exit code 0, and the page for browsers is written."""
    only = ("planned-rollover", "cut-over", "reordered-set", "no-alg", "bad-tokens", "broken-keys", "bad-keys", "kid-reused")
    code, report, words = drill(capsys, ANY_PORT, *starting("keyturn"), "--watch", "5", "--html", str(tmp_path / "report.html"), only=only)
    assert dict.fromkeys(["baseline", *only], "pass") == verdicts(report)
    assert (0, "passed", []) == (code, report["conclusion"], report["left_out"])
    assert "planned-rollover" in words
    assert "the service" in (tmp_path / "report.html").read_text(encoding="utf-8")
    accepted = [sort["accepted"] for sort in scenario(report, "bad-tokens")["tokens"] if sort["sort"] in {"bad tokens", "stricter choices"}]
    assert [0, 0] == accepted


def test_a_service_that_keeps_one_key_for_ever_fails_where_it_must(capsys: pytest.CaptureFixture[str]) -> None:
    """New keys are not accepted within the time that is watched; what needs no reading passes; what was never asked for is said."""
    only = ("new-key-at-once", "cut-over", "key-removed", "kid-reused", "no-alg")
    code, report, _ = drill(capsys, ANY_PORT, *starting("holds"), "--watch", "0.5", only=only)
    expected = {"baseline": "pass", "new-key-at-once": "fail", "cut-over": "fail", "key-removed": "note", "kid-reused": "fail", "no-alg": "pass"}
    assert expected == verdicts(report)
    assert (1, "findings") == (code, report["conclusion"])
    assert "not within 0.5 s" in scenario(report, "new-key-at-once")["reason"]
    assert "the issuer was asked 0 times" in scenario(report, "new-key-at-once")["reason"]
    assert "not within 0.5 s" in scenario(report, "key-removed")["reason"]


def test_a_service_that_asks_for_every_unknown_key_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    """Each made-up key costs the issuer a request, more than one a second; the removed key is refused once the set was read."""
    code, report, _ = drill(capsys, ANY_PORT, *starting("asks"), "--watch", "5", only=("issuer-429", "key-removed"))
    assert {"baseline": "pass", "issuer-429": "fail", "key-removed": "pass"} == verdicts(report)
    assert 1 == code
    assert scenario(report, "issuer-429")["issuer_requests"]["total"] > 5


def test_an_outage_of_the_issuer_harms_no_known_key(capsys: pytest.CaptureFixture[str]) -> None:
    """A service with keyturn accepts what it knows while its issuer fails in four ways, or is slow."""
    code, report, _ = drill(capsys, ANY_PORT, *starting("keyturn"), only=("issuer-down", "issuer-slow"))
    assert {"baseline": "pass", "issuer-down": "pass", "issuer-slow": "pass"} == verdicts(report)
    assert 0 == code
    assert 5 == len(scenario(report, "issuer-down")["steps"])


@pytest.mark.parametrize(("habit", "words"), [("anything", "accepts everything"), ("nothing", "accepts no token")])
def test_a_service_that_tells_nothing_apart_proves_nothing(capsys: pytest.CaptureFixture[str], habit: str, words: str) -> None:
    """Nothing but the baseline is played, and the report says plainly why."""
    code, report, _ = drill(capsys, ANY_PORT, *starting(habit), "--watch", "0.5", only=("cut-over",))
    assert (3, "proves nothing", ["cut-over"]) == (code, report["conclusion"], report["left_out"])
    assert words in report["why"]
    assert report["why"].endswith("so the drill proves nothing")


def test_a_session_that_a_good_token_opened_lets_no_bad_one_in(capsys: pytest.CaptureFixture[str]) -> None:
    """The drill keeps no cookie: each answer is about its own token."""
    code, report, _ = drill(capsys, ANY_PORT, *starting("session"), only=("baseline",))
    assert (0, {"baseline": "pass"}) == (code, verdicts(report))


def test_a_service_that_hangs_up_on_bad_tokens_was_not_seen_to_refuse_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody can know whether it accepted them: no pass, and no exit code 0."""
    code, report, _ = drill(capsys, ANY_PORT, *starting("mute"), only=("bad-tokens",))
    assert (3, {"baseline": "unknown", "bad-tokens": "unknown"}) == (code, verdicts(report))
    assert "not judged (no answer: RemoteProtocolError)" in scenario(report, "baseline")["reason"]


def test_a_certificate_that_is_not_trusted_is_told_and_can_be(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """An https service of a private CA is drilled with --ca; without it the report names that setting."""
    authority, port = PrivateCa(), free_port()
    file = tmp_path / "ca.pem"
    file.write_bytes(authority.pem)
    with running("keyturn", f"http://127.0.0.1:{port}", authority.server_context()) as url:
        options = ("--issuer-port", str(port), "--pause", "0", "--watch", "5")
        untrusted, trusted = drill(capsys, url, *options, only=("baseline",)), drill(capsys, url, *options, "--ca", str(file), only=("baseline",))
    assert (3, True) == (untrusted[0], "--ca" in untrusted[1]["why"])
    assert (0, "passed") == (trusted[0], trusted[1]["conclusion"])


def test_an_unreachable_service_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody can know anything about a service that gives no answer: exit code 3, at once."""
    url = f"http://127.0.0.1:{free_port()}/orders"
    code, report, _ = drill(capsys, url, "--issuer-port", str(free_port()))
    assert (3, "could not know", ["baseline"]) == (code, report["conclusion"], list(verdicts(report)))
    assert "no answer" in report["why"]


def test_a_command_that_dies_is_told_with_its_last_words(capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code and the output say why; what looks like a token in it is taken out, what a terminal would obey is escaped."""
    code, report, _ = drill(capsys, ANY_PORT, *starting("dies"))
    assert (3, "could not know") == (code, report["conclusion"])
    assert "exit code 7" in report["why"]
    assert ["File 'app.py': cannot read the settings, (a token)\\x1b[31m"] == scenario(report, "baseline")["output"]


def test_a_command_that_does_not_exist_is_a_wrong_call(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, with the setting to change."""
    code, report, words = drill(capsys, ANY_PORT, "--start", "no-such-command-anywhere")
    assert (2, {}) == (code, report)
    assert "setting: --start" in words


@pytest.mark.parametrize("whose", ["issuer", "service"])
def test_a_port_in_use_is_a_wrong_call(capsys: pytest.CaptureFixture[str], whose: str) -> None:
    """Exit code 2, named as such, before anything is asked: another program there would be drilled instead."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if whose == "issuer":
            code, report, words = drill(capsys, ANY_PORT, *starting("keyturn"), "--issuer-port", str(port))
        else:
            code, report, words = drill(capsys, f"http://127.0.0.1:{port}/orders", *starting("keyturn"))
    assert (2, {}) == (code, report)
    assert "port in use" in words


def test_a_service_that_runs_on_is_waited_for(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a start the drill says its plan, waits before each scenario that needs a refresh, and finds the key that is accepted again."""
    monkeypatch.setenv("ON_DEMAND_INTERVAL", "1")
    port = free_port()
    with running("keyturn", f"http://127.0.0.1:{port}") as url:
        only = ("new-key-at-once", "cut-over", "no-alg", "kid-reused")
        code, report, words = drill(capsys, url, "--issuer-port", str(port), "--pause", "1.2", "--watch", "4", "-v", only=only)
    assert dict.fromkeys(["baseline", *only], "pass") == verdicts(report)
    assert (0, False, 1.2) == (code, report["started"], report["pause"])
    assert "4 scenarios wait 1.2 s each" in words
    assert words.count("waiting until the service may read keys again") >= 4


def test_a_service_that_runs_on_with_an_old_key_is_judged_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """After a key that the service never took, the one that it still accepts is published again."""
    port = free_port()
    with running("holds", f"http://127.0.0.1:{port}") as url:
        options = ("--issuer-port", str(port), "--pause", "0", "--watch", "0.5")
        code, report, _ = drill(capsys, url, *options, only=("cut-over", "no-alg", "bad-tokens"))
    assert {"baseline": "pass", "cut-over": "fail", "no-alg": "unknown", "bad-tokens": "pass"} == verdicts(report)
    assert 1 == code
    assert "did not ask for the new set" in scenario(report, "no-alg")["reason"]


def test_what_a_service_choked_on_is_gone_before_the_next_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    """Broken entries leave the set with their scenario, so that a service which runs on fails over them once and not thrice."""
    port = free_port()
    with running("chokes", f"http://127.0.0.1:{port}") as url:
        options = ("--issuer-port", str(port), "--pause", "0", "--watch", "1")
        code, report, _ = drill(capsys, url, *options, only=("broken-keys", "kid-reused"))
    assert (1, {"baseline": "pass", "broken-keys": "fail", "kid-reused": "pass"}) == (code, verdicts(report))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals that a process could act on")
@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_an_ended_drill_leaves_no_service_behind(number: str) -> None:
    """SIGTERM, Ctrl-C and a terminal that is closed end the service that the drill started, too."""
    port = free_port()
    command = [sys.executable, "-m", "keyturn", "drill", f"http://127.0.0.1:{port}/orders", *starting("keyturn"), "-q", "--only", "issuer-slow"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=dict(os.environ)) as process:
        deadline = Deadline(30)
        while not listens(port) and not deadline.over():
            assert process.poll() is None
        process.send_signal(getattr(signal, number))
        _, words = process.communicate(timeout=30)
    assert (130, b"interrupted" in words) == (process.returncode, True)
    assert not listens(port)

"""The command line as a process of its own, over real HTTP, and the whole demo."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keyturn.cli import demo, story
from keyturn.cli.output import Console
from keyturn.cli.stage import Stage, Step, served_stage
from keyturn.testing import FakeIssuer, IssuerServer

SOURCE = Path(__file__).parent.parent.parent / "src"


@pytest.fixture
def issuer() -> FakeIssuer:
    """An issuer whose tokens are good now."""
    return FakeIssuer()


@pytest.fixture
def server(issuer: FakeIssuer) -> Iterator[IssuerServer]:
    """The issuer, served on loopback."""
    with issuer.serve() as server:
        yield server


def environment(**more: str) -> dict[str, str]:
    """Return an environment without proxies and colours of the developer's own."""
    unwanted = {"no_color", "force_color", "term", "http_proxy", "https_proxy", "all_proxy"}
    clean = {name: value for name, value in os.environ.items() if name.lower() not in unwanted}
    return clean | {"PYTHONPATH": str(SOURCE)} | more


def keyturn(*arguments: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m keyturn` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "keyturn", *arguments],
        input=stdin,
        env=environment(**more),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )


@pytest.fixture(scope="module")
def demonstration() -> subprocess.CompletedProcess[str]:
    """The whole demo, as JSON."""
    return keyturn("demo", "--json", "--seed", "7")


@pytest.fixture(scope="module")
def account(demonstration: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The last object that the demo printed."""
    assert "" == demonstration.stderr
    return json.loads(demonstration.stdout.splitlines()[-1])


def test_the_demo_keeps_the_promises(demonstration: subprocess.CompletedProcess[str], account: dict[str, Any]) -> None:
    """Exit code 0, and each promise kept with evidence of its own."""
    assert (0, "account", True) == (demonstration.returncode, account["type"], account["kept"])
    assert [True, True, True] == [promise["kept"] for promise in account["promises"]]
    assert all(promise["evidence"] for promise in account["promises"])


def test_the_demo_s_account_is_the_sum_of_its_steps(demonstration: subprocess.CompletedProcess[str], account: dict[str, Any]) -> None:
    """What the timeline told line by line is what the account says in the end."""
    steps = [json.loads(line) for line in demonstration.stdout.splitlines()[:-1]]
    assert {"step"} == {step["type"] for step in steps}
    for outcome in ("accepted", "refused", "unavailable"):
        assert account["tokens"][outcome] == sum(step[outcome] for step in steps)
    assert account["requests"]["jwks"] == sum(step["fetches"] for step in steps)
    assert account["tokens"]["refused"] + account["tokens"]["unavailable"] == sum(entry["count"] for entry in account["refused"])
    assert sorted(step["virtual_seconds"] for step in steps) == [step["virtual_seconds"] for step in steps]


def test_the_demo_meets_what_real_issuers_do(account: dict[str, Any]) -> None:
    """Thousands of tokens; keys that vanish, return, are dropped and revoked; outages; every way of saying no."""
    assert account["tokens"]["sent"] > 5000
    assert {"KeyVanished", "KeyReturned", "KeyDropped", "KeyRevoked", "StaleKeysServed", "FetchFailed", "UnknownKey"} <= set(account["events"])
    codes = {entry["code"] for entry in account["refused"]}
    assert {"unknown_key", "revoked_key", "invalid_signature", "disallowed_algorithm", "expired_token", "keys_unavailable"} <= codes


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A stage of one's own."""
    with served_stage(seed=1, progress=lambda _: None) as stage:
        yield stage


def played(stage: Stage, chapter: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[int, dict[str, Any]]:
    """Play the first chapter and *chapter*; return exit code and account."""
    monkeypatch.setattr(story, "CHAPTERS", (story.planned, chapter))
    console = Console(io.StringIO(), io.StringIO())
    code = demo.play(stage, console, as_json=True)
    return code, json.loads(console.out.getvalue().splitlines()[-1])


def test_a_good_token_that_is_lost_is_a_broken_promise(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo does not believe itself: a token that should pass and does not makes it exit with 1."""

    def losing(stage: Stage) -> Iterator[Step]:
        stage.send(1, "forged", "accepted", stage.issuer.forge)
        stage.send(1, "forged", "refused", stage.issuer.forge)
        yield stage.tell("a token is lost")

    code, account = played(stage, losing, monkeypatch)

    assert (1, [True, False, True]) == (code, [promise["kept"] for promise in account["promises"]])


def test_a_wrong_token_that_is_accepted_is_a_broken_promise(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that should be refused and passes makes the demo exit with 1."""

    def letting_in(stage: Stage) -> Iterator[Step]:
        stage.send(1, "good", "refused")
        yield stage.tell("a token slips through")

    code, account = played(stage, letting_in, monkeypatch)

    assert (1, [False, True, True]) == (code, [promise["kept"] for promise in account["promises"]])


def test_a_request_beside_the_rules_is_a_broken_promise(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refresh that no rule allowed makes the demo exit with 1."""

    def hammering(stage: Stage) -> Iterator[Step]:
        stage.client.refresh()
        stage.send(1, "forged", "refused", stage.issuer.forge)
        yield stage.tell("a refresh too many")

    code, account = played(stage, hammering, monkeypatch)

    assert (1, [True, True, False]) == (code, [promise["kept"] for promise in account["promises"]])


def test_the_timeline_is_told_to_people_without_colour() -> None:
    """Into a pipe go a line for each step and three verdicts, and neither colour nor progress."""
    result = keyturn("demo")
    assert (0, "") == (result.returncode, result.stderr)
    assert "\x1b" not in result.stdout
    assert 3 == sum(line.endswith(" kept") for line in result.stdout.splitlines())
    assert result.stdout.splitlines()[1].startswith("T+00:00 ")


def test_keys_of_an_issuer_are_listed(server: IssuerServer) -> None:
    """The default fetcher follows the discovery document to the key set."""
    result = keyturn("keys", server.url, "--json")
    assert 0 == result.returncode
    record = json.loads(result.stdout)
    assert (server.url, server.jwks_url, ["k1"]) == (record["issuer"], record["location"], [key["kid"] for key in record["keys"]])
    assert "1 usable, 0 not" in result.stderr


def test_colour_can_be_forced_into_a_pipe(server: IssuerServer) -> None:
    """FORCE_COLOR colours the head of the table; NO_COLOR wins over it."""
    assert "\x1b[1m" in keyturn("keys", server.jwks_url, FORCE_COLOR="1").stdout
    assert "\x1b" not in keyturn("keys", server.jwks_url, FORCE_COLOR="1", NO_COLOR="1").stdout


@pytest.mark.parametrize("command", [("keys",), ("token", "--audience", "api://test")])
def test_an_issuer_that_is_down_is_not_a_finding(command: tuple[str, ...], issuer: FakeIssuer, server: IssuerServer) -> None:
    """Exit code 3, as a service would answer 503."""
    with issuer.down(503, document="both"):
        assert 3 == keyturn(command[0], server.url, *command[1:], stdin=issuer.token()).returncode


def test_a_slow_issuer_is_given_up(issuer: FakeIssuer, server: IssuerServer) -> None:
    """--timeout bounds the whole wait; the gate never opens, so only the time limit can end it."""
    with issuer.gate(document="both"):
        result = keyturn("keys", server.url, "--timeout", "0.2")
    assert 3 == result.returncode
    assert "setting: deadline" in result.stderr


@pytest.mark.parametrize("direct", [False, True])
def test_a_good_token_passes(direct: bool, issuer: FakeIssuer, server: IssuerServer) -> None:
    """The token comes in by standard input, the keys over HTTP; the steps are told, and the token is not."""
    token = issuer.token()
    more = ["--jwks-url", server.jwks_url] if direct else []
    result = keyturn("token", server.url, "--audience", "api://test", *more, stdin=token)
    assert (0, "") == (result.returncode, result.stderr)
    assert "The token is good." in result.stdout
    assert token.rpartition(".")[2] not in result.stdout
    issuer.fetches.expect(discovery=0 if direct else 1, jwks=1)


def test_a_bad_token_is_a_finding(issuer: FakeIssuer, server: IssuerServer) -> None:
    """Exit code 1, and the reason on standard output."""
    result = keyturn("token", server.url, "--audience", "api://other", "--json", stdin=issuer.token())
    assert (1, "invalid_audience") == (result.returncode, json.loads(result.stdout)["error"]["code"])


def test_verbose_tells_the_events(issuer: FakeIssuer, server: IssuerServer) -> None:
    """-v shows on standard error what the library did."""
    result = keyturn("token", server.url, "--audience", "api://test", "-v", stdin=issuer.token())
    assert "FetchSucceeded" in result.stderr
    assert "FetchSucceeded" not in result.stdout


def test_an_unknown_command_is_a_wrong_call() -> None:
    """Exit code 2."""
    assert 2 == keyturn("dance").returncode


@pytest.mark.skipif(os.name == "nt", reason="signals and pipes of Windows differ")
def test_a_reader_that_goes_away_ends_the_command_quietly() -> None:
    """A pipe that is closed early ends the demo with the code of its signal and without a word."""
    arguments = [sys.executable, "-m", "keyturn", "demo", "--json"]
    with subprocess.Popen(arguments, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert (b"", 141) == (process.stderr.read(), process.wait(100))


@pytest.mark.skipif(os.name == "nt", reason="signals and pipes of Windows differ")
def test_an_interrupt_ends_the_command(issuer: FakeIssuer, server: IssuerServer) -> None:
    """Ctrl-C while the issuer is awaited ends with 130, one word, and no traceback."""
    arguments = [sys.executable, "-m", "keyturn", "keys", server.jwks_url, "--timeout", "60"]
    with issuer.gate() as gate, subprocess.Popen(arguments, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert gate.wait_for_arrival(60)
        process.send_signal(signal.SIGINT)
        assert (b"", b"keyturn: error: interrupted\n") == process.communicate(timeout=60)
    assert 130 == process.returncode

"""What a drill cannot work with is refused before anything is started, with the setting to change."""

from __future__ import annotations

from typing import Any

import pytest

from keyturn.cli import main
from keyturn.drill.engine import estimated
from keyturn.drill.scenarios import SCENARIOS, chosen
from keyturn.drill.settings import ISSUER_PORT, Settings, parse_accept, parse_claim, split_command
from keyturn.drill.starting import filled, shown
from keyturn.drill.target import is_loopback
from keyturn.errors import ConfigurationError

URL = "http://127.0.0.1:8000/orders"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"url": "127.0.0.1:8000"}, "expected an http or https URL"),
        ({"url": "ftp://example.com/"}, "expected an http or https URL"),
        ({"url": "http:///orders"}, "expected an http or https URL"),
        ({"url": "http://127.0.0.1:99999/"}, "expected an http or https URL"),
        ({"url": "http://127.0.0.1:8000/a b"}, "expected an http or https URL"),
        ({"url": "http://127.0.0.1:8000/\x1b[31m"}, "expected an http or https URL"),
        ({"url": "http://a..b:8000/"}, "expected an http or https URL"),
        ({"url": "http://\u00e4..b:8000/"}, "expected an http or https URL"),
        ({"url": "http://user:secret@127.0.0.1:8000/"}, "holds a user name"),
        ({"url": "ftp://user:secret@127.0.0.1:99999/"}, "holds a user name"),
        ({"url": "https://127.0.0.1:8000/", "ca": "/no/such/file.pem"}, "--ca"),
        ({"url": "https://127.0.0.1:8000/", "ca": __file__}, "--ca"),
        ({"url": "http://127.0.0.1:0/orders"}, "expected --start"),
        ({"algorithm": "HS256"}, "--algorithm"),
        ({"issuer_port": 65_536}, "--issuer-port"),
        ({"issuer_port": -1}, "--issuer-port"),
        ({"method": "GET /"}, "--method"),
        ({"watch": 0.0}, "--watch"),
        ({"watch": float("nan")}, "--watch"),
        ({"pause": -1.0}, "--pause"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(settings: dict[str, Any], words: str) -> None:
    """The message names what was expected or the option."""
    with pytest.raises(ConfigurationError, match=words) as refused:
        Settings(**{"url": URL, **settings})
    assert "secret" not in refused.value.message


def test_the_port_of_the_issuer_is_fixed_only_where_nobody_tells_the_service() -> None:
    """A free one with --start, a fixed one without, and always the one that is named."""
    assert (ISSUER_PORT, 0, 9) == (
        Settings(url=URL).port_of_issuer,
        Settings(url=URL, start=("app",)).port_of_issuer,
        Settings(url=URL, issuer_port=9).port_of_issuer,
    )


def test_a_command_is_split_without_a_shell() -> None:
    """Quotes hold words together; nothing is expanded."""
    assert ("python", "my app.py", "$HOME", "*") == split_command("python 'my app.py' $HOME *")


@pytest.mark.parametrize("text", ["", "  ", "python 'app.py"])
def test_a_command_that_is_none_is_refused(text: str) -> None:
    """Nothing to run, or a quote that is not closed."""
    with pytest.raises(ConfigurationError, match="--start"):
        split_command(text)


def test_placeholders_are_replaced_and_other_braces_stay() -> None:
    """JSON in a command survives."""
    assert '{"port": 81, "a": "{b}"}' == filled('{"port": {port}, "a": "{b}"}', {"port": "81", "issuer": "x"})


def test_statuses_that_mean_accepted_are_read() -> None:
    """Single ones and ranges, both ends included."""
    assert {200, 201, 202, 404} == parse_accept("200-202, 404")


@pytest.mark.parametrize("text", ["", "abc", "299-200", "99", "600", "200-", "-200", "400-499", "503"])
def test_statuses_that_cannot_mean_accepted_are_refused(text: str) -> None:
    """No status, a range backwards, and those that say the contrary: 401 and 503."""
    with pytest.raises(ConfigurationError, match="--accept"):
        parse_accept(text)


@pytest.mark.parametrize(
    ("text", "claim"),
    [
        ("scope=orders:read", ("scope", "orders:read")),
        ("tid=", ("tid", "")),
        ("ver=2.0", ("ver", 2.0)),
        ('ver="2.0"', ("ver", "2.0")),
        ('roles=["a","b"]', ("roles", ["a", "b"])),
        ("deep=" + "[" * 100_000, ("deep", "[" * 100_000)),
        ("x=NaN", ("x", "NaN")),
        ("a=b=c", ("a", "b=c")),
    ],
)
def test_a_claim_is_json_or_text(text: str, claim: tuple[str, Any]) -> None:
    """What reads as JSON is taken as such, the rest as it stands."""
    assert claim == parse_claim(text)


@pytest.mark.parametrize("text", ["scope", "=x", "aud=x", "exp=1", "key=k1", "iss=x", "self=x", "roles=admin"])
def test_claims_of_the_drill_s_own_are_refused(text: str) -> None:
    """They decide whether a token is good, which is the drill's business; roles are a list, and a text would become one of its letters."""
    with pytest.raises(ConfigurationError, match="--claim"):
        parse_claim(text)


@pytest.mark.parametrize(("host", "answer"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("example.com", False), ("10.0.0.1", False)])
def test_loopback_is_told_from_other_machines(host: str, answer: bool) -> None:
    """A proxy of the environment must not stand between the drill and this machine."""
    assert answer == is_loopback(host)


def test_what_a_service_wrote_is_shown_without_tokens_and_folded() -> None:
    """No token, no control character, no long line; nothing of the rest is lost."""
    assert ["error: (a token) in 'x'"] == shown(b'error: eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.sig in "x"\r\n')
    assert ["\\x1b[31mred"] == shown(b"\x1b[31mred\n")
    assert ["a" * 76, "a" * 24] == shown(b"a" * 100)
    assert [] == shown(b"\n")


def test_the_plan_tells_the_time_that_pauses_take() -> None:
    """Without --start every scenario that needs a refresh waits; with it none does."""
    running, started = estimated(SCENARIOS, Settings(url=URL)), estimated(SCENARIOS, Settings(url=URL, start=("app",)))
    assert sum(scenario.refresh for scenario in SCENARIOS) == running.pauses
    assert running.least >= running.pauses * 310
    assert (0, True) == (started.pauses, started.least < 150)
    assert running.most > running.least


def test_watching_counts_for_scenarios_that_watch_alone() -> None:
    """The most that a drill takes grows with --watch, by as much as the scenarios may watch."""
    plan = estimated(chosen(["issuer-down"]), Settings(url=URL, start=("app",), watch=60))
    assert 60.0 == plan.most - plan.least


def test_the_plan_tells_that_a_service_may_have_to_be_waited_for_twice() -> None:
    """One whose keys are due after the pause reads them then, and must be left alone once more; the first good token may come too early."""
    plan = estimated(chosen(["cut-over", "no-alg"]), Settings(url=URL, watch=60, pause=100))
    assert 3 * 60 + 2 * 100 == plan.most - plan.least


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "expected the URL"),
        (["nonsense"], "expected an http or https URL"),
        ([URL, "--only", "no-such"], "no scenario"),
        ([URL, "--watch", "soon"], "expected seconds"),
        ([URL, "--timeout", "0"], "expected seconds"),
        ([URL, "--html", "/no/such/folder/report.html"], "--html"),
        ([URL, "--html", "/"], "--html"),
        ([URL, "--html", "a" * 300], "--html"),
        ([URL, "--claim", "aud=x"], "--claim"),
        ([URL, "--start", "'"], "--start"),
    ],
)
def test_a_wrong_call_ends_with_two(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    """Nothing is started and nothing is asked; the words say what to change."""
    assert 2 == main(["drill", *arguments])
    written = capsys.readouterr()
    assert ("", True) == (written.out, words in written.err)


def test_the_scenarios_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """`--list` needs no URL; each name stands there with what is played."""
    assert 0 == main(["drill", "--list"])
    lines = capsys.readouterr().out.splitlines()
    assert [scenario.name for scenario in SCENARIOS] == [line.split()[0] for line in lines[1:]]

"""`keyturn serve` as a process: announced, used over HTTP by a validator and by hand, and ended."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from tests.integration.serve_process import LONGEST, Serving, environment, port_of, serving, start

from keyturn import HttpxFetcher, InvalidTokenError, KeysUnavailableError, RolloverPolicy, TokenValidator, UnknownKeyError
from keyturn.clock import SystemClock
from keyturn.errors import ConfigurationError
from keyturn.serving import server as server_module
from keyturn.serving.application import Application
from keyturn.serving.control import Control
from keyturn.serving.issuer import Settings
from keyturn.serving.server import Server
from keyturn.testing import FakeClock

PAGE = Path(__file__).parent.parent.parent / "docs" / "howto" / "other-languages.md"
CURL = [code for code in re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL) if "curl" in code]


posix = pytest.mark.skipif(os.name == "nt", reason="signals of Windows differ")


@pytest.fixture(scope="module")
def process() -> Iterator[Serving]:
    """One process for the tests that leave it as they found it."""
    with serving("--audience", "api://orders", "--lifetime", "1000000") as running:
        yield running


@pytest.fixture
def served(process: Serving) -> Serving:
    """The process, with everything begun anew."""
    process.act("reset")
    return process


@contextmanager
def in_this_process() -> Iterator[Server]:
    """Run the server on a thread, for tests that look inside."""
    server = Server("127.0.0.1", 0, lambda url: Application(Control(Settings(url))))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.close()
        thread.join(LONGEST)


def raw(serving: Serving, request: bytes) -> bytes:
    """Send bytes, and return everything that comes back."""
    with socket.create_connection(("127.0.0.1", port_of(serving)), LONGEST) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_validator_lives_through_a_rollover(served: Serving) -> None:
    """A service in a process of its own: tokens before and after a rotation, through a cut-over, and through an outage."""
    clock = FakeClock(wall=SystemClock().wall())
    validator = TokenValidator(served.said["issuer"], audience="api://orders", clock=clock)
    old = served.token(client_id="orders", scope="read")
    assert ("orders", {"read"}, "k1") == ((token := validator.validate(old)).subject, token.scopes, token.key_id)

    served.act("rotate", kid="k2")
    assert "k2" == validator.validate(served.token()).key_id
    assert "k1" == validator.validate(old).key_id

    clock.advance(minutes=10)
    served.act("fault", kind="down", document="both")
    assert "k2" == validator.validate(served.token()).key_id
    served.act("cut-over", kid="k3")
    with pytest.raises(KeysUnavailableError):
        validator.validate(served.token())

    clock.advance(minutes=10)
    served.act("fault", kind=None)
    assert "k3" == validator.validate(served.token()).key_id
    assert "k1" == validator.validate(old).key_id  # Absence is not revocation (R10).
    clock.advance(hours=3)
    validator.client.refresh()
    with pytest.raises(UnknownKeyError):
        validator.validate(old)
    assert {"200", "503"} == {request["outcome"][:3] for request in served.state()["requests"]}


def test_a_bad_token_of_the_catalogue_is_refused(served: Serving) -> None:
    """A program in any language gets them by name, with the reason."""
    answer = served.act("mint", bad="expired")
    with pytest.raises(InvalidTokenError) as caught:
        TokenValidator(served.said["issuer"], audience="api://orders").validate(answer["token"])
    assert answer["error"] == caught.value.code


@pytest.mark.parametrize("kind", ["down", "drop_connection", "drip", "garbage", "html", "empty", "truncated", "huge", "compressed", "redirect"])
def test_a_fault_means_over_the_socket_what_it_means_without_one(served: Serving, kind: str) -> None:
    """Whatever is wrong with the key set, a validator that needs it says that it cannot know."""
    served.act("fault", kind=kind)
    validator = TokenValidator(served.said["issuer"], audience="api://orders", policy=RolloverPolicy(deadline=1))
    with pytest.raises(KeysUnavailableError):
        validator.validate(served.token())
    served.act("fault", kind=None)
    assert "k1" == TokenValidator(served.said["issuer"], audience="api://orders").validate(served.token()).key_id


def test_a_fault_ends_by_itself(served: Serving) -> None:
    """A request that is held by a fault of a second is answered, and by nothing but the end of it."""
    served.act("fault", kind="gate", seconds=1)
    assert 200 == served.web.get(served.said["jwks_url"]).status_code
    assert None is served.state()["fault"]


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("sh") is None, reason="curl and sh are not on PATH")
@pytest.mark.parametrize("commands", CURL, ids=lambda text: text.split()[2].rpartition("/")[2] if text.startswith("curl -s h") else "steps")
def test_the_commands_of_the_documentation_work(served: Serving, commands: str) -> None:
    """Whoever pastes them gets an answer, and no refusal."""
    commands = commands.replace("http://127.0.0.1:9000/", served.said["page_url"])
    result = subprocess.run(["sh", "-e", "-c", commands], env=environment(), capture_output=True, text=True, timeout=LONGEST, check=True)
    assert served.said["page_url"] in commands
    assert result.stdout.startswith("{")
    assert '"error"' not in result.stdout


def test_what_drips_is_whole_once_the_fault_ends(served: Serving) -> None:
    """Blanks and then the document: a length that counted the document alone would cut it off."""
    served.act("fault", kind="drip")
    with served.web.stream("GET", served.said["jwks_url"]) as answer:
        pieces = answer.iter_raw()
        assert b"" == next(pieces).strip()
        served.act("fault", kind=None)
        assert ["k1"] == [key["kid"] for key in json.loads(b"".join(pieces))["keys"]]


def test_the_announcement_is_one_object(process: Serving) -> None:
    """A parent process learns every address from one line, version included."""
    said = process.said
    assert (1, "serving", None) == (said["schema"], said["type"], said["ca_pem"])
    issuer = said["issuer"]
    assert (issuer + "/jwks.json", issuer + "/token", issuer + "/control/", issuer + "/") == (
        said["jwks_url"],
        said["token_endpoint"],
        said["control_url"],
        said["page_url"],
    )
    assert issuer == process.web.get(said["discovery_url"]).json()["issuer"]
    assert issuer.startswith("http://127.0.0.1:")


def test_it_listens_on_loopback_alone(process: Serving) -> None:
    """Another address of this machine does not answer."""
    with closing(socket.socket()) as connection:
        connection.settimeout(LONGEST)
        assert 0 != connection.connect_ex(("127.0.0.2", port_of(process)))


def test_a_port_in_use_is_told(process: Serving) -> None:
    """Exit code 2, the option to change, and nothing on standard output."""
    port = port_of(process)
    second = start("--port", str(port))
    out, err = second.communicate(timeout=LONGEST)
    assert (2, "") == (second.returncode, out)
    assert f"keyturn: error: port {port} of 127.0.0.1 is in use, expected a free one (setting: --port)\n" in err
    assert "Traceback" not in err


def test_an_address_of_another_machine_is_told() -> None:
    """The address belongs to nobody (RFC 5737), and the option is named."""
    process = start("--host", "192.0.2.1")
    out, err = process.communicate(timeout=LONGEST)
    assert (2, "") == (process.returncode, out)
    assert "--host" in err


@posix
@pytest.mark.parametrize(
    ("number", "code", "last"),
    [(signal.SIGTERM, 0, "ended by SIGTERM"), (signal.SIGINT, 130, "keyturn: error: interrupted")],
)
@pytest.mark.parametrize("held", [False, True])
def test_a_signal_ends_it_cleanly(number: signal.Signals, code: int, last: str, held: bool) -> None:
    """One line and no traceback, also while a fault holds a request; the port is free at once."""
    with serving() as running, socket.socket() as waiting:
        if held:
            running.act("fault", kind="gate")
            waiting.connect(("127.0.0.1", port_of(running)))
            waiting.sendall(b"GET /jwks.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while not running.state()["counts"]["jwks"]:
                pass
        running.process.send_signal(number)
        out, err = running.process.communicate(timeout=LONGEST)
        assert (code, "") == (running.process.returncode, out)
        assert last == err.splitlines()[-1]
        assert "Traceback" not in err
        Server("127.0.0.1", port_of(running), lambda url: Application(Control(Settings(url)))).close()


def test_beyond_loopback_it_warns() -> None:
    """Whoever opens it to others is told what they can do."""
    process = start("--host", "0.0.0.0", "--json")
    assert process.stdout is not None
    said = json.loads(process.stdout.readline())
    assert said["page_url"].startswith("http://127.0.0.1:")
    process.terminate()
    _, err = process.communicate(timeout=LONGEST)
    assert err.startswith("warning: 0.0.0.0 is not the loopback of this machine. Whoever reaches port ")


def test_verbose_tells_each_request() -> None:
    """A line for each on standard error, without the token and without the page's own questions."""
    with serving("-v") as running:
        running.token()
        running.state()
        running.web.get(running.said["issuer"] + "/%0d%1b[31m")
        running.process.terminate()
        _, err = running.process.communicate(timeout=LONGEST)
    lines = [line for line in err.splitlines() if line.startswith(("GET", "POST"))]
    assert ["POST /token: 200", "GET /%0d%1b[31m: 404"] == [line.partition(",")[0] for line in lines]
    assert "eyJ" not in err


def test_it_answers_when_nobody_reads_its_words() -> None:
    """A parent process that closes our standard error wants no lines, and has its answers all the same."""
    with start("--json", "-v") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = json.loads(process.stdout.readline())
        assert "For tests only" in process.stderr.readline()
        process.stderr.close()
        assert [200, 200] == [httpx.get(said["jwks_url"], trust_env=False, timeout=LONGEST).status_code for _ in range(2)]
        process.kill()
        process.wait(LONGEST)


def test_an_issuer_has_the_name_that_it_was_given() -> None:
    """Tokens and documents carry the name, and it is reached by another one."""
    with serving("--issuer", "https://login.example.com/tenant", "--algorithm", "RS256", "--kid", "first") as running:
        origin = running.said["page_url"].removesuffix("/")
        fetcher = HttpxFetcher(rewrite={"https://login.example.com": origin}, trust_env=False)
        validator = TokenValidator("https://login.example.com/tenant", audience="api://test", fetcher=fetcher)
        assert "first" == validator.validate(running.token()).key_id


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({"host": "localhost"}, 200),
        ({"host": "evil.example"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"content-type": "text/plain"}, 415),
    ],
)
def test_the_control_api_is_not_for_other_sites(served: Serving, fields: dict[str, str], status: int) -> None:
    """Over the socket as without one: no page of another site rotates keys."""
    headers = {"content-type": "application/json", **fields}
    assert status == served.web.post(served.said["control_url"] + "rotate", content=b"{}", headers=headers).status_code
    assert (["k1", "k2"] if status == 200 else ["k1"]) == [key["kid"] for key in served.state()["keys"]]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\n", b"400"),
        (b"POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Length: +5\r\n\r\n", b"400"),
        (b"POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", b"400"),
        (b"POST /token HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"411"),
        (b"POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65537\r\n\r\n" + b"a" * 65537, b"413"),
        (b"POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n\r\n", b"413"),
        (b"GET /control/state HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", b"400"),
        (b"GET /control/state HTTP/1.1\r\n\r\n", b"403"),
        (b"GET /jwks.json HTTP/1.1\r\nHost: localhost\r\nX : a\r\nContent-Length: 0\r\n\r\n", b"400"),
        (b"GET /jwks.json HTTP/1.1\r\nHost: localhost\r\nnonsense\r\nContent-Length: 0\r\n\r\n", b"400"),
        (b"GET /jwks.json HTTP/1.1\r\nHost: localhost\r\nX: a\rContent-Length: 0\r\n\r\n", b"400"),
        (b"GET /jwks.json HTTP/1.1\r\nHost: localhost\r\nX: a\r\r\nContent-Length: 0\r\n\r\n", b"400"),
        (b"GET /jwks.json HTTP/1.1\r\nHost: localhost\r\nX: a\r\n Content-Length: 0\r\n\r\n", b"400"),
        (b"GET /jwks.json HTTP/1.1\r\nHost: localhost\r\nX: a\0\r\n\r\n", b"400"),
        (b"GET /jwks.json HTTP/1.1\r\nHost: localhost\r\n" + b"X: " + b"a" * 40_000 + b"\r\n\r\n", b"431"),
        (b"GET /jwks.json HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 200 + b"\r\n", b"431"),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"DANCE / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"501"),
        (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", b"505"),
        (b"nonsense\r\n\r\n", b"400"),
    ],
)
def test_a_request_that_is_no_good_is_refused(served: Serving, head: bytes, status: bytes) -> None:
    """What two readers could read in two ways, and what is larger than allowed, gets its refusal, and the next one is served."""
    assert status == raw(served, head).partition(b" ")[2][:3]
    assert "k1" == served.state()["signing_kid"]


def test_a_body_that_ends_early_is_not_answered(served: Serving) -> None:
    """Half of a request is none, and so is half of a head."""
    assert b"" == raw(served, b"POST /control/rotate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
    assert b"" == raw(served, b"POST /control/rotate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{}")
    assert "k1" == served.state()["signing_kid"]


def test_a_head_is_answered_without_a_body(served: Serving) -> None:
    """HEAD tells the length and sends nothing (RFC 9110, section 9.3.2)."""
    head, _, body = raw(served, b"HEAD /jwks.json HTTP/1.1\r\nHost: localhost\r\n\r\n").partition(b"\r\n\r\n")
    assert (b"200", b"") == (head.split(b" ")[1], body)
    assert b"content-length: " in head


def test_held_requests_never_hold_the_control_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a fault holds as many requests as may be held, a further one gets 503; control API and token endpoint answer."""
    monkeypatch.setattr(server_module, "MOST_HELD", 3)
    with in_this_process() as server, httpx.Client(trust_env=False, timeout=LONGEST) as web:
        web.post(server.url + "/control/fault", json={"kind": "gate"})
        answers: list[int] = []
        threads = [threading.Thread(target=lambda: answers.append(web.get(server.url + "/jwks.json").status_code)) for _ in range(3)]
        for thread in threads:
            thread.start()
        while web.get(server.url + "/control/state").json()["counts"]["jwks"] < 3:
            pass
        assert 503 == web.get(server.url + "/jwks.json").status_code
        assert 200 == web.post(server.url + "/token", data={"grant_type": "client_credentials"}).status_code
        assert 200 == web.post(server.url + "/control/fault", json={"kind": None}).status_code
        for thread in threads:
            thread.join(LONGEST)
        assert [200, 200, 200] == answers
        assert 200 == web.get(server.url + "/jwks.json").status_code


def test_too_many_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that say nothing cannot take every thread; when one of them ends, there is room again."""
    monkeypatch.setattr(server_module, "MOST_CONNECTIONS", 2)
    with in_this_process() as server:
        place = ("127.0.0.1", server.server_port)
        first, second = (socket.create_connection(place, LONGEST) for _ in range(2))
        with first, second, socket.create_connection(place, LONGEST) as third:
            assert b"" == third.recv(1)
        while True:
            try:
                status = httpx.get(server.url + "/jwks.json", timeout=LONGEST, trust_env=False).status_code
            except httpx.TransportError:
                continue
            break
        assert 200 == status


def test_a_fault_of_ours_is_answered_and_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The caller gets 500 without a detail, standard error has the traceback, and the next request is served."""
    with in_this_process() as server:
        with monkeypatch.context() as broken:
            broken.setattr(server.application.control, "state", lambda: 1 / 0)
            answer = httpx.get(server.url + "/control/state", trust_env=False)
        assert (500, "server_error") == (answer.status_code, answer.json()["error"])
        assert "ZeroDivisionError" in capsys.readouterr().err
        assert 200 == httpx.get(server.url + "/control/state", trust_env=False).status_code


def test_an_application_that_cannot_be_made_leaves_no_port_behind() -> None:
    """Whoever asks again finds the port free."""
    ports: list[int] = []

    def make(url: str) -> Application:
        ports.append(urlsplit(url).port or 0)
        raise ConfigurationError("no")

    for port in (0, -1):
        with pytest.raises(ConfigurationError, match="^no$"):
            Server("127.0.0.1", ports[port] if ports else port, make)
    assert ports[0] == ports[1]

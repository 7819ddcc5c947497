"""The rig itself: each way to fail, seen from a raw socket."""

from __future__ import annotations

import contextlib
import gzip
import os
import select
import socket
import ssl
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.rig import (
    ANY,
    DISCOVERY,
    JWKS,
    PATIENCE,
    RESET,
    ROOT,
    STALL,
    Place,
    Rig,
    always,
    answer,
    chunked,
    drip,
    gate,
    repeat,
    send,
    tunnel,
    turn,
)

from keyturn.testing import FakeClock, FakeIssuer

GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
SHORT = 0.3
"""Real seconds for which a socket is watched that must stay silent."""


@pytest.fixture
def place(rig: Rig) -> Iterator[Place]:
    """A place for plain text."""
    with rig.listen(plain=True) as open_place:
        yield open_place


def connected(place: Place) -> socket.socket:
    """Return a connection."""
    return socket.create_connection(("127.0.0.1", place.port), timeout=PATIENCE)


def rest(sock: socket.socket) -> bytes:
    """Read to the end."""
    return b"".join(iter(lambda: sock.recv(65_536), b""))


def ask(place: Place, path: str = "/") -> bytes:
    """Return the whole answer to a request."""
    with connected(place) as sock:
        sock.sendall(GET % path.encode())
        return rest(sock)


def body(place: Place, path: str = "/") -> bytes:
    """Return what follows the head of an answer."""
    return ask(place, path).partition(b"\r\n\r\n")[2]


def is_silent(sock: socket.socket) -> bool:
    """Return whether nothing comes for a while."""
    return not select.select([sock], [], [], SHORT)[0]


def secured(place: Place, rig: Rig, **context: object) -> ssl.SSLSocket:
    """Return a connection on which TLS is spoken by somebody who trusts the rig's CA."""
    trusting = ssl.create_default_context(cafile=rig.ca_file)
    for name, value in context.items():
        setattr(trusting, name, value)
    return trusting.wrap_socket(connected(place), server_hostname="127.0.0.1")


def test_documents_of_an_issuer(rig: Rig, place: Place) -> None:
    """What is published is served, with the issuer's own time, until something else is."""
    issuer = FakeIssuer(place.url(), clock=FakeClock())
    place.publish(issuer, "X-Odd: yes")
    first = ask(place, JWKS)
    assert (b'"kid": "k1"' in first, b"X-Odd: yes" in first, b"Date: Fri, 15 Jan 2027 08:00:00 GMT" in first) == (True, True, True)
    assert place.url(JWKS).encode() in ask(place, DISCOVERY)
    issuer.publish("k2")
    assert b"k2" not in ask(place, JWKS)
    place.publish(issuer)
    assert b"k2" in ask(place, JWKS)


def test_a_path_without_a_script(place: Place) -> None:
    """It is not found, so that a test that asks for the wrong place sees it; `*` stands for all such paths."""
    assert ask(place, "/nowhere").startswith(b"HTTP/1.1 404 ")
    with place.during({ANY: always(send(b"odd"))}):
        assert ask(place, "/nowhere") == b"odd"


def test_a_fault_comes_before_the_documents_and_goes(place: Place) -> None:
    """During its context a fault answers for the paths that it names."""
    place.serve({"/a": always(send(b"a")), "/b": always(send(b"b"))})
    with place.during({"/a": always(send(b"fault"))}):
        assert (ask(place, "/a"), ask(place, "/b")) == (b"fault", b"b")
    assert ask(place, "/a") == b"a"


def test_a_sequence_by_count(place: Place) -> None:
    """So many requests meet a turn; the last one stays."""
    place.serve({"/": [turn(send(b"1"), times=2), turn(send(b"2"), times=1), turn(send(b"3"), times=1)]})
    assert [ask(place) for _ in range(5)] == [b"1", b"1", b"2", b"3", b"3"]


def test_a_sequence_by_time(place: Place) -> None:
    """A turn lasts from its first request; the next one comes by itself."""
    place.serve({"/": [turn(send(b"1"), seconds=0.05), turn(send(b"2"))]})
    assert ask(place) == b"1"
    answers = [ask(place)]
    while answers[-1] != b"2":
        answers.append(ask(place))
    assert set(answers) <= {b"1", b"2"}
    assert ask(place) == b"2"


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "302 Found", "304 Not Modified", "429 Too Many Requests", "503 Busy"])
def test_any_status_and_field(place: Place, status: str) -> None:
    """Status line and header fields go out as they are given."""
    place.serve({"/": always(*answer(b"", "Location: /next", "Retry-After: 7", status=status))})
    head = ask(place).split(b"\r\n")
    assert head[0] == f"HTTP/1.1 {status}".encode()
    assert {b"Location: /next", b"Retry-After: 7"} <= set(head)


def test_odd_but_whole_answers(place: Place) -> None:
    """HTTP/1.0, informational answers, chunks and trailers."""
    place.serve(
        {
            "/1.0": always(*answer(b"x", version="HTTP/1.0", length=False)),
            "/1xx": always(send(b"HTTP/1.1 103 Early Hints\r\n\r\n"), *answer(b"x")),
            "/chunks": always(*answer(chunked(b"ab", b"c", end=b"0\r\nX-Last: y\r\n\r\n"), "Transfer-Encoding: chunked", length=False)),
        }
    )
    assert ask(place, "/1.0") == b"HTTP/1.0 200 OK\r\n\r\nx"
    assert ask(place, "/1xx").startswith(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert body(place, "/chunks") == b"2\r\nab\r\n1\r\nc\r\n0\r\nX-Last: y\r\n\r\n"


def test_compressed_answers(place: Place) -> None:
    """Compressed bytes arrive as they are, whether or not a field says so."""
    packed = gzip.compress(b"{}")
    place.serve({"/said": always(*answer(packed, "Content-Encoding: gzip")), "/silent": always(*answer(packed))})
    assert (gzip.decompress(body(place, "/said")), gzip.decompress(body(place, "/silent"))) == (b"{}", b"{}")
    assert (b"gzip" in ask(place, "/said"), b"gzip" in ask(place, "/silent")) == (True, False)


def test_lies_about_the_length(place: Place) -> None:
    """A body is shorter than it was declared, or has no end."""
    place.serve(
        {
            "/short": always(*answer(b"x", "Content-Length: 10", length=False)),
            "/endless": always(*answer(chunked(b"x", end=b""), "Transfer-Encoding: chunked", length=False)),
        }
    )
    assert ask(place, "/short").endswith(b"Content-Length: 10\r\n\r\nx")
    assert body(place, "/endless") == b"1\r\nx\r\n"


def test_drip(place: Place) -> None:
    """Bytes come bit by bit, all of them in the end, and the account says how many."""
    sent = bytes(range(200))
    place.serve({"/": always(drip(sent, 0.01))})
    with connected(place) as sock:
        sock.sendall(GET % b"/")
        pieces = list(iter(lambda: sock.recv(1_000), b""))
    assert (b"".join(pieces), len(pieces) > 1, place.counts().sent) == (sent, True, {"/": 200})


def test_drip_to_somebody_who_leaves(place: Place) -> None:
    """A script ends with its peer, so the account settles."""
    place.serve({"/": always(drip(b"a" * 100_000, 0.005))})
    with connected(place) as sock:
        sock.sendall(GET % b"/")
        assert sock.recv(1)
    assert 0 < place.counts().sent["/"] < 100_000


def test_huge_headers_and_bodies(place: Place) -> None:
    """What is repeated is sent so many times; nothing of it is kept."""
    place.serve({"/": always(send(b"HTTP/1.1 200 OK\r\n"), repeat(b"X-Odd: y\r\n", 10_000), send(b"\r\n"), repeat(b" " * 65_536, 64))})
    head, _, content = ask(place).partition(b"\r\n\r\n")
    assert (head.count(b"X-Odd: y"), len(content)) == (10_000, 64 * 65_536)
    assert place.counts().sent["/"] == len(head) + 4 + len(content)


def test_endless_repetition(place: Place) -> None:
    """Without a number it goes on until the peer leaves."""
    place.serve({"/": always(repeat(b"x" * 1_000))})
    with connected(place) as sock:
        sock.sendall(GET % b"/")
        for _ in range(100):
            assert sock.recv(1_000)
    assert place.counts().sent["/"] >= 1_000


def test_stall_in_headers_and_body(place: Place) -> None:
    """What was sent before a stall arrives, and then nothing, but the connection stays."""
    place.serve({"/headers": always(send(b"HTTP/1.1 2"), STALL), "/body": always(send(b"HTTP/1.1 200 OK\r\n\r\n{"), STALL)})
    for path, sent in (("/headers", b"HTTP/1.1 2"), ("/body", b"HTTP/1.1 200 OK\r\n\r\n{")):
        with connected(place) as sock:
            sock.sendall(GET % path.encode())
            got = b""
            while len(got) < len(sent):
                got += sock.recv(100)
            assert (got, is_silent(sock)) == (sent, True)


def test_stall_before_the_request(place: Place) -> None:
    """Connections are accepted and nothing is read."""
    with place.stage(greeting=[STALL]), connected(place) as sock:
        sock.sendall(GET % b"/")
        assert is_silent(sock)
    assert (place.counts().connections, place.requests()) == (1, 0)


def test_stall_in_the_handshake(rig: Rig) -> None:
    """No server hello comes, or only a part of one."""
    with rig.listen() as place:
        with place.stage(opening=[STALL]), connected(place) as sock:
            sock.sendall(b"\x16\x03\x01\x00\x05hello")
            assert is_silent(sock)
        with place.stage(opening=[send(b"\x16\x03\x03"), STALL]), connected(place) as sock:
            assert (sock.recv(10), is_silent(sock)) == (b"\x16\x03\x03", True)


def test_black_hole(place: Place) -> None:
    """A connection is neither accepted nor refused; afterwards the same port serves."""
    place.serve({"/": always(send(b"x"))})
    with place.black_hole(), socket.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", place.port))
        assert not select.select([], [sock], [sock], SHORT)[1]
    assert ask(place) == b"x"


def test_refusal(place: Place) -> None:
    """A connection is refused; afterwards the same port serves, and the account goes on."""
    place.serve({"/": always(send(b"x"))})
    assert ask(place) == b"x"
    with place.refusing(), pytest.raises(ConnectionRefusedError):
        connected(place)
    assert (ask(place), place.counts().connections, place.requests()) == (b"x", 2, 2)


def test_reset(place: Place) -> None:
    """A connection is reset in the middle of an answer."""
    place.serve({"/": always(send(b"HTTP/1.1 200 OK\r\n"), gate("reset"), RESET)})
    with connected(place) as sock:
        sock.sendall(GET % b"/")
        assert sock.recv(100)
        place.open_gate("reset")
        with pytest.raises(ConnectionResetError):
            rest(sock)


def test_gate(place: Place) -> None:
    """A request waits at a gate; those who come after it was opened do not."""
    place.serve({"/": always(gate("a"), send(b"x"))})
    with connected(place) as sock:
        sock.sendall(GET % b"/")
        place.wait_for_requests(1)
        assert is_silent(sock)
        place.open_gate("a")
        assert rest(sock) == b"x"
    assert ask(place) == b"x"


@pytest.mark.parametrize(
    ("kind", "reason"), [("expired", "expired"), ("early", "not yet valid"), ("other host", "not valid for"), ("stranger", "local issuer")]
)
def test_bad_certificates(rig: Rig, kind: str, reason: str) -> None:
    """Each certificate fails the check that it is there for, and a good one passes on the same port after it."""
    with rig.listen() as place:
        place.serve({"/": always(send(b"x"))})
        with place.tls(kind), pytest.raises(ssl.SSLCertVerificationError, match=reason):
            secured(place, rig)
        with secured(place, rig) as sock:
            sock.sendall(GET % b"/")
            assert rest(sock) == b"x"


def test_a_self_signed_certificate(rig: Rig) -> None:
    """It vouches for itself alone."""
    with rig.listen() as place, place.tls("self-signed"), pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
        ssl.create_default_context().wrap_socket(connected(place), server_hostname="127.0.0.1")


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3"])
def test_one_version_of_tls(rig: Rig, version: str) -> None:
    """A listener offers one version and no other."""
    with rig.listen() as place, place.tls(version=version, ciphers="ALL:@SECLEVEL=0"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        lenient = ssl.create_default_context(cafile=rig.ca_file)
        lenient.minimum_version = ssl.TLSVersion.TLSv1
        lenient.set_ciphers("ALL:@SECLEVEL=0")
        try:
            with lenient.wrap_socket(connected(place), server_hostname="127.0.0.1") as sock:
                spoken = sock.version()
        except ssl.SSLError as error:
            pytest.skip(f"this OpenSSL no longer speaks {version}: {error.reason}")
    assert spoken == version.replace("_", ".")


def test_a_proxy(place: Place, rig: Rig) -> None:
    """A CONNECT is carried to another place, both ways, byte by byte."""
    with rig.listen() as target:
        target.serve({"/": always(send(b"x"))})
        place.serve({ANY: always(tunnel(target))})
        trusting = ssl.create_default_context(cafile=rig.ca_file)
        with connected(place) as sock:
            sock.sendall(b"CONNECT keys.rig.test:443 HTTP/1.1\r\n\r\n")
            assert sock.recv(1_000).startswith(b"HTTP/1.1 200 ")
            with trusting.wrap_socket(sock, server_hostname="keys.rig.test") as inner:
                inner.sendall(GET % b"/")
                assert rest(inner) == b"x"
        assert (place.counts().requests, target.counts().requests) == ({"keys.rig.test:443": 1}, {"/": 1})


def test_the_account(place: Place) -> None:
    """Requests and bytes are counted for each path, connections with and without a request, and heads are kept."""
    place.serve({"/a": always(send(b"1234")), "/b": always(send(b"1"))})
    for path in ("/a", "/a?x=1", "/b"):
        ask(place, path)
    connected(place).close()
    counts = place.counts()
    assert (counts.connections, counts.requests, counts.sent) == (4, {"/a": 2, "/b": 1}, {"/a": 8, "/b": 1})
    assert counts.heads[1].startswith("GET /a?x=1 HTTP/1.1\r\n")
    assert counts.fields() == {"host": "x"}
    assert place.counts() == counts


def test_many_at_once(place: Place) -> None:
    """Connections are served side by side, and each is counted."""
    place.serve({"/": always(gate("a"), send(b"x"))})
    answers: list[bytes] = []
    threads = [threading.Thread(target=lambda: answers.append(ask(place)), daemon=True) for _ in range(50)]
    for thread in threads:
        thread.start()
    place.wait_for_requests(50)
    place.open_gate("a")
    for thread in threads:
        thread.join(PATIENCE)
    assert (answers, place.requests()) == ([b"x"] * 50, 50)


def test_an_unknown_action_is_told(rig: Rig) -> None:
    """A command that cannot be obeyed fails the test that gave it."""
    with pytest.raises(AssertionError, match="KeyError"):
        rig.tell("counts", port=1, settled=False)


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """Whoever started it was killed: it ends by itself."""
    program = f"""
import os, pathlib, signal
from tests.faults.rig import Rig
print(Rig(pathlib.Path({str(tmp_path)!r})).pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    pid, turns = int(killed.stdout), threading.Event()
    for _ in range(int(PATIENCE * 100)):
        if has_ended(pid):
            return
        turns.wait(0.01)
    raise AssertionError("the rig's process outlived its parent")


def has_ended(pid: int) -> bool:
    """Return whether a process that is not ours is gone, or waits only to be counted out."""
    with contextlib.suppress(OSError):
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")
        return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"
    return True

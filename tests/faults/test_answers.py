"""F8-F12: answers that come slowly, in part, without end or compressed."""

from __future__ import annotations

import functools
import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tests.contract.drivers import DRIVERS
from tests.faults.harness import CASES, ONE_EACH, PATIENT, QUICK, UNHURRIED, Case
from tests.faults.rig import RESET, STALL, Action, Rig, answer, chunked, drip, gate, repeat, send
from tests.faults.rig_scene import RigScene, told_why

from keyturn import FetchError, FetchFailed, InvalidKeySetError, KeysUnavailableError

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
one_each = pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.name)

OK = b"HTTP/1.1 200 OK\r\n"
CAP = PATIENT.max_document_bytes
BUFFERS = 16_000_000
"""Bytes that the sockets of both ends may hold at most, however much they grow."""

MEMORY = 12_000_000
"""Bytes that a refresh may take at most: a few copies of what may be read, and nothing in the size of what is sent."""


@contextmanager
def flat_memory() -> Iterator[None]:
    """Demand that no more was allocated at a time than `MEMORY`; everything is several times slower meanwhile."""
    tracemalloc.start()
    try:
        yield
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken < MEMORY, f"{taken} bytes were allocated, expected at most {MEMORY}"


@every_case
def test_f8_headers_that_drip(rig: Rig, case: Case) -> None:
    """Header bytes that each come in time are ended by the one deadline."""
    with RigScene(rig, case, policy=QUICK) as scene:
        outcomes = scene.fails(scene.answering(send(OK), drip(b"X-Odd: y\r\n" * 5_000)), FetchError)
        assert "(setting: deadline)" in told_why(outcomes)
        assert scene.met.connections == 1


@one_each
@pytest.mark.parametrize(
    "head", [[repeat(b"X-Odd: yyyy\r\n", 10_000)], [send(b"X-Odd: "), repeat(b"y" * 10_000, 100), send(b"\r\n")]], ids=["10,000", "1 MB"]
)
def test_f8_too_many_headers(rig: Rig, case: Case, head: list[Action]) -> None:
    """The HTTP library's limit ends them, long before the deadline; what is complete after them is not looked at."""
    with flat_memory(), RigScene(rig, case, policy=UNHURRIED) as scene:
        outcomes = scene.fails(scene.spoiling(lambda body: [send(OK), *head, send(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))]), FetchError)
        assert "could not be read" in told_why(outcomes)
        assert scene.met.connections == 1


@every_case
def test_f9_body_that_drips(rig: Rig, case: Case) -> None:
    """A body whose bytes each come in time is ended by the one deadline."""
    with RigScene(rig, case, policy=QUICK) as scene:
        outcomes = scene.fails(scene.spoiling(lambda body: [send(OK + b"\r\n"), drip(body * 10)]), FetchError)
        assert "(setting: deadline)" in told_why(outcomes)
        assert scene.met.connections == 1


def test_f9_as_slow_as_by_default(rig: Rig) -> None:
    """The same with the default numbers, one byte in half a second."""
    with RigScene(rig, policy=PATIENT) as scene:
        outcomes = scene.fails(scene.answering(send(OK + b"\r\n"), drip(b" " * 100, 0.5)), FetchError)
        assert "(setting: deadline)" in told_why(outcomes)


@pytest.mark.parametrize("driver", DRIVERS)
def test_f9_held_keys_serve_meanwhile(rig: Rig, driver: str) -> None:
    """While the body has not come, whoever's key is held is answered; whoever waits for the new one waits on."""
    with RigScene(rig, Case(driver, 50, warm=True)) as scene:
        held = scene.warm()
        with scene.spoiling(lambda body: [send(OK + b"\r\n"), gate("body"), send(body)])():
            new = scene.roll()
            waiting = DRIVERS["thread"].start(scene.validator, [new])
            scene.place.wait_for_requests(3)
            scene.accepts(held)
            assert waiting.outcomes == [None]
            scene.place.open_gate("body")
            assert waiting.done()[0].subject == "alice"


@every_case
def test_f10_shorter_than_declared(rig: Rig, case: Case) -> None:
    """A whole key set in an answer that lacks a byte is not parsed; there is no immediate second try."""
    with RigScene(rig, case) as scene:
        fault = scene.spoiling(lambda body: answer(body, f"Content-Length: {len(body) + 1}", length=False))
        assert "could not be read" in told_why(scene.fails(fault, FetchError))
        assert scene.met.connections == 1


@one_each
@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: [send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body) + 1, body)), RESET],
        lambda body: answer(chunked(body, end=b""), "Transfer-Encoding: chunked", length=False),
        lambda body: answer(chunked(body, end=b"zz\r\n"), "Transfer-Encoding: chunked", length=False),
        lambda body: answer(body, "Content-Length: 13"),
        lambda body: answer(body, "Content-Length: -1", length=False),
        lambda body: [send(b"HTTP/1.1 200 OK\r\nContent-Len")],
        lambda body: [send(body)],
        lambda body: [],
        lambda body: [RESET],
    ],
    ids=["reset", "no last chunk", "bad chunk", "two lengths", "negative", "cut in the head", "no head", "nothing", "reset at once"],
)
def test_f10_part_of_an_answer(rig: Rig, case: Case, spoil: Callable[[bytes], list[Action]]) -> None:
    """So are the other ways in which an answer may not be whole."""
    with RigScene(rig, case) as scene:
        assert "could not be read" in told_why(scene.fails(scene.spoiling(spoil), FetchError))
        assert scene.met.connections == 1


@one_each
def test_f10_chunks_without_end(rig: Rig, case: Case) -> None:
    """Chunks that never end are ended by the cap if they come fast, and by the deadline if they come slowly."""
    head = send(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    with RigScene(rig, case) as scene:
        assert "(setting: max_document_bytes)" in told_why(scene.fails(scene.answering(head, repeat(chunked(b" " * 4_096, end=b""))), FetchError))
        assert scene.met.connections == 1
    with RigScene(rig, case, policy=QUICK) as scene:
        assert "(setting: deadline)" in told_why(scene.fails(scene.answering(head, drip(chunked(b" ", end=b"") * 2_000)), FetchError))
        assert scene.met.connections == 1


@every_case
def test_f11_body_without_end(rig: Rig, case: Case) -> None:
    """Of 100 MB no more is read than the cap, and the connection is closed."""
    with RigScene(rig, case) as scene:
        outcomes = scene.fails(scene.answering(send(OK + b"\r\n"), repeat(b" " * 65_536, 1_600)), FetchError)
        assert "expected at most 524288 (setting: max_document_bytes)" in told_why(outcomes)
        assert CAP < sum(scene.met.sent.values()) < CAP + BUFFERS
        assert scene.met.connections == 1


@one_each
@pytest.mark.parametrize("chunks", [False, True], ids=["until the end", "chunked"])
def test_f11_memory_stays_flat(rig: Rig, case: Case, chunks: bool) -> None:
    """What is not read takes no memory."""
    head, piece = (b"Transfer-Encoding: chunked\r\n", chunked(b" " * 65_536, end=b"")) if chunks else (b"", b" " * 65_536)
    with flat_memory(), RigScene(rig, case, policy=UNHURRIED) as scene:
        scene.fails(scene.answering(send(OK + head + b"\r\n"), repeat(piece, 1_600)), FetchError)
        assert sum(scene.met.sent.values()) < CAP + BUFFERS


@one_each
def test_f11_declared_length(rig: Rig, case: Case) -> None:
    """A declared length over the cap is refused although not one byte of the body has come."""
    with RigScene(rig, case) as scene:
        outcomes = scene.fails(scene.answering(send(OK + b"Content-Length: 104857600\r\n\r\n"), STALL), FetchError)
        assert "announced 104857600 bytes, expected at most 524288" in told_why(outcomes)
        assert scene.met.connections == 1


@one_each
def test_f11_body_as_long_as_allowed(rig: Rig, case: Case) -> None:
    """A key set of exactly the cap is read."""
    with RigScene(rig, case) as scene:
        scene.works(scene.spoiling(lambda body: answer(body.ljust(CAP))))


def packed(data: bytes) -> dict[str, bytes]:
    """Return *data* in each encoding; for two of them, which no library here writes, as the one block that is stored as it is."""
    brotli = (len(data) - 1 << 4 | 1 << 20).to_bytes(3, "little") + data + b"\x03"
    zstd = b"\x28\xb5\x2f\xfd\x60" + (len(data) - 256).to_bytes(2, "little") + (len(data) << 3 | 1).to_bytes(3, "little") + data
    return {
        "gzip": gzip.compress(data),
        "gzip, gzip": gzip.compress(gzip.compress(data)),
        "br": brotli,
        "zstd": zstd,
        "deflate": zlib.compress(data),
    }


@every_case
def test_f12_gzip(rig: Rig, case: Case) -> None:
    """A key set that was compressed although identity was asked for is refused."""
    with RigScene(rig, case) as scene:
        outcomes = scene.fails(scene.spoiling(lambda body: answer(gzip.compress(body), "Content-Encoding: gzip")), FetchError)
        assert 'the content encoding "gzip", expected none' in told_why(outcomes)
        assert scene.met.connections == 1
        assert scene.place.counts().fields()["accept-encoding"] == "identity"


@one_each
@pytest.mark.parametrize("encoding", packed(b" " * 300))
def test_f12_other_encodings(rig: Rig, case: Case, encoding: str) -> None:
    """So is every other encoding, and one on top of another."""
    with RigScene(rig, case) as scene:
        fault = scene.spoiling(lambda body: answer(packed(body.ljust(300))[encoding], f"Content-Encoding: {encoding}"))
        assert f'the content encoding "{encoding}"' in told_why(scene.fails(fault, FetchError))


@one_each
@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_f12_refused_before_the_body(rig: Rig, case: Case, encoding: str) -> None:
    """The header is enough: not one byte of the body is waited for."""
    with RigScene(rig, case) as scene:
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: 100\r\n\r\n".encode()
        assert "content encoding" in told_why(scene.fails(scene.answering(send(head), STALL), FetchError))


@functools.cache
def bomb() -> bytes:
    """Return a few bytes that stand for 100 MB."""
    packed_up = gzip.compress(json.dumps({"keys": []}).encode().ljust(100_000_000))
    assert len(packed_up) < CAP
    return packed_up


@one_each
@pytest.mark.parametrize("declared", [True, False])
def test_f12_nothing_is_decompressed(rig: Rig, case: Case, declared: bool) -> None:
    """A few bytes that stand for 100 MB stay a few bytes, whether or not a header says what they are."""
    body = bomb()
    with flat_memory(), RigScene(rig, case, policy=UNHURRIED) as scene:
        scene.warm()
        with scene.answering(*answer(body, *(["Content-Encoding: gzip"] if declared else [])))():
            scene.refuses((FetchError, InvalidKeySetError, KeysUnavailableError), scene.roll())
            assert scene.told(FetchFailed)[0].code == ("fetch_failed" if declared else "invalid_key_set")
        scene.heals(scene.token())

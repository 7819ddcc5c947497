"""The rig of the fault matrix: servers on loopback that fail as they are told, in a process of their own.

A test says what to do; `rig_server.py` does it. So neither the test's threads nor its interpreter lock slow a server down, and a fault
of the library cannot end it.

    with rig.listen() as place:
        place.publish(issuer)
        with place.during({JWKS: always(*answer(status="503 Busy"))}):
            ...

Rules of this file:

1. A script is data: a list of turns for each path, each with actions (`rig_server.py`, `Conversation`).
2. Certificates come from a CA that lives as long as the rig. Names that no certificate covers are a fault to be asked for.
3. The process ends when its input does, so also when this process dies.
4. Nothing here waits for time: what was counted is read once every connection has ended.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import trustme
from tests.integration import fault_server

from keyturn.testing import FakeIssuer

Action = list[Any]
Turn = dict[str, Any]
Script = Mapping[str, Sequence[Turn]]
Answering = Callable[[bytes], list[Action]]
"""What is done instead of sending a document."""

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0
DISCOVERY = "/.well-known/openid-configuration"
JWKS = "/jwks.json"
BOTH = (DISCOVERY, JWKS)
ANY = "*"
"""Every path that has no script of its own in the same layer."""

NAMES = ("127.0.0.1", "localhost", "login.rig.test", "keys.rig.test", "10.0.0.1", "10.0.0.5")
"""What a good certificate of the rig is for."""

YEAR = dt.timedelta(days=365)

# Actions.

STALL: Action = ["stall"]
RESET: Action = ["reset"]


def send(data: bytes) -> Action:
    """Send *data*."""
    return ["send", data.decode("latin-1")]


def repeat(data: bytes, times: int | None = None) -> Action:
    """Send *data* so many times, or until the peer leaves."""
    return ["repeat", data.decode("latin-1"), times]


def drip(data: bytes, every: float = fault_server.TICK) -> Action:
    """Send *data* byte by byte, one in every so many seconds."""
    return ["drip", data.decode("latin-1"), every]


def gate(name: str) -> Action:
    """Wait until the gate of this name is opened."""
    return ["gate", name]


def tunnel(place: Place) -> Action:
    """Carry bytes to and from *place*, as a proxy does after CONNECT."""
    return ["tunnel", place.port]


def answer(body: bytes = b"", *fields: str, status: str = "200 OK", length: bool = True, version: str = "HTTP/1.1") -> list[Action]:
    """Send a whole answer."""
    return [send(fault_server.answer(body, *fields, status=status, length=length, version=version))]


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """Return *chunks* as a chunked body (RFC 9112, section 7.1)."""
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end


# Turns.


def turn(*actions: Action, times: int | None = None, seconds: float | None = None) -> Turn:
    """Return one turn: for so many requests, or so many seconds from its first request, whichever is over first."""
    return {"actions": list(actions), "times": times, "seconds": seconds}


def always(*actions: Action) -> list[Turn]:
    """Return the script of a path that answers every request alike."""
    return [turn(*actions)]


class Counts(NamedTuple):
    """What has happened at one place.

    Attributes:
        connections: Connections that were accepted.
        requests: Requests that were read, for each path.
        sent: Bytes that were handed to the operating system, for each path.
        heads: Heads of the requests, in their order.
    """

    connections: int
    requests: Mapping[str, int]
    sent: Mapping[str, int]
    heads: Sequence[str]

    def since(self, earlier: Counts) -> Counts:
        """Return what has happened after *earlier*."""
        requests, sent = Counter(self.requests), Counter(self.sent)
        requests.subtract(earlier.requests)
        sent.subtract(earlier.sent)
        return Counts(self.connections - earlier.connections, +requests, +sent, self.heads[len(earlier.heads) :])

    def fields(self, number: int = -1) -> dict[str, str]:
        """Return the header fields of one request, names in lower case."""
        lines = self.heads[number].strip().split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


class Certificates:
    """A throw-away CA and the chains of it, each in a file."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(self.ca_file)
        self._folder = folder
        self._known: dict[str, Path] = {}

    def chain(self, kind: str) -> str:
        """Return the path of a chain with its key: `good`, `expired`, `early`, `other host`, `stranger` or `self-signed`."""
        if kind not in self._known:
            path = self._known[kind] = self._folder / f"{kind}.pem"
            path.write_bytes(self._made(kind))
        return str(self._known[kind])

    def _made(self, kind: str) -> bytes:
        now = dt.datetime.now(dt.UTC)
        if kind == "self-signed":
            own = trustme.CA()
            return own.private_key_pem.bytes() + own.cert_pem.bytes()
        if kind == "expired":
            leaf = self.ca.issue_cert(*NAMES, not_before=now - 2 * YEAR, not_after=now - YEAR)
        elif kind == "early":
            leaf = self.ca.issue_cert(*NAMES, not_before=now + YEAR, not_after=now + 2 * YEAR)
        elif kind == "other host":
            leaf = self.ca.issue_cert("other.rig.test")
        elif kind == "stranger":
            leaf = trustme.CA().issue_cert(*NAMES)
        else:
            leaf = self.ca.issue_cert(*NAMES)
        return leaf.private_key_and_cert_chain_pem.bytes()


class Rig:
    """The process; a context manager.

    Attributes:
        certificates: What its TLS listeners may show.
    """

    def __init__(self, folder: Path) -> None:
        self.certificates = Certificates(folder)
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.rig_server"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    @property
    def ca_file(self) -> Path:
        """The one CA to trust."""
        return self.certificates.ca_file

    @property
    def pid(self) -> int:
        """Which process it is."""
        return self._process.pid

    def tell(self, do: str, **values: Any) -> dict[str, Any]:
        """Have the process do something; return its answer."""
        commands, answers = self._process.stdin, self._process.stdout
        assert commands is not None
        assert answers is not None
        with self._lock:
            commands.write(json.dumps({"do": do, **values}) + "\n")
            commands.flush()
            told: dict[str, Any] = json.loads(answers.readline() or '{"error": "the rig\'s process has ended"}')
        assert "error" not in told, f"the rig could not {do}: {told['error']}"
        return told

    def tls(self, certificate: str = "good", **offers: str | None) -> dict[str, Any]:
        """Return what a handshake is made with: a certificate and, if named, the one `version` and the `ciphers` that are offered."""
        return {"chain": self.certificates.chain(certificate), **offers}

    def listen(self, *, plain: bool = False) -> Place:
        """Open a listener with a good certificate, or one for plain text."""
        port = self.tell("listen", tls=None if plain else self.tls())["port"]
        return Place(self, port, "http" if plain else "https")

    def close(self) -> None:
        """End the process, and wait for its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Place:
    """One port of the rig; a context manager.

    Attributes:
        port: Its port on 127.0.0.1.
    """

    def __init__(self, rig: Rig, port: int, scheme: str) -> None:
        self.port = port
        self._rig = rig
        self._scheme = scheme

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tell("close")

    def url(self, path: str = "", host: str = "127.0.0.1") -> str:
        """Return the URL of *path* here, under the name *host*."""
        return f"{self._scheme}://{host}:{self.port}{path}"

    # What is served.

    def serve(self, script: Script) -> None:
        """Serve these documents and no others."""
        self._script("documents", script)

    def publish(self, issuer: FakeIssuer, *fields: str, odd: Mapping[str, Answering] = MappingProxyType({})) -> None:
        """Serve the documents of *issuer* as they are now.

        Args:
            issuer: Whose.
            *fields: Further header fields.
            odd: What a path does with its document, instead of answering with it and these fields.
        """
        date = f"Date: {formatdate(issuer.clock.wall(), usegmt=True)}"
        documents = {issuer.discovery_url: issuer.discovery(), issuer.jwks_url: issuer.jwks()}
        script = {}
        for url, document in documents.items():
            path, body = urlsplit(url).path, json.dumps(document).encode()
            plain = answer(body, "Content-Type: application/json", date, *fields)
            script[path] = always(*(odd[path](body) if path in odd else plain))
        self.serve(script)

    # What goes wrong.

    @contextmanager
    def during(self, script: Script) -> Iterator[None]:
        """Answer by *script* where it says something, instead of the documents, until the context ends."""
        self._script("faults", script)
        try:
            yield
        finally:
            self._script("faults", {})

    @contextmanager
    def stage(self, *, opening: Sequence[Action] = (), greeting: Sequence[Action] = ()) -> Iterator[None]:
        """Do this with every connection before its handshake, and before its request is read."""
        self._tell("stage", opening=list(opening), greeting=list(greeting))
        try:
            yield
        finally:
            self._tell("stage", opening=[], greeting=[])

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse every connection."""
        yield from self._door("refuse")

    @contextmanager
    def black_hole(self) -> Iterator[None]:
        """Neither accept nor refuse a connection: the queue of the port is full."""
        yield from self._door("hole")

    @contextmanager
    def tls(self, certificate: str = "good", **offers: str | None) -> Iterator[None]:
        """Make handshakes with another certificate, another version or other ciphers."""
        self._tell("certificate", tls=self._rig.tls(certificate, **offers))
        try:
            yield
        finally:
            self._tell("certificate", tls=self._rig.tls())

    def open_gate(self, name: str) -> None:
        """Open a gate, for those at it and for those who come later."""
        self._tell("gate", name=name)

    # What happened.

    def counts(self, *, settled: bool = True) -> Counts:
        """Return what has happened; once every connection so far has ended, unless *settled* is off."""
        return Counts(**self._tell("counts", settled=settled))

    def requests(self) -> int:
        """Return how many requests were read, once every connection so far has ended."""
        return sum(self.counts().requests.values())

    def wait_for_requests(self, count: int) -> None:
        """Wait until so many requests were read, whatever becomes of them."""
        turns = threading.Event()
        for _ in itertools.repeat(None, int(PATIENCE * 100)):
            if sum(self.counts(settled=False).requests.values()) >= count:
                return
            turns.wait(0.01)
        raise AssertionError(f"expected {count} requests in time, got {self.counts(settled=False)}")

    def _tell(self, do: str, **values: Any) -> dict[str, Any]:
        return self._rig.tell(do, port=self.port, **values)

    def _script(self, layer: str, script: Script) -> None:
        self._tell("script", layer=layer, paths={path: list(turns) for path, turns in script.items()})

    def _door(self, state: str) -> Iterator[None]:
        self._tell("door", state=state)
        try:
            yield
        finally:
            self._tell("door", state="open")

"""The rig's server: answers on loopback by scripts that are data, in a process of its own.

Rules of this file:

1. One JSON object a line comes in on standard input, one goes out on standard output for each; the end of the input ends the process.
2. A connection is `opening` actions, handshake, `greeting` actions, one request, and the actions of its path; then it is closed.
3. An action is a list: its name, then its values. What it does stands with its function in `Conversation`.
4. The actions of a path come in turns: so many requests, or so many seconds from the first of them; the last turn stays.
5. Scripts of faults come before those of documents. A path without any is answered with 404.
6. Everything is counted for each path: requests, and bytes that were handed to the operating system.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, Literal

from tests.integration.fault_server import TICK, Connection, FaultServer, PeerLeftError, answer

from keyturn.clock import Deadline

Action = list[Any]
Door = Literal["open", "refuse", "hole"]

PATIENCE = 20.0
"""Real seconds after which a connection that does not end is a fault of the test."""

UNREAD = 8.0
"""Real seconds without room for one more byte after which a peer has left."""

NOT_FOUND: list[Action] = [["send", answer(b'{"error": "not_found"}', status="404 Not Found").decode()]]


class Turns:
    """The actions of one path, in turns."""

    def __init__(self, turns: Sequence[dict[str, Any]]) -> None:
        self._turns = list(turns)
        self._lock = threading.Lock()
        self._used = 0
        self._until: Deadline | None = None

    def take(self) -> list[Action]:
        """Return the actions for the next request."""
        with self._lock:
            while len(self._turns) > 1 and self._is_over():
                del self._turns[0]
                self._used, self._until = 0, None
            if self._until is None and self._turns[0].get("seconds") is not None:
                self._until = Deadline(self._turns[0]["seconds"])
            self._used += 1
            actions: list[Action] = self._turns[0]["actions"]
            return actions

    def _is_over(self) -> bool:
        times = self._turns[0].get("times")
        return (times is not None and self._used >= times) or (self._until is not None and self._until.over())


class Conversation:
    """One connection that is answered by actions."""

    def __init__(self, connection: Connection, listener: Listener) -> None:
        self._connection = connection
        self._listener = listener

    def play(self, actions: Sequence[Action]) -> None:
        """Carry the actions out, one after the other."""
        for name, *values in actions:
            getattr(self, f"do_{name}")(*values)

    def do_send(self, text: str) -> None:
        """Send the characters as bytes."""
        self._connection.send(text.encode("latin-1"))

    def do_repeat(self, text: str, times: int | None) -> None:
        """Send the same so many times, or until the peer leaves."""
        data = text.encode("latin-1")
        # A peer that shut its end down with a full window and then left is never heard of again, for a minute.
        self._connection.sock.settimeout(UNREAD)
        while times is None or times > 0:
            self._connection.send(data)
            times = None if times is None else times - 1
        self._connection.sock.settimeout(None)

    def do_drip(self, text: str, every: float) -> None:
        """Send one byte, wait, and so on."""
        for character in text:
            if self._listener.closing.wait(every):
                raise PeerLeftError
            self._connection.send(character.encode("latin-1"))

    def do_stall(self) -> None:
        """Send nothing until the peer leaves."""
        self._connection.stall()

    def do_gate(self, name: str) -> None:
        """Send nothing until the gate is opened."""
        gate = self._listener.gates.setdefault(name, threading.Event())
        while not gate.wait(TICK):
            if self._listener.closing.is_set():
                raise PeerLeftError

    def do_reset(self) -> None:
        """End the connection with a reset."""
        self._connection.reset()

    def do_tunnel(self, port: int) -> None:
        """Be a proxy: connect to a port of loopback, and carry bytes both ways until one end leaves."""
        with socket.create_connection(("127.0.0.1", port)) as target:
            self._connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_carry, args=(target, self._connection.sock), daemon=True)
            back.start()
            _carry(self._connection.sock, target)
            back.join()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


class Listener:
    """One port of loopback, its scripts and its account.

    Attributes:
        opening: Actions before the handshake.
        greeting: Actions after it, before a request is read.
        layers: Scripts of each path: first those of `faults`, then those of `documents`.
        gates: The gates that a request waits at, by name.
    """

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.opening: list[Action] = []
        self.greeting: list[Action] = []
        self.layers: dict[str, dict[str, Turns]] = {"faults": {}, "documents": {}}
        self.gates: dict[str, threading.Event] = {}
        self._counting = threading.Lock()
        self._requests: Counter[str] = Counter()
        self._sent: Counter[str] = Counter()
        self._heads: list[str] = []
        self._earlier: list[FaultServer] = []
        self._callers: set[int] = set()
        self._own_calls = 0
        self._tls = tls
        # Bound for as long as the listener lives, so that nobody else gets the port while its door is shut.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.port: int = self._reserved.getsockname()[1]
        self._hole = ExitStack()
        self._server: FaultServer | None = None
        self.door("open")

    @property
    def closing(self) -> threading.Event:
        """Set when the door is shut."""
        return (self._server or self._earlier[-1]).closing

    def door(self, state: Door) -> None:
        """Serve, refuse every connection, or neither accept nor refuse any."""
        self._hole.close()
        if self._server is not None:
            self._earlier.append(self._server)
            self._server.__exit__()
            self._server = None
        if state == "open":
            self._server = FaultServer(self._serve, tls=self._tls, opening=self._open, port=self.port)
            self._server.__enter__()
        elif state == "hole":
            self._dig()

    def certificate(self, tls: ssl.SSLContext | None) -> None:
        """Make the next handshakes with *tls*."""
        self._tls = tls
        if self._server is not None:
            self._server.tls = tls

    def close(self) -> None:
        """Stop listening, and let the port go."""
        self.door("refuse")
        self._reserved.close()

    def counts(self, *, settled: bool) -> dict[str, Any]:
        """Return the account; once every connection so far has ended, if that is asked for."""
        if settled and self._server is not None:
            self._settle(self._server)
        servers = [*self._earlier, *([self._server] if self._server else [])]
        connections = sum(server.connections for server in servers) - self._own_calls
        with self._counting:
            return {"connections": connections, "requests": dict(self._requests), "sent": dict(self._sent), "heads": list(self._heads)}

    def _settle(self, server: FaultServer) -> None:
        """Call ourselves, because connections are accepted in their order; then wait until all of them have ended."""
        with socket.socket() as caller:
            caller.bind(("127.0.0.1", 0))
            self._own_calls += 1
            self._callers.add(caller.getsockname()[1])
            caller.connect(("127.0.0.1", self.port))
            caller.settimeout(PATIENCE)
            with suppress(ConnectionError):
                caller.recv(1)
        server.wait_ended(server.connections)

    def _dig(self) -> None:
        """Listen with a queue that is full, so that nobody hears anything."""
        listening = self._hole.enter_context(socket.create_server(("127.0.0.1", self.port), backlog=0, reuse_port=True))
        for _ in range(2):
            filler = self._hole.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())

    def _open(self, connection: Connection) -> None:
        caller = connection.sock.getpeername()[1]
        if caller in self._callers:
            self._callers.discard(caller)
            raise PeerLeftError
        Conversation(connection, self).play(self.opening)

    def _serve(self, connection: Connection) -> None:
        conversation = Conversation(connection, self)
        conversation.play(self.greeting)
        head = connection.request().decode("latin-1")
        path = head.split(" ", 2)[1].partition("?")[0]
        with self._counting:
            self._requests[path] += 1
            self._heads.append(head)
        before = connection.sent
        try:
            conversation.play(self._actions(path))
        finally:
            with self._counting:
                self._sent[path] += connection.sent - before

    def _actions(self, path: str) -> list[Action]:
        for layer in self.layers.values():
            turns = layer.get(path) or layer.get("*")
            if turns is not None:
                return turns.take()
        return NOT_FOUND


class Rig:
    """What the commands do. Each is a method `on_<name>` that takes a command's values and returns the answer's."""

    def __init__(self) -> None:
        self._listeners: dict[int, Listener] = {}

    def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command; a failure becomes the answer."""
        act: Callable[..., dict[str, Any] | None] = getattr(self, f"on_{command.pop('do')}")
        try:
            return act(**command) or {}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def on_listen(self, tls: dict[str, Any] | None) -> dict[str, Any]:
        """Open a listener; its port is its name."""
        listener = Listener(context_of(tls))
        self._listeners[listener.port] = listener
        return {"port": listener.port}

    def on_close(self, port: int) -> None:
        """Close a listener."""
        self._listeners.pop(port).close()

    def on_script(self, port: int, layer: str, paths: dict[str, list[dict[str, Any]]]) -> None:
        """Replace all the scripts of a layer."""
        self._listeners[port].layers[layer] = {path: Turns(turns) for path, turns in paths.items()}

    def on_stage(self, port: int, opening: list[Action], greeting: list[Action]) -> None:
        """Replace what comes before the handshake, and before the request."""
        self._listeners[port].opening, self._listeners[port].greeting = opening, greeting

    def on_door(self, port: int, state: Door) -> None:
        """Serve, refuse or ignore connections."""
        self._listeners[port].door(state)

    def on_certificate(self, port: int, tls: dict[str, Any] | None) -> None:
        """Change what handshakes are made with."""
        self._listeners[port].certificate(context_of(tls))

    def on_gate(self, port: int, name: str) -> None:
        """Open a gate, for those at it and for those who come later."""
        self._listeners[port].gates.setdefault(name, threading.Event()).set()

    def on_counts(self, port: int, *, settled: bool) -> dict[str, Any]:
        """Return a listener's account."""
        return self._listeners[port].counts(settled=settled)


def context_of(tls: dict[str, Any] | None) -> ssl.SSLContext | None:
    """Return a server's context: a chain of certificates with its key and, if named, the one version and the ciphers that are offered."""
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls["chain"])
    if tls.get("version"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion[tls["version"]]
    if tls.get("ciphers"):
        context.set_ciphers(tls["ciphers"])
    return context


def main() -> None:
    """Obey until the input ends; threads of connections end with the process."""
    # Old versions of TLS are offered on purpose.
    warnings.simplefilter("ignore", DeprecationWarning)
    rig = Rig()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(rig.obey(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

"""A name server for the rows that need one: it answers for names below `rig.test` as it is told, and for others as ever.

Only F1, F2, F17 and F19 replace `socket.getaddrinfo`; every other row asks for an address.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

OURS = ".rig.test"
LOGIN = "login.rig.test"
PATIENCE = 30.0

Address = tuple[str, int | None]
"""An IP address, and its port if it is not the one that was asked for."""


class Resolver:
    """Stands for `socket.getaddrinfo`; leads to loopback until it is told otherwise.

    Attributes:
        asked: Names below `rig.test` that were asked for, in their order.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._rule: Callable[[str], list[Address]] = _loopback
        self._real = socket.getaddrinfo

    def __call__(self, host: Any, port: Any, *arguments: Any, **keywords: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if not isinstance(name, str) or not name.endswith(OURS):
            return self._real(host, port, *arguments, **keywords)
        self.asked.append(name)
        return [_found(address, int(port if given is None else given)) for address, given in self._rule(name)]

    @contextmanager
    def following(self, rule: Callable[[str], list[Address]]) -> Iterator[None]:
        """Answer by *rule* until the context ends."""
        self._rule = rule
        try:
            yield
        finally:
            self._rule = _loopback

    @contextmanager
    def leading(self, *addresses: Address) -> Iterator[None]:
        """Answer with these addresses, in this order."""
        with self.following(lambda _: list(addresses)):
            yield

    @contextmanager
    def failing(self, code: int) -> Iterator[None]:
        """Answer with an error."""

        def fail(_: str) -> list[Address]:
            raise socket.gaierror(code, "made up")

        with self.following(fail):
            yield

    @contextmanager
    def hanging(self, then: Callable[[str], list[Address]]) -> Iterator[threading.Event]:
        """Give no answer until the context ends, or the event that it yields is set; *then* answers those who hang."""
        let_go = threading.Event()

        def hang(name: str) -> list[Address]:
            assert let_go.wait(PATIENCE)
            return then(name)

        try:
            with self.following(hang):
                yield let_go
        finally:
            let_go.set()


def unknown(_: str) -> list[Address]:
    """Answer that there is no such name."""
    raise socket.gaierror(socket.EAI_NONAME, "made up")


def _loopback(_: str) -> list[Address]:
    return [("127.0.0.1", None)]


def _found(address: str, port: int) -> tuple[Any, ...]:
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))

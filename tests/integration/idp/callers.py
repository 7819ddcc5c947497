"""Those who call a validator while its issuer rolls its keys over: threads, event loops, and an attacker.

1. Nothing here sleeps: every wait is for an event or a count, and gives up loudly.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import queue
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import jwt
import trio
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyturn import TokenValidator
from keyturn.clock import Deadline
from keyturn.errors import KeyturnError
from keyturn.events import Event

PATIENCE_SECONDS = 30.0

E = TypeVar("E", bound=Event)


class Stream:
    """Threads that validate a growing list of tokens over and over, from the start of the block to its end.

    Attributes:
        refused: Every error that a token met.
    """

    def __init__(self, validator: TokenValidator, *tokens: str, threads: int = 4) -> None:
        self.refused: list[KeyturnError] = []
        self._validator = validator
        self._tokens = list(tokens)
        self._accepted: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._validate) for _ in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)

    def add(self, token: str) -> None:
        """Let the threads validate *token* too."""
        self._tokens = [*self._tokens, token]

    def wait_for_more(self, times: int = 50) -> None:
        """Return once each token was accepted *times* more, or any was refused."""
        with self._changed:
            goal = {token: self._accepted[token] + times for token in self._tokens}
            done = self._changed.wait_for(
                lambda: self.refused or all(self._accepted[token] >= count for token, count in goal.items()), PATIENCE_SECONDS
            )
        assert done, "expected answers from the validator, got none: it hangs"

    def _validate(self) -> None:
        while not self._ended.is_set():
            for token in self._tokens:
                try:
                    self._validator.validate(token)
                except KeyturnError as error:
                    self.refused.append(error)
                else:
                    with self._changed:
                        self._accepted[token] += 1
                with self._changed:
                    self._changed.notify_all()


class EventLog:
    """An `on_event` handler that a test can wait on: events arrive on a thread of the client."""

    def __init__(self) -> None:
        self._events: queue.Queue[Event] = queue.Queue()

    def __call__(self, event: Event) -> None:
        self._events.put(event)

    def next(self, kind: type[E]) -> E:
        """Return the next event of *kind* and drop those before it; fail if none comes."""
        deadline = Deadline(PATIENCE_SECONDS)
        passed: list[Event] = []
        while True:
            try:
                event = self._events.get(timeout=deadline.left())
            except queue.Empty:
                message = f"expected {kind.__name__}, got {passed}"
                raise AssertionError(message) from None
            if isinstance(event, kind):
                return event
            passed.append(event)


def until(condition: Callable[[], bool]) -> None:
    """Ask *condition* until it holds; fail if it never does. Each question is a request, so nothing spins."""
    deadline = Deadline(PATIENCE_SECONDS)
    while not condition():
        assert not deadline.over(), "expected a condition to hold in time, it never did"


# --- Event loops ----------------------------------------------------------------------------------------------------


class AsyncioLoop:
    """Runs coroutines on asyncio."""

    @staticmethod
    def run(main: Callable[[], Awaitable[None]]) -> None:
        """Run *main* on a loop of its own."""

        async def inner() -> None:
            await main()

        asyncio.run(inner())

    @staticmethod
    async def all(calls: Sequence[Callable[[], Awaitable[Any]]]) -> list[Any]:
        """Run *calls* at the same time and return their results."""
        return list(await asyncio.gather(*(call() for call in calls)))

    @staticmethod
    async def in_thread(call: Callable[[], str]) -> str:
        """Run a blocking *call* beside the loop."""
        return await asyncio.to_thread(call)


class TrioLoop:
    """Runs coroutines on trio."""

    @staticmethod
    def run(main: Callable[[], Awaitable[None]]) -> None:
        """Run *main* on a loop of its own."""
        trio.run(main)

    @staticmethod
    async def all(calls: Sequence[Callable[[], Awaitable[Any]]]) -> list[Any]:
        """Run *calls* at the same time and return their results."""
        results: list[Any] = [None] * len(calls)

        async def keep(place: int) -> None:
            results[place] = await calls[place]()

        async with trio.open_nursery() as nursery:
            for place in range(len(calls)):
                nursery.start_soon(keep, place)
        return results

    @staticmethod
    async def in_thread(call: Callable[[], str]) -> str:
        """Run a blocking *call* beside the loop."""
        return await trio.to_thread.run_sync(call)


# --- An attacker ----------------------------------------------------------------------------------------------------


def signed_with_public_key(token: str, jwk: dict[str, Any]) -> dict[str, str]:
    """Return copies of *token* signed by HMAC, with each form of the public key as the secret (RFC 8725, section 2.1)."""
    public = jwt.PyJWK(jwk).key
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    secrets = {
        "PEM": pem,
        "PEM without its last line feed": pem.rstrip(),
        "DER": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "JWK": json.dumps(jwk).encode(),
        "modulus": jwk["n"].encode(),
    }
    return {form: _hmac_signed(token, secret) for form, secret in secrets.items()}


def _hmac_signed(token: str, secret: bytes) -> str:
    header = {**jwt.get_unverified_header(token), "alg": "HS256"}
    signed = b".".join((_base64url(json.dumps(header).encode()), token.split(".")[1].encode()))
    return b".".join((signed, _base64url(hmac.digest(secret, signed, hashlib.sha256)))).decode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")

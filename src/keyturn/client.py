"""One issuer's published keys, kept current: the client that threads, asyncio and trio share."""

from __future__ import annotations

import os
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context
from typing import Any, NoReturn, TypeVar

from keyturn._core.jwk import MAX_KID, SigningKey
from keyturn._core.key_set import KeySet
from keyturn._core.policy import RolloverPolicy
from keyturn._core.revocation import Revocation, normal_thumbprint
from keyturn._core.revoking import Change, reinstate, revoke, take_in
from keyturn._core.signatures import ALGORITHMS
from keyturn._core.state import Failure, KeySetState
from keyturn._core.token import check_header
from keyturn._delivery import Delivery, handlers_of, logger
from keyturn._flight import Flight
from keyturn._inquiry import Inquiry, Verifies, refresh_error, unstartable
from keyturn._keeper import Keeper
from keyturn._keeping import KeepFresh
from keyturn._reading import Source, source_of
from keyturn._refreshing import Refreshing
from keyturn._threads import start
from keyturn._waiting import Latch, on_event_loop
from keyturn.clock import Clock, SystemClock, read
from keyturn.errors import ConfigurationError, MalformedTokenError, quoted
from keyturn.events import EventHandler
from keyturn.fetching import Fetcher, HttpxFetcher
from keyturn.status import KeySetStatus, status_of
from keyturn.stores.store import Store

T = TypeVar("T")

MANY_CLIENTS = 10
"""Equal clients after which one warning says that they are built over and over."""

_built: Counter[tuple[str, str]] = Counter()
_alive: weakref.WeakSet[KeySetClient] = weakref.WeakSet()


class KeySetClient:
    """One issuer's published keys, kept current through every rollover. A `KeySource`.

    One object serves any number of threads and event loops at once; build it once and share it. Building it opens nothing. A key
    that is held is served without waiting; everything else is decided by the rules in "Rollover".

    Args:
        issuer: The issuer, compared character by character. An https URL, unless a location is given: then it is a name.
        discovery_url: Where the discovery document stands, if not where the issuer says (OpenID Connect Discovery, section 4).
        jwks_url: Where the key set stands, if no discovery document is to be read.
        metadata_url: Where the issuer's federation metadata stands, if that is where its keys are published (SAML, WS-Federation); the
            issuer is then the entityID.
        metadata_signer: SHA-256 thumbprint of the certificate that must have signed the federation metadata, or several of which one must
            have; nobody unless given. Needs `keyturn[saml]`.
        policy: The numbers of rollover.
        fetcher: Reads documents; `HttpxFetcher()` unless given.
        store: What survives a restart, or None.
        clock: Time as the rules see it; the machine's unless given.
        revoked: Thumbprints of keys that are revoked from the start (R11).
        on_event: One function, or several, called with every event.

    Raises:
        ConfigurationError: A setting is wrong.

    Attributes:
        issuer: The configured issuer.
        policy: The numbers in force.
    """

    def __init__(
        self,
        issuer: str,
        *,
        discovery_url: str | None = None,
        jwks_url: str | None = None,
        metadata_url: str | None = None,
        metadata_signer: str | Iterable[str] = (),
        policy: RolloverPolicy | None = None,
        fetcher: Fetcher | None = None,
        store: Store | None = None,
        clock: Clock | None = None,
        revoked: Iterable[str] = (),
        on_event: EventHandler | Iterable[EventHandler] = (),
    ) -> None:
        self.policy = _checked(policy, RolloverPolicy, "policy") or RolloverPolicy()
        self._fetcher = HttpxFetcher(connect_timeout=self.policy.connect_timeout) if fetcher is None else fetcher
        for part, kind, setting in ((self._fetcher, Fetcher, "fetcher"), (store, Store, "store"), (clock, Clock, "clock")):
            _checked(part, kind, setting)
        self._source = self._adapted(
            source_of(issuer, discovery=discovery_url, jwks=jwks_url, metadata=metadata_url, signers=metadata_signer, fetcher=self._fetcher)
        )
        self.issuer = self._source.issuer
        self._clock = clock or SystemClock()
        self._refreshing = Refreshing(self._source, self._fetcher, store)
        self._keeper = Keeper(
            self._first_state(revoked), self.policy, self._clock, deliver=Delivery(handlers_of(on_event)), run=self._run, renewed=self._renewed
        )
        self._warned = self._prepared = False
        self._errands: set[Latch] = set()
        self._refresher: KeepFresh | None = None
        _alive.add(self)
        if clock is None:
            # A clock of its own means a test, and each test has a client of its own.
            _count(self._source)

    # Keys.

    def keys_for(self, header: Mapping[str, Any]) -> tuple[SigningKey, ...]:
        """Return the keys that fit a token's header, in the order of their thumbprints; waits for a refresh if it must (R4).

        Args:
            header: The JOSE header of a token: `alg`, and `kid` or a certificate thumbprint.

        Raises:
            UnknownKeyError: The issuer publishes no such key.
            RevokedKeyError: Every key that fits was revoked.
            KeysUnavailableError: The keys could not be read, or not in time.
            MalformedTokenError: The header cannot be one of a token.
        """
        return self._held_for(header) or self._find(self._inquiry(header, None)).found

    async def keys_for_async(self, header: Mapping[str, Any]) -> tuple[SigningKey, ...]:
        """Return the same as `keys_for()`, without blocking the event loop (asyncio or trio)."""
        return self._held_for(header) or (await self._find_async(self._inquiry(header, None))).found

    def snapshot(self) -> KeySet:
        """Return the keys that are held now, vanished ones within their grace among them; never waits, never fetches."""
        return self._keeper.state.held

    # Operators.

    def refresh(self) -> KeySetStatus:
        """Ask the issuer now, whatever allowance and backoff say, and return the status after it.

        A refresh that is running is waited for, and followed by one of our own: what is returned was asked for after the call.

        Raises:
            KeysUnavailableError: What went wrong.
        """
        self._prepare()
        while True:
            flight, own = self._keeper.order("operator")
            self._wait(flight, self.policy.deadline)
            if own:
                return self._outcome(flight)

    async def refresh_async(self) -> KeySetStatus:
        """Do the same as `refresh()`, without blocking the event loop."""
        self._prepare()
        while True:
            flight, own = self._keeper.order("operator")
            await self._wait_async(flight, self.policy.deadline)
            if own:
                return self._outcome(flight)

    def status(self) -> KeySetStatus:
        """Return where this client stands; a look at a cold or overdue one starts its refresh in the background."""
        self._prepare()
        self._keeper.look()
        return status_of(self._keeper.state, self.policy, read(self._clock), self._source.location, self._keeper.last_used)

    def revoke(self, *, kid: str | None = None, thumbprint: str | None = None) -> None:
        """Refuse a key from now on, whatever the issuer publishes (R11).

        Args:
            kid: Every key held under this kid; if none is, the first that appears under it.
            thumbprint: One key, by RFC 7638 thumbprint, `x5t` or `x5t#S256`, in base64url or hex.

        Raises:
            ConfigurationError: Not exactly one of them, or not a thumbprint.
        """
        kid, thumbprint = _one_name(kid, thumbprint)
        self._record(self._keeper.change(lambda state, now: revoke(state, now, kid=kid, thumbprint=thumbprint)))

    def reinstate(self, *, kid: str | None = None, thumbprint: str | None = None) -> None:
        """Take a revocation back (R11), one that another process recorded in the store too: that is read first.

        Args:
            kid: Every key that was revoked under this kid, and the kid itself.
            thumbprint: One key.

        Raises:
            ConfigurationError: Not exactly one of them, or not a thumbprint.
        """
        kid, thumbprint = _one_name(kid, thumbprint)
        if self._refreshing.has_store:
            # What nobody here knows of could not be taken back, and would be taken in with the next look.
            self._run_errand(lambda: self._refreshing.take_revocations_now(self._keeper), "keyturn-store-look", wait=self.policy.deadline)
        self._record(self._keeper.change(lambda state, now: reinstate(state, now, kid=kid, thumbprint=thumbprint)))

    def keep_fresh(self) -> KeepFresh:
        """Return a context manager, for `with` and `async with`, that refreshes on time although no token comes.

        It is optional: without it, traffic and looks at readiness do the same. Its one daemon thread never keeps the process alive.
        """
        self._prepare()
        self._refresher = KeepFresh(self._keeper, self._clock)
        return self._refresher

    def __repr__(self) -> str:
        """Return issuer, location and number of keys."""
        return f"<KeySetClient {quoted(self.issuer)} at {quoted(self._source.location)}, {len(self._keeper.state.held.keys)} keys>"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: locks and threads do not travel."""
        raise TypeError("a KeySetClient cannot be pickled; build one in each process, or share keys through a store")

    # For presets.

    def _adapted(self, source: Source) -> Source:
        """Return *source* as it is; a preset's client names what differs at its issuer."""
        return source

    # For the validator.

    def _inquiry(self, header: Mapping[str, Any], verifies: Verifies | None) -> Inquiry:
        # Before the question's time runs: the first import of an HTTP library takes a good part of it on a busy machine.
        self._prepare()
        return Inquiry(self._keeper, header, self._source.location, verifies)

    def _find(self, inquiry: Inquiry) -> Inquiry:
        while (flight := inquiry.step()) is not None:
            try:
                self._wait(flight, inquiry.left())
            finally:
                inquiry.woken(flight)
        return inquiry

    async def _find_async(self, inquiry: Inquiry) -> Inquiry:
        while (flight := inquiry.step()) is not None:
            try:
                await self._wait_async(flight, inquiry.left())
            finally:
                inquiry.woken(flight)
        return inquiry

    # Waiting, and what a wait is for.

    def _wait(self, flight: Flight, seconds: float) -> None:
        if flight.unstarted and flight.claim():
            self._run(flight)
            return
        if not self._warned and on_event_loop():
            self._warned = True
            logger.warning("validate() has to wait on a thread that runs an event loop, and blocks it: use validate_async() there")
        flight.latch.wait(seconds)

    async def _wait_async(self, flight: Flight, seconds: float) -> None:
        if flight.unstarted and flight.claim():
            error = unstartable()
            if not self._keeper.put_off(flight, Failure(error.code, error.message, error.hint, self._source.location)):
                raise error
            return
        await flight.latch.wait_async(seconds)

    def _run(self, flight: Flight) -> None:
        self._refreshing.run(self._keeper, flight)

    def _outcome(self, flight: Flight) -> KeySetStatus:
        if flight.succeeded:
            return status_of(self._keeper.state, self.policy, read(self._clock), self._source.location, self._keeper.last_used)
        raise refresh_error(flight, self._keeper)

    def _prepare(self) -> None:
        """Do on a caller's thread what a refresh thread must not: import a library. And start what the store asks for."""
        if not self._prepared:
            prepare = getattr(self._fetcher, "prepare", None)
            if prepare is not None:
                prepare()
            self._prepared = True
        if self._refreshing.is_time_to_look(self._keeper):
            self._run_errand(lambda: self._refreshing.take_revocations(self._keeper), "keyturn-store-look", wait=0.0)

    def _record(self, change: Change) -> None:
        """Keep entries of an operator in the store before the call returns, as long as the store answers within the deadline."""
        if change.entries:
            self._run_errand(lambda: self._refreshing.record_now(self._keeper, change.entries), "keyturn-store-record", wait=self.policy.deadline)

    def _run_errand(self, run: Callable[[], None], name: str, *, wait: float) -> None:
        """Run what is not a refresh on a thread of its own, and wait for it at most *wait* seconds."""
        done = Latch()
        self._errands.add(done)

        def and_tell() -> None:
            try:
                run()
            finally:
                self._errands.discard(done)
                done.set()

        try:
            start(and_tell, name, Context())
        except RuntimeError:
            and_tell()
        done.wait(wait)

    def _first_state(self, revoked: Iterable[str]) -> KeySetState:
        """Return the state before any answer; the configuration's revocations are renewed with each process, whatever a store says."""
        if isinstance(revoked, str) or not isinstance(revoked, Iterable):
            raise ConfigurationError(f"revoked is {quoted(revoked)}, expected a list of thumbprints (setting: revoked)")
        now, interval = read(self._clock), self.policy.refresh_interval
        entries = [Revocation("thumbprint", normal_thumbprint(text), int(now.wall * 1000), "revoked") for text in revoked]
        return take_in(KeySetState(self.issuer, interval, interval), now, entries).state

    def _renewed(self) -> None:
        """Follow the keeper into the child of a fork."""
        self._refreshing = self._refreshing.renewed()
        self._keeper.deliver = self._keeper.deliver.renewed()
        self._errands = set()
        if self._refresher is not None:
            self._refresher.renew()

    def _is_idle(self) -> bool:
        """Return whether no thread of this client is at work, `keep_fresh()` apart; for tests, which must not guess."""
        process = self._keeper._process()  # noqa: SLF001
        # In this order: whoever ends a refresh is still in a step until it has queued what it tells.
        return process.flight is None and not process.steps and not self._errands and self._keeper.deliver.is_idle()

    def _held_for(self, header: Mapping[str, Any]) -> tuple[SigningKey, ...]:
        if not isinstance(header, Mapping):
            raise MalformedTokenError(f"expected the header as a mapping, got {type(header).__name__}")
        check_header(header, ALGORITHMS)
        return tuple(key for key, _ in self._keeper.held_now(header.get("kid"), header["alg"]))


def _one_name(kid: str | None, thumbprint: str | None) -> tuple[str | None, str | None]:
    if (kid is None) == (thumbprint is None):
        raise ConfigurationError('expected either kid or thumbprint, for example revoke(kid="k1") (settings: kid, thumbprint)')
    if thumbprint is not None:
        return None, normal_thumbprint(thumbprint)
    if not isinstance(kid, str) or len(kid) > MAX_KID or not _is_unicode(kid):
        raise ConfigurationError(f"kid is {quoted(kid)}, expected Unicode text of at most {MAX_KID} characters (setting: kid)")
    return kid, None


def _is_unicode(text: str) -> bool:
    # Command lines hand over undecodable bytes as lone surrogates, which no document can hold and no store can keep.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _checked(value: T, kind: type[Any], setting: str) -> T:
    if value is None or isinstance(value, kind):
        return value
    raise ConfigurationError(f"{setting} is {quoted(value)}, expected {kind.__name__} (setting: {setting})")


def _count(source: Source) -> None:
    """Warn once about a client per request: it fetches per request, and the issuer answers with 429."""
    place = (source.issuer, source.location)
    _built[place] += 1
    if _built[place] == MANY_CLIENTS:
        logger.warning("%d clients of issuer %s were built in this process: build one, and share it", MANY_CLIENTS, quoted(source.issuer))


def _after_fork() -> None:
    for client in list(_alive):
        client._keeper.renew()  # noqa: SLF001 - this module's own class


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

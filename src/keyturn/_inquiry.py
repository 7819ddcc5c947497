"""One token's question for its key, from the first look to the answer, however often it has to wait.

The question is the same for a thread and for a coroutine: `step()` answers it, refuses it, or names the refresh to wait for. Only
the waiting between two steps differs, and that is the client's.

Rules of this file:

1. A refresh that began after the question was asked settles it; one that ran already, or that found an older set in the store, is
   followed by one more, if the allowance is there, because that set may have been read a moment before the rollover.
2. A token that verifies under no key that fits it is treated like one with an unknown key, but ends as an invalid signature.
3. A token that verifies under a revoked key ends there, without a refresh (R11).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from keyturn._core.jwk import SigningKey
from keyturn._core.key_set import Candidates
from keyturn._core.rollover import Refuse
from keyturn._core.state import Failure
from keyturn._flight import Flight
from keyturn._keeper import Keeper, Match
from keyturn.clock import Deadline, read
from keyturn.errors import (
    DiscoveryError,
    FetchError,
    InvalidKeySetError,
    InvalidSignatureError,
    KeysUnavailableError,
    KeyturnError,
    RevokedKeyError,
    UnknownKeyError,
    quoted,
)

Verifies = Callable[[SigningKey], bool]
"""Whether a key verifies the token that asks."""

_ERRORS: Mapping[str, type[KeysUnavailableError]] = {kind.code: kind for kind in (FetchError, DiscoveryError, InvalidKeySetError)}
_KIDS_SHOWN = 20


class Inquiry:
    """One question. Made on the slow path only.

    Attributes:
        found: Once `step()` returned None: the keys that fit or, if a signature was asked about, the one that verified it.
        match: The last look for keys that fit, from which `found` comes.
        waited: Whether the answer came after a wait, so that time has passed.
    """

    match: Match

    def __init__(self, keeper: Keeper, header: Mapping[str, Any], location: str, verifies: Verifies | None) -> None:
        self.found: tuple[SigningKey, ...] = ()
        self.waited = False
        self._keeper = keeper
        self._header = header
        self._location = location
        self._verifies = verifies
        self._deadline = Deadline(keeper.policy.deadline)
        self._arrived = keeper.attempts
        self._settled = False
        self._failure: Failure | None = None
        self._unverified = False
        self._counted = False

    def step(self) -> Flight | None:
        """Return the refresh to wait for, or None when the question is answered.

        Raises:
            KeyturnError: The answer is no.
        """
        self.match = match = self._keeper.matching(self._header)
        if match.held.keys or match.banned.keys:
            waited_for = self._keeper.ask_held()
            if isinstance(waited_for, Refuse):
                raise self._unavailable(waited_for.retry_after)
            if waited_for is not None and (self._deadline.left() or not self._keeper.is_usable()):
                return self._patient(waited_for)
            # A caller who waited for an overdue refresh in vain is served with what is held, as if it had failed (R3). The decision may
            # have ended a grace: what was held a moment ago is looked up again.
            self.match = match = self._keeper.matching(self._header)
            if self._answered(match.held):
                self._keeper.remember(self._header, match)
                return None
            self._refuse_revoked(match.banned)
        self._unverified = bool(match.held.keys or match.banned.keys)
        return self._missing(match)

    def left(self) -> float:
        """Return the real seconds that this question may still wait."""
        return self._deadline.left()

    def woken(self, flight: Flight) -> None:
        """Take note of what became of *flight*, after a wait of whatever length and end."""
        self.waited = True
        self._uncount(flight)
        if flight.failure is not None:
            self._failure = flight.failure
        elif flight.succeeded and flight.is_news and flight.number > self._arrived:
            self._settled = True

    def _uncount(self, flight: Flight) -> None:
        if self._counted:
            self._counted = False
            self._keeper.left(flight)

    def _answered(self, held: Candidates) -> bool:
        if self._verifies is None:
            self.found = held.keys
            return bool(held.keys)
        self.found = tuple(itertools.islice((key for key in held.keys if self._verifies(key)), 1))
        for key in self.found:
            self._keeper.used(key)
        return bool(self.found)

    def _refuse_revoked(self, banned: Candidates) -> None:
        for key in banned.keys:
            if self._verifies is None or self._verifies(key):
                raise RevokedKeyError(f"the key {quoted(key.kid or key.thumbprint)} of issuer {quoted(self._keeper.state.issuer)} was revoked here")

    def _missing(self, match: Match) -> Flight | None:
        held = match.held
        if self._settled:
            raise self._not_found(held, None)
        if self._failure is not None:
            raise self._failed(self._failure, held)
        decision = self._keeper.ask_missing(self._keeper.state.held.handle(self._header), match)
        if decision is None:
            return self.step()
        if isinstance(decision, Refuse):
            raise self._refused(decision, held)
        self._counted = True
        return self._patient(decision)

    def _patient(self, flight: Flight) -> Flight:
        self._keeper.refuse_itself()
        if not self._deadline.left():
            self._uncount(flight)
            raise KeysUnavailableError(
                f"the keys of issuer {quoted(self._keeper.state.issuer)} did not come within {self._keeper.policy.deadline:g} s (setting: deadline)",
                retry_after=1,
            )
        return flight

    # Saying no.

    def _refused(self, decision: Refuse, held: Candidates) -> KeyturnError:
        if self._unverified and self._header.get("kid") is not None:
            # The set answers for this kid: whatever keeps us from asking again, this signature is not its key's.
            return self._not_found(held, None)
        if decision.code == "keys_unavailable":
            return self._unavailable(decision.retry_after)
        return self._not_found(held, decision.retry_after)

    def _failed(self, failure: Failure, held: Candidates) -> KeyturnError:
        if self._unverified and self._header.get("kid") is not None:
            return self._not_found(held, None)
        return _error(failure, self._keeper)

    def _unavailable(self, retry_after: float) -> KeyturnError:
        state = self._keeper.state
        if self._failure is not None:
            return self._failed(self._failure, Candidates())
        last = f": {state.failure.message}" if state.failure else ""
        return KeysUnavailableError(f"the keys of issuer {quoted(state.issuer)} cannot be read now{last}", retry_after=retry_after)

    def _not_found(self, held: Candidates, retry_after: float | None) -> KeyturnError:
        if self._unverified:
            return InvalidSignatureError(self._signature_text(held), hint=self._signature_hint(held), retry_after=retry_after)
        return UnknownKeyError(self._unknown_text(), hint=self._unknown_hint(retry_after), retry_after=retry_after)

    def _signature_text(self, held: Candidates) -> str:
        keys = "the one key that fits" if held.total == 1 else f"any of {held.total} keys that fit"
        return f"the signature does not verify under {keys} {self._named()} of issuer {quoted(self._keeper.state.issuer)}"

    def _signature_hint(self, held: Candidates) -> str:
        if held.total > len(held.keys):
            tried = f"{held.total} keys fit this token, and {len(held.keys)} were tried (setting: max_candidates)."
            return f"{tried} An issuer that names its keys needs one try."
        return "The token was altered, or signed with a key that the issuer does not publish."

    def _unknown_text(self) -> str:
        keeper, now = self._keeper, read(self._keeper.clock)
        state = keeper.state
        kids = [key.kid for key in state.held.keys if key.kid is not None]
        shown = ", ".join(quoted(kid) for kid in sorted(set(kids))[:_KIDS_SHOWN]) or "none"
        more = f" and {len(set(kids)) - _KIDS_SHOWN} more" if len(set(kids)) > _KIDS_SHOWN else ""
        return (
            f"no key of issuer {quoted(state.issuer)} fits {self._named()}; {quoted(self._location)}, read {state.age(now):.0f} s ago, "
            f"publishes {shown}{more}; next refresh in {max(0.0, state.line - state.age(now)):.0f} s"
        )

    def _unknown_hint(self, retry_after: float | None) -> str:
        reason = self._keeper.state.held.why_not(self._header)
        if reason:
            return f"A key of that name is published, but it {reason}."
        if retry_after is not None:
            return "The keys were asked for a moment ago; a key published since is found at the next refresh (setting: on_demand_interval)."
        return "The issuer does not publish such a key: the token may come from another issuer or environment, or be forged."

    def _named(self) -> str:
        handle = self._keeper.state.held.handle(self._header)
        if handle.member is None:
            return f"algorithm {quoted(self._header.get('alg'))}, without a kid,"
        return f"{handle.member} {quoted(handle.value)} and algorithm {quoted(self._header.get('alg'))}"


def refresh_error(flight: Flight, keeper: Keeper) -> KeysUnavailableError:
    """Return why a refresh brought nothing: its failure, or that it is not over."""
    if flight.failure is not None:
        return _error(flight.failure, keeper)
    return KeysUnavailableError(f"the refresh was not over within {keeper.policy.deadline:g} s (setting: deadline)", retry_after=1)


def unstartable() -> KeysUnavailableError:
    """Return the error of a coroutine where no thread can be started."""
    return KeysUnavailableError(
        "no thread can be started here to read the issuer's keys",
        hint="Allow this process threads (uWSGI: enable-threads), or call validate() before the event loop starts.",
        retry_after=1,
    )


def _error(failure: Failure, keeper: Keeper) -> KeysUnavailableError:
    # A new exception for each caller: a shared one would collect the traceback of every caller.
    kind = _ERRORS.get(failure.code, KeysUnavailableError)
    return kind(failure.message, hint=failure.hint or None, retry_after=keeper.state.backoff_left(read(keeper.clock)))

"""A client whose every request and every verdict is compared with the model, whatever its issuer, its clocks and its process do.

Rules of this file:

1. The model is told of requests only: when each came, what was published then, and what became of it.
2. A token is judged once; whether it had to pass, or could not, is worked out before and after.
3. Nothing that is told or raised holds a token, or a signature of one (I5).
"""

from __future__ import annotations

import copy
import logging
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any, Literal

from tests.rollover.helpers import DAY, LONG, Caller, World
from tests.rollover.model import Model, Moment, Published

from keyturn import KeyReplaced, KeySet, KeySetChanged, KeyturnError, RolloverPolicy, Store
from keyturn.clock import Deadline
from keyturn.testing import Gate

End = Literal["answers", "late", "fork"]
"""How a request ends that was held: answered, given up at its deadline, or left to the parent of a fork."""

Tokens = Sequence[tuple[str, str]]
"""Tokens, each with the thumbprint of its key."""

SKEW = 60.0
"""Seconds by which a snapshot may come from the future (Z17)."""

_SIGNATURE = re.compile(r"[A-Za-z0-9_-]{80,}")


class Watched(World):
    """An issuer, one client of it, and the model of that client.

    Args:
        policy: The numbers of rollover.
        draw: What the keeper draws, each time.
        store: What survives `restart()`.
        **settings: Whatever else `World` takes.
    """

    def __init__(self, policy: RolloverPolicy, *, draw: float, store: Store | None, **settings: Any) -> None:
        self.model = Model(policy, draw)
        self.healthy = True
        self.kept: tuple[Published, Moment] | None = None
        self.signatures: set[str] = set()
        self.lines = Lines()
        self._fault = ExitStack()
        self._retry_after: float | None = None
        super().__init__(policy, draw=draw, store=store, **settings)
        logging.getLogger("keyturn").addHandler(self.lines)

    def close(self) -> None:
        """Let nothing of this world outlive its series."""
        self.recover()
        self.idle()
        logging.getLogger("keyturn").removeHandler(self.lines)

    def begin_anew(self) -> None:
        """Start a new process; what it knows comes from the store, or from nowhere but the configuration (F82)."""
        self.idle()
        revoked, stored = self.model.revoked, self.store is not None
        self.model = Model(self.policy, self.draw, revoked=revoked, awaited_kids=self.model.awaited_kids if stored else set())
        self.restart(revoked=() if stored else sorted(revoked))
        before, now = self.requests, self.now
        self.client.status()
        self.idle()
        if stored and self.kept is not None:
            self._load(*self.kept, now, asked_nobody=self.requests == before)
        self.noted(before)

    def _load(self, published: Published, asked: Moment, now: Moment, *, asked_nobody: bool) -> None:
        """Check what became of the snapshot, and take it in."""
        ahead, age = asked.wall - now.wall, max(0.0, now.wall - asked.wall)
        is_used = ahead <= SKEW and age < self.policy.refresh_interval + self.policy.max_stale
        assert asked_nobody == (is_used and age < self.policy.refresh_interval), "a snapshot is used until it is due, and no longer"
        if is_used:
            self.model.takes(published, Moment(now.monotonic - age, asked.wall), now)
            # The refresh that found it counts, and asked the issuer only if the snapshot was past due.
            self.model.tried = now if asked_nobody else None

    @property
    def now(self) -> Moment:
        """Both clocks."""
        return Moment(self.clock.monotonic(), self.clock.wall())

    # What the issuer publishes.

    def in_state(self, *states: str) -> list[str]:
        """Return the kids in one of these states."""
        return [kid for kid, key in self.issuer._keys.items() if key.state in states]

    def whole(self) -> list[str]:
        """Return the kids whose entry is published and serves."""
        return [kid for kid in self.in_state("published") if not self.issuer._keys[kid].members]

    def published(self) -> Published:
        """Return the thumbprints that are published now, in entries that serve."""
        return {kid: {self.key_of(kid)} for kid in self.whole()}

    def key_of(self, kid: str) -> str:
        """Return the thumbprint of the key that signs under *kid*, published or not, whatever became of its entry."""
        (key,) = KeySet.from_jwks({"keys": [self.issuer._keys[kid].private.public_members()]}).keys
        return key.thumbprint

    def lasting_token(self, kid: str, **more: Any) -> str:
        """Return a token that no step of the clock makes too old or too new."""
        return self.issuer.token(key=kid, lifetime=400 * DAY, iat=1_700_000_000, **more)

    def fall_ill(self, fault: AbstractContextManager[object], retry_after: float | None = None) -> None:
        """Fail from now on."""
        self.recover()
        self._fault.enter_context(fault)
        self.healthy, self._retry_after = False, retry_after

    def recover(self) -> None:
        """Answer again."""
        self._fault.close()
        self.healthy, self._retry_after = True, None

    # What the client asked.

    def noted(self, before: int, *, by_operator: bool = False) -> None:
        """Tell the model what the issuer was asked since *before*, and answered at once."""
        self.idle()
        self.model.looks(self.now)
        for _ in range(self.requests - before):
            self.model.request(self.now, by_operator=by_operator)
            self._ended(self.published() if self.healthy else None, self.now)

    def look(self) -> None:
        """Look at readiness."""
        before = self.requests
        self.client.status()
        self.noted(before)
        assert self.client.status().ready <= self.model.is_usable(self.now)
        self.idle()

    def revoke(self, *, kid: str | None = None, thumbprint: str | None = None) -> None:
        """Revoke a key, and tell the model that the client has looked at its clocks."""
        self.client.revoke(kid=kid, thumbprint=thumbprint)
        self.model.looks(self.now)

    def reinstate(self, thumbprint: str) -> None:
        """Take a revocation back, likewise."""
        self.client.reinstate(thumbprint=thumbprint)
        self.model.looks(self.now)
        self.model.revoked.discard(thumbprint)

    def _ended(self, answer: Published | None, asked: Moment) -> None:
        if answer is None:
            self.model.fails(asked, self.now, self._retry_after)
            return
        earlier = dict(self.model.published) if self.model.is_usable(self.now) else {}
        if self.model.takes(answer, asked, self.now):
            self._check_news(earlier, answer)
        self.kept = (answer, asked)

    def _check_news(self, earlier: Published, answer: Published) -> None:
        """Check that other keys were told of, and new material under a known kid by its name (R12)."""
        told = self.delivered()
        added = {name.thumbprint for event in told if isinstance(event, KeySetChanged) for name in event.added}
        new = set().union(*answer.values()) - set().union(*earlier.values())
        assert any(isinstance(event, KeySetChanged) for event in told), "another set came into force, and nobody was told (R12)"
        assert new <= added, "a key came into force, and nobody was told (R12)"
        replaced = {kid for kid in earlier.keys() & answer.keys() if earlier[kid] != answer[kid]}
        assert replaced <= {event.kid for event in told if isinstance(event, KeyReplaced)}, "new material under a kid was not told of (R12)"

    # What tokens meet.

    def judge(self, token: str, thumbprint: str | None, kid: str | None = None) -> KeyturnError | None:
        """Validate a token, and compare the verdict with what the model allows (I1) and demands (I2).

        Args:
            token: The token.
            thumbprint: The key that signed it; None for one that nobody publishes.
            kid: The kid that it names; None if it names none.
        """
        before, model, now = self.requests, self.model, self.now
        first = model.holds(thumbprint, now)
        allowed = model.allows(thumbprint, now) and not model.asks_first(now)
        must = self._must_pass(thumbprint, kid)
        error = self._verdict(token)
        self.noted(before)
        if error is None:
            assert allowed or model.allows(thumbprint, self.now), "accepted a key that may not verify (I1)"
        else:
            assert not (first and model.holds(thumbprint, self.now)), f"refused a key that is held (I2): {error}"
            assert not must, f"refused a published key that had to pass on its first request (I2): {error}"
            self._check_refusal(error)
            model.refuses(kid, looked_up=self.requests > before and model.failed is None)
        return error

    def _must_pass(self, thumbprint: str | None, kid: str | None) -> bool:
        answer = self.published()
        return (
            self.healthy
            and thumbprint in set().union(*answer.values())
            and thumbprint not in self.model.revoked
            and not any(thumbprint in answer.get(awaited, ()) for awaited in self.model.awaited_kids)
            and self.model.must_pass(kid, self.now)
        )

    def _verdict(self, token: str) -> KeyturnError | None:
        self.signatures.add(token.rpartition(".")[2])
        try:
            self.validator.validate(token)
        except KeyturnError as error:
            self.check_secrecy(f"{error} {error!r} {error.hint} {error.__cause__!r} {error.__context__!r}")
            return error
        return None

    def _check_refusal(self, error: KeyturnError) -> None:
        """An outage is never told as a bad token, nor a bad token as an outage."""
        unsure, failed = error.http_status == 503, self.model.failed is not None or not self.model.is_usable(self.now)
        assert not unsure or failed, f"an answer that succeeded was told as an outage: {error}"
        assert not unsure or error.retry_after is not None, f"an outage was told without saying until when: {error}"
        assert unsure or not failed or error.code != "unknown_key", f"an outage was told as a bad token: {error}"

    def refused_outright(self, token: str, code: str) -> None:
        """Check that *token* is refused for what it says, with no request, whatever is held (R6)."""
        before = self.requests
        error = self._verdict(token)
        self.idle()
        assert error is not None, "accepted a token that no key can save (I1)"
        assert (error.code, self.requests) == (code, before), f"spent a request on a token that no key can save (R6): {error}"

    def check_secrecy(self, text: str) -> None:
        """Check that *text* holds no token and no signature (I5)."""
        assert "eyJhbGci" not in text, f"a token is told: {text}"
        assert not self.signatures.intersection(_SIGNATURE.findall(text)), f"a signature is told: {text}"

    def check_what_was_told(self) -> None:
        """Check every event and every line of the log since the last time (I5)."""
        self.check_secrecy("\n".join([*map(repr, self.delivered()), *self.lines.taken()]))
        self.events.clear()

    # A request that takes its time.

    def judge_slowly(self, token: str, thumbprint: str | None, kid: str | None, *, end: End, meanwhile: Callable[[], None], held: Tokens) -> None:
        """Judge a token while the issuer's answer is held at a gate.

        Args:
            token: The token.
            thumbprint: As for `judge()`.
            kid: As for `judge()`.
            end: How the request ends, if the token leads to one.
            meanwhile: Done while the answer is held.
            held: Tokens with their thumbprints, of which those of held keys pass at the closed gate (I4).
        """
        before, first, must = self.requests, self.model.holds(thumbprint, self.now), self._must_pass(thumbprint, kid)
        allowed = self.model.allows(thumbprint, self.now) and not self.model.asks_first(self.now)
        with self.issuer.gate() as gate:
            caller = Caller(lambda: self._order(kid) if end == "fork" else self._verdict(token))
            self._wait_for(gate, caller)
            asked, answer = self.now, self.published() if self.healthy else None
            if gate.arrived:
                before += 1
                self._hold(asked, end, meanwhile, () if self.model.is_untried(asked) else held)
            gate.open()
            error = caller.outcome()
        self.idle()
        if gate.arrived and end == "answers":
            self._ended(answer, asked)
        self.noted(before)
        if end == "fork":
            return
        if error is None:
            assert allowed or self.model.allows(thumbprint, self.now), "accepted a key that may not verify (I1)"
            return
        assert isinstance(error, KeyturnError), f"something else came out: {error!r}"
        after = self.model.holds(thumbprint, self.now)
        assert not (first and after), f"refused a key that is held (I2): {error}"
        assert not (must and after and end == "answers"), f"refused a published key that had to pass on its first request (I2): {error}"
        self.model.refuses(kid, looked_up=gate.arrived > 0 and self.model.failed is None)

    def _wait_for(self, gate: Gate, caller: Caller) -> None:
        """Wait until a request has come to the gate, or the token has led to none."""
        turn, patience = threading.Event(), Deadline(LONG)
        while not gate.arrived and (caller.is_alive() or not self.client._is_idle()):
            assert not patience.over(), "the token led neither to a request nor to an answer"
            turn.wait(0.0005)

    def _hold(self, asked: Moment, end: End, meanwhile: Callable[[], None], held: Tokens) -> None:
        """Let things happen at the closed gate; held keys pass all the while (I4)."""
        forked = copy.deepcopy(self.model)
        self.model.request(asked, by_operator=False)
        self._check_held(held)
        meanwhile()
        self._check_held(held)
        if end == "late":
            flight = self.client._keeper._process().flight
            assert flight is not None
            flight.deadline.at = 0.0
            # Whoever looks first after its deadline books it as failed (Z19).
            self.client.status()
            self.model.fails(asked, self.now, None)
        elif end == "fork":
            forked.revoked, forked.awaited_kids = self.model.revoked, self.model.awaited_kids
            self.client._keeper.renew()
            self.model = forked

    def _check_held(self, held: Tokens) -> None:
        self.model.looks(self.now)
        allowed = [token for token, thumbprint in held if self.model.holds(thumbprint, self.now)]
        if allowed:
            error = Caller(lambda: self._verdict(allowed[0])).outcome()
            assert error is None, f"a held key was refused while a refresh ran (I4): {error!r}"

    def _order(self, kid: str | None) -> None:
        """Lead to what a token of *kid* leads to, without a wait."""
        with suppress(KeyturnError):
            self.client._inquiry({"alg": "ES256"} if kid is None else {"alg": "ES256", "kid": kid}, None).step()


class Lines(logging.Handler):
    """What was logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line as it would be written, with everything that came with it."""
        self._lines.append(f"{self.format(record)} {record.__dict__}")

    def taken(self) -> list[str]:
        """Return the lines since the last time."""
        lines, self._lines = self._lines, []
        return lines

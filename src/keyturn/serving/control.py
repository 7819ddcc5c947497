"""The control API: what a person or a test does to the issuer, under one lock.

Rules of this file:

1. Every operation and every view of the state is one instant to everybody else.
2. A step is one of the kit's own, under the kit's own name; `rotate` alone is two of them, `publish` and `promote`.
3. A step that makes no sense now is refused with 409, a body that makes no sense ever with 400.
4. `reset` begins anew: other keys under the same first kid, no fault, nothing remembered.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from keyturn.serving.exchange import RefusedError
from keyturn.serving.faults import KINDS, FaultSwitch, Later, Wish, daemon_timer
from keyturn.serving.issuer import ServedIssuer, Settings, names_of
from keyturn.serving.members import LONGEST_KID, Members
from keyturn.serving.minting import mint
from keyturn.testing.attacks.catalogue import BAD_TOKENS
from keyturn.testing.keys import ALGORITHMS

SCHEMA = 1
"""Version of the state; a member that changes its meaning raises it."""

MOST_SEEDS = 1_000_000
"""Highest seed of an order."""

MOST_STEPS = 50
"""Steps that the state shows."""

_NAMES = {"jwks": "the key set", "discovery": "the discovery document", "both": "both documents"}

_PLAIN_STEPS = {
    "promote": (ServedIssuer.promote, "{kid} signs"),
    "replace-material": (ServedIssuer.replace_material, "{kid} is another key now"),
    "restore": (ServedIssuer.restore, "{kid} is published again"),
    "retire": (ServedIssuer.retire, "{kid} is retired"),
    "withhold": (ServedIssuer.withhold, "{kid} is withheld"),
}
"""Steps that need the kid of a key and nothing else."""


class Control:
    """The issuer, and everything that can be done to it.

    Args:
        settings: What the issuer is made of.
        lifetime: Seconds for which its tokens are good.
        later: Makes the timers of faults that end by themselves.

    Raises:
        ValueError: A setting cannot be used.
    """

    def __init__(self, settings: Settings, *, lifetime: int = 3600, later: Later = daemon_timer) -> None:
        self.lifetime = lifetime
        self._settings = settings
        self._lock = threading.RLock()
        self._issuer = ServedIssuer(settings)
        self._tokens = 0
        self._steps: deque[dict[str, Any]] = deque(maxlen=MOST_STEPS)
        self._faults = FaultSwitch(self._lock, self._issuer.clock.wall, later, lambda kind: self._told(f"fault {kind} has ended by itself"))
        self._operations: Mapping[str, Callable[[dict[str, Any]], str]] = {
            "cut-over": self._cut_over,
            "emergency": self._emergency,
            "fault": self._fault,
            "publish": self._publish,
            "reset": self._reset,
            "rotate": self._rotate,
            "shuffle": self._shuffle,
            "sign-unpublished": self._sign_unpublished,
            **{name: self._plain(name) for name in _PLAIN_STEPS},
        }

    @property
    def issuer(self) -> ServedIssuer:
        """The issuer as it is now; a reset puts another in its place."""
        with self._lock:
            return self._issuer

    @property
    def operations(self) -> tuple[str, ...]:
        """Names of everything that `act()` does."""
        return tuple(sorted(self._operations))

    def act(self, operation: str, values: dict[str, Any]) -> dict[str, Any]:
        """Do something; return the state afterwards, with `done`, a sentence about it.

        Args:
            operation: One of `operations`.
            values: The members of the body.

        Raises:
            RefusedError: It cannot be done.
        """
        with self._lock:
            try:
                done = self._operations[operation](values)
            except ValueError as error:
                raise RefusedError(409, "conflict", str(error)) from None
            self._told(done)
            return {"done": done, **self.state()}

    def mint(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return a token as the body describes it.

        Raises:
            RefusedError: It cannot be made.
        """
        with self._lock:
            try:
                return mint(self._issuer, values, lifetime=self.lifetime)
            except ValueError as error:
                raise RefusedError(409, "conflict", str(error)) from None

    def granted(self) -> None:
        """Count a token of the token endpoint."""
        with self._lock:
            self._tokens += 1

    def state(self) -> dict[str, Any]:
        """Return everything that a person or a test may want to know."""
        with self._lock:
            issuer = self._issuer
            ours = set(issuer.known_kids)
            return {
                "schema": SCHEMA,
                "issuer": issuer.issuer,
                "audience": names_of(issuer.audience),
                "lifetime": self.lifetime,
                "algorithm": self._settings.algorithm,
                "algorithms": list(ALGORITHMS),
                "signing_kid": issuer.signing_kid,
                "next_kid": issuer.next_kid(),
                "keys": issuer.keys(),
                "other_entries": [entry.get("kid") for entry in issuer.jwks()["keys"] if entry.get("kid") not in ours],
                "fault": self._faults.record(),
                "fault_kinds": {name: list(kind.documents) for name, kind in KINDS.items()},
                "bad_tokens": list(BAD_TOKENS),
                "counts": {**issuer.fetches.counts(), "token": self._tokens},
                "requests": [
                    {"number": r.number, "at": issuer.fetches.start + r.at, "document": r.document, "url": r.url, "outcome": r.outcome}
                    for r in issuer.fetches.requests
                ],
                "steps": list(self._steps),
            }

    def close(self) -> None:
        """End the fault, and let go of every request that it holds."""
        with self._lock:
            self._faults.end()
            self._issuer.hang_up()

    def _told(self, done: str) -> None:
        self._steps.append({"at": self._issuer.clock.wall(), "done": done})

    def _plain(self, name: str) -> Callable[[dict[str, Any]], str]:
        step, sentence = _PLAIN_STEPS[name]

        def act(values: dict[str, Any]) -> str:
            members = Members(values)
            kid = members.needed_kid()
            members.finish()
            step(self._issuer, kid)
            return sentence.format(kid=kid)

        return act

    def _new_key(self, values: dict[str, Any]) -> tuple[str, str | None]:
        members = Members(values)
        kid, algorithm = members.kid() or self._issuer.next_kid(), members.one_of("algorithm", ALGORITHMS)
        members.finish()
        return kid, algorithm

    def _publish(self, values: dict[str, Any]) -> str:
        kid, algorithm = self._new_key(values)
        self._issuer.publish(kid, algorithm)
        return f"{kid} is published"

    def _rotate(self, values: dict[str, Any]) -> str:
        kid, algorithm = self._new_key(values)
        self._issuer.publish(kid, algorithm)
        self._issuer.promote(kid)
        return f"{kid} is published and signs"

    def _cut_over(self, values: dict[str, Any]) -> str:
        kid, algorithm = self._new_key(values)
        self._issuer.cut_over(kid, algorithm)
        return f"{kid} is published alone and signs"

    def _sign_unpublished(self, values: dict[str, Any]) -> str:
        kid, algorithm = self._new_key(values)
        self._issuer.sign_unpublished(kid, algorithm)
        return f"{kid} signs and is not published"

    def _emergency(self, values: dict[str, Any]) -> str:
        members = Members(values)
        kid, successor = members.kid(), members.text("successor", longest=LONGEST_KID)
        members.finish()
        stolen = self._issuer.emergency(kid, successor=successor)
        return f"{stolen.kid} is compromised and retired, {self._issuer.signing_kid} signs"

    def _shuffle(self, values: dict[str, Any]) -> str:
        members = Members(values)
        seed = members.integer("seed", 0, low=0, high=MOST_SEEDS)
        members.finish()
        self._issuer.shuffle(seed)
        return f"the order is {', '.join(self._issuer.published_kids)}"

    def _fault(self, values: dict[str, Any]) -> str:
        wish = Wish.of(self._issuer, values)
        if wish is None:
            ended = self._faults.end()
            return f"fault {ended} has ended" if ended else "there was no fault to end"
        self._faults.start(wish)
        return f"fault {wish.kind} is in force for {_NAMES[wish.document]}"

    def _reset(self, values: dict[str, Any]) -> str:
        Members(values).finish()
        self._faults.end()
        self._issuer = ServedIssuer(self._settings)
        self._tokens = 0
        self._steps.clear()
        return "everything begins anew"

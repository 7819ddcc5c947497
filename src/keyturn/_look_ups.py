"""What is remembered of kids that were looked up in vain, or refused (R13): bounded, least recently used out first.

Every method is called under the keeper's lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cachetools import LRUCache

from keyturn._core.rollover import LookUp
from keyturn._core.state import ON_DEMAND, KeySetState, Wanted
from keyturn._flight import Flight


class LookUps:
    """The memory of one client."""

    def __init__(self, most: int) -> None:
        self._known: LRUCache[Wanted, LookUp] = LRUCache(most)

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._known)

    def __iter__(self) -> Iterator[Wanted]:
        """Return what is remembered."""
        return iter(self._known)

    def get(self, wanted: Wanted | None) -> LookUp | None:
        """Return what is remembered of *wanted*; nothing of a token that names no key."""
        return self._known.get(wanted) if wanted else None

    def owe(self, wanted: Wanted | None) -> None:
        """Remember that *wanted* was refused for want of allowance (R5)."""
        if wanted is not None:
            self._known[wanted] = replace(self._known.get(wanted, LookUp()), owed=True)

    def note(self, flight: Flight, before: KeySetState, after: KeySetState) -> None:
        """Remember what an on-demand refresh looked up in vain; a change of the set forgets everything else."""
        changed = after.generation != before.generation
        vain = {flight.wanted} if changed else {flight.wanted, *(wanted for wanted, look_up in self._known.items() if look_up.owed)}
        times = {wanted: 0 if changed else self._known.get(wanted, LookUp()).times for wanted in vain if wanted is not None}
        if changed:
            self._known.clear()
        if flight.reason not in ON_DEMAND:
            return
        for wanted, earlier in times.items():
            if not (changed and _is_held(after, wanted)):
                self._known[wanted] = LookUp(times=earlier + 1, asked_at=flight.started)


def _is_held(state: KeySetState, wanted: Wanted) -> bool:
    kind, value = wanted
    if kind == "vanished":
        return all(gone.key.thumbprint != value for gone in state.vanished.values())
    member = {"kid": "kid", "x5t": "x5t", "x5t#S256": "x5t_s256"}[kind]
    return any(getattr(key, member) == value for key in (*state.held.keys, *state.banned.keys))

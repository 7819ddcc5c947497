"""The settings that every preset takes besides its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypedDict

from keyturn._core.policy import RolloverPolicy
from keyturn.clock import Clock
from keyturn.events import EventHandler
from keyturn.fetching import Fetcher
from keyturn.stores.store import Store


class Settings(TypedDict, total=False):
    """Settings that every preset takes, as `TokenValidator` and `KeySetClient` describe them.

    Attributes:
        algorithms: Allowed signature algorithms.
        leeway: Seconds by which clocks may differ.
        required_claims: Claims that must be there.
        max_token_bytes: Length above which a token is refused unread.
        token_cache_size: How many accepted tokens to remember.
        policy: The numbers of rollover.
        fetcher: Reads documents.
        store: What survives a restart.
        clock: Time as the rules see it.
        revoked: Thumbprints of keys that are revoked from the start (R11).
        on_event: One function, or several, called with every event.
    """

    algorithms: Collection[str]
    leeway: float
    required_claims: Collection[str]
    max_token_bytes: int
    token_cache_size: int
    policy: RolloverPolicy | None
    fetcher: Fetcher | None
    store: Store | None
    clock: Clock | None
    revoked: Iterable[str]
    on_event: EventHandler | Iterable[EventHandler]
